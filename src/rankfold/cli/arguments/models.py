"""Networks with trained weights that users name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rankfold.training.source import TrainingData


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the dense network (.safetensors or a torch state dict)",
    )


def add_factory(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, for commands that take folders."""
    parser.add_argument(
        "--model",
        dest="factory",
        metavar="NAME",
        help="what builds the dense network of the folder, such as package.module:factory (default: the "
        "name on record)",
    )
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add `--trust-code`."""
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help="import the package.module:factory that the folder names, which runs code of whoever wrote it",
    )


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add `--classes`."""
    parser.add_argument(
        "--classes",
        type=int,
        metavar="N",
        help="of a network that is no file, where the data have no labels",
    )


def classes_of(options: argparse.Namespace, data: TrainingData) -> int:
    """The classes that `load_model` is to be told.

    Raises:
        InputError: nobody says how many there are, or the data do.
    """
    from rankfold.models.load import brings_weights

    if data.is_labelled:
        refuse_given(
            options,
            ["classes"],
            f"{{flag}} is for data without labels, and {data.name} has labels; omit it",
        )
        return len(data.classes)
    if options.classes is None and not brings_weights(options.model):
        raise InputError(
            f"data {data.name} have no labels, which would tell how many classes {options.model} has; say "
            "--classes N (1 for a network of other outputs)"
        )
    return options.classes or 1


def trained_model(options: argparse.Namespace, data: TrainingData, device: torch.device) -> nn.Module:
    """The network of `model` with its trained weights: of `--checkpoint`, its own, or shipped ones.

    Raises:
        InputError: there is no such network, it does not fit the data, or nobody has weights for it.
    """
    from rankfold.models.load import apply_weights, brings_weights, load_model, read_weights
    from rankfold.models.pretrained import shipped_baseline

    # Its first weights are drawn under the seed, and replaced below unless it brings its own.
    channels, image = data.input_size[0], data.input_size
    classes = classes_of(options, data)
    model = load_model(options.model, classes, channels, options.seed, image=image)
    # Before weights are looked for: shipped ones are by classes and image size.
    _check_outputs(model, options, data)
    source = options.checkpoint
    # Networks of other libraries may come trained; the user's own file goes before that.
    if source is None and not brings_weights(options.model):
        shipped = shipped_baseline(options.model, data.classes or classes, data.input_size)
        if shipped is None:
            raise InputError(
                f"a plan needs the trained weights of {options.model} for {data.name}, and none are "
                "shipped; train it (rankfold train), then give --checkpoint DIR/model.safetensors"
            )
        source = shipped.weights
    if source is not None:
        apply_weights(model, read_weights(source), str(source))
    return model.to(device)


def _check_outputs(model: nn.Module, options: argparse.Namespace, data: TrainingData) -> None:
    """Refuse scores of other classes than the data have; other outputs, and those that the user says to be
    something, have nothing to do with classes.

    Raises:
        InputError: they are refused, or the outputs are no tensors.
    """
    if not data.is_labelled:
        return
    import torch

    from rankfold.calibration.output_choice import usual_outputs
    from rankfold.calibration.outputs import SCORES
    from rankfold.models.load import check_classes

    blank = torch.zeros(1, *data.input_size)
    if options.outputs is not None or usual_outputs(model, [blank]).kind != SCORES:
        return
    try:
        check_classes(model, options.model, data.input_size, len(data.classes))
    except InputError as error:
        raise InputError(f"{error}, or --outputs that says what the outputs are") from None
