"""Arguments of everything that trains."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.old_names import also_called
from rankfold.cli.arguments.process import add_device, add_seed
from rankfold.cli.arguments.processes import one_first
from rankfold.cli.arguments.values import checked, image_size, share
from rankfold.errors import UnwantedArgumentError

if TYPE_CHECKING:
    from rankfold.training.data import ImageData
    from rankfold.training.distillation import Distillation
    from rankfold.training.loaders import LoaderData
    from rankfold.training.processes import Processes
    from rankfold.training.recipe import Recipe
    from rankfold.training.source import TrainingData

DATA_HELP = "`digits`, a folder of Parquet shards or images by class, or a hub id"
# What the network knows already is refined, in fewer steps than from labels; see docs/training.md.
UNLABELLED_RATE = 0.01
UNLABELLED_HELP = f"{DATA_HELP}; or, without labels, a folder of images, or a .npz or .npy file of inputs"


def add_training(parser: argparse.ArgumentParser, epochs: int, rate: float, data_needed: bool = True) -> None:
    """Add the options of a training run.

    Args:
        parser: of the command.
        epochs: the default.
        rate: the default peak learning rate.
        data_needed: whether `--data` must be given.
    """
    what, learnt = DATA_HELP, ""
    if not data_needed:
        what, learnt = UNLABELLED_HELP, f"; {UNLABELLED_RATE} with --distil-unlabelled"
    parser.add_argument("--data", required=data_needed, metavar="DATA", help=what)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--epochs",
        type=int,
        default=epochs,
        metavar="N",
        help=f"passes over the training images (default {epochs})",
    )
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="images per step (default 128)")
    parser.add_argument(
        "--rate", type=float, metavar="X", help=f"peak learning rate (default {rate}{learnt})"
    )
    parser.set_defaults(usual_rate=rate)
    add_seed(parser)
    parser.add_argument(
        "--augment",
        default="crop-flip",
        choices=("crop-flip", "crop", "none"),
        help="default crop-flip; digits are never flipped",
    )
    _add_steps(parser)
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


def _add_steps(parser: argparse.ArgumentParser) -> None:
    """How training steps are computed."""
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


def add_calibration_images(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--calibration-images`; `what` they are for."""
    option = parser.add_argument("--calibration-images", type=int, metavar="N", help=what)
    also_called(parser, option, "--images")


def add_image_size(parser: argparse.ArgumentParser) -> None:
    """Add `--image-size` and `--normalise`."""
    parser.add_argument("--image-size", type=checked(image_size), metavar="HxW", help="resize every image")
    parser.add_argument(
        "--normalise",
        metavar="MEAN/STD",
        help="what images are normalised by, of pixels in [0, 1]: 0.485,0.456,0.406/0.229,0.224,0.225, or "
        "imagenet (the same), or none (default: mean and deviation of the training images)",
    )


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


def add_unlabelled_distillation(parser: argparse.ArgumentParser) -> None:
    """Add `--distil-unlabelled [N]`: True for all images."""
    parser.add_argument(
        "--distil-unlabelled",
        type=int,
        nargs="?",
        const=True,
        metavar="N",
        help="fine-tune for --epochs epochs without labels, to give the dense network's outputs alone, on N "
        "of the training images (default all)",
    )


def scaled(options: argparse.Namespace, data: TrainingData) -> TrainingData:
    """The data normalised as `--normalise` says.

    Raises:
        InputError: they are no decoded images, or it is none.
    """
    from rankfold.training.data import ImageData
    from rankfold.training.scaling import Scaling

    if options.normalise is None:
        return data
    scaling = Scaling.parse(options.normalise)
    if not isinstance(data, ImageData):
        raise UnwantedArgumentError(
            f"--normalise is of decoded images, and data {data.name} are not; omit it (or add --no-stream)",
            "normalise",
        )
    return data.scaled(scaling)


def decoded_data(options: argparse.Namespace) -> ImageData | LoaderData:
    """The data that `--data` names, decoded at once and normalised as the options say.

    Raises:
        InputError: they cannot be read.
    """
    from rankfold.training.data import ImageData
    from rankfold.training.load import load_data
    from rankfold.training.loaders import LoaderData

    data = scaled(options, load_data(options.data, options.image_size, stream=False))
    assert isinstance(data, ImageData | LoaderData)  # others are streamed
    return data


def recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for.

    Raises:
        InputError: a value is out of range.
    """
    from rankfold.training.recipe import Recipe

    return Recipe(
        epochs=options.epochs,
        batch_size=options.batch,
        peak_rate=_rate(options),
        augment=options.augment,
        precision=options.precision,
        compiled=options.compile,
        seed=options.seed,
    )


def _rate(options: argparse.Namespace) -> float:
    """As given, or as is usual where it is not."""
    if options.rate is not None:
        return float(options.rate)
    if getattr(options, "distil_unlabelled", None) is not None:
        return UNLABELLED_RATE
    return float(options.usual_rate)


def distillation(options: argparse.Namespace) -> Distillation | None:
    """How the dense network teaches; None: it does not.

    Raises:
        InputError: it teaches with labels and without, or without them and for no epoch.
    """
    from rankfold.training.distillation import Distillation

    if options.distil_unlabelled is not None:
        if options.distil is not None:
            raise UnwantedArgumentError(
                "--distil-unlabelled looks at no labels; omit --distil and --no-distil", "distil"
            )
        if options.epochs == 0:
            raise UnwantedArgumentError(
                "--distil-unlabelled trains for --epochs epochs, and there are none (=0); give some, or omit "
                "--distil-unlabelled",
                "distil_unlabelled",
            )
        images = options.distil_unlabelled
        if images is True:  # given without a number
            images = None
        return Distillation.unlabelled(images)
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
        data = load_data(
            options.data,
            options.image_size,
            stream=options.stream,
            digest=begun,
            progress=told(Bars(), processes),
        )
    return scaled(options, data)
