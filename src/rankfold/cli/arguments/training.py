"""Arguments of everything that trains."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.process import add_device, add_seed
from rankfold.cli.arguments.processes import one_first
from rankfold.cli.arguments.values import checked, image_size, share

if TYPE_CHECKING:
    from rankfold.training.distillation import Distillation
    from rankfold.training.processes import Processes
    from rankfold.training.recipe import Recipe
    from rankfold.training.source import TrainingData

DATA_HELP = "`digits`, a folder of Parquet shards or images by class, or a hub id"


def add_training(parser: argparse.ArgumentParser, epochs: int, rate: float, data_needed: bool = True) -> None:
    """Add the options of a training run.

    Args:
        parser: of the command.
        epochs: the default.
        rate: the default peak learning rate.
        data_needed: whether `--data` must be given.
    """
    parser.add_argument("--data", required=data_needed, metavar="DATA", help=DATA_HELP)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--epochs", type=int, default=epochs, help=f"passes over the training images (default {epochs})"
    )
    parser.add_argument("--batch", type=int, default=128, help="images per step (default 128)")
    parser.add_argument("--rate", type=float, default=rate, help=f"peak learning rate (default {rate})")
    add_seed(parser)
    parser.add_argument(
        "--augment",
        default="crop-flip",
        choices=("crop-flip", "crop", "none"),
        help="default crop-flip; digits are never flipped",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of training steps; auto: bfloat16 where native",
    )
    parser.add_argument("--compile", action="store_true", help="run the training steps through torch.compile")
    parser.add_argument(
        "--captured",
        action="store_true",
        help="send each training step to the GPU as one CUDA graph, with the images kept there; the same "
        "results but for rounding",
    )
    add_image_size(parser)
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="decode images while training, or all of them before (default: while training where the decoded "
        "images would be larger than a quarter of the memory)",
    )
    add_device(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run that DIR holds")


def add_image_size(parser: argparse.ArgumentParser) -> None:
    """Add `--image-size`."""
    parser.add_argument("--image-size", type=checked(image_size), metavar="HxW", help="resize every image")


def add_distillation(parser: argparse.ArgumentParser) -> None:
    """Add `--distil [W]` and `--no-distil`: a weight, True, False, or None where neither is given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--distil",
        type=checked(share),
        nargs="?",
        const=True,
        metavar="W",
        help="share of the outputs of the dense network in what fine-tuning aims at (default 0.9), the "
        "labels have the rest",
    )
    group.add_argument(
        "--no-distil",
        action="store_false",
        dest="distil",
        default=None,
        help="fine-tune towards labels alone, in a fifth less time",
    )


def recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for.

    Raises:
        InputError: a value is out of range.
    """
    from rankfold.training.recipe import Recipe

    return Recipe(
        epochs=options.epochs,
        batch_size=options.batch,
        peak_rate=options.rate,
        augment=options.augment,
        precision=options.precision,
        compiled=options.compile,
        seed=options.seed,
    )


def distillation(options: argparse.Namespace) -> Distillation | None:
    """How the dense network teaches; None: it does not."""
    from rankfold.training.distillation import Distillation

    # Not given, or given without a weight: the usual one.
    if options.distil is None or options.distil is True:
        return Distillation()
    # False, or a weight of 0, which teaches nothing.
    if not options.distil:
        return None
    return Distillation(options.distil)


def training_data(options: argparse.Namespace, processes: Processes) -> TrainingData:
    """The data that the options name; of a run that is taken up, read the way it began.

    Raises:
        InputError: they cannot be read, or are not what the options say.
    """
    from rankfold.cli.words.progress import Bars
    from rankfold.runs.folder import data_begun
    from rankfold.runs.state import told
    from rankfold.training.load import load_data

    begun = data_begun(options.out, processes) if options.resume else None
    with one_first(processes):
        return load_data(
            options.data,
            options.image_size,
            stream=options.stream,
            digest=begun,
            progress=told(Bars(), processes),
        )
