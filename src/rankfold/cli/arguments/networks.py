"""Which network a user means: a zoo name, a table, an ONNX or torch.export file, another library's, or a
factory.
"""

from __future__ import annotations

import argparse
import sys

from rankfold.cli.arguments.values import checked, input_sizes
from rankfold.errors import InputError, UnwantedArgumentError, did_you_mean
from rankfold.workload import ZOO, Network, trace, zoo_network
from rankfold.workload.table import SUFFIXES, read_table

MODEL_HELP = (
    "a zoo network, an ONNX (.onnx) or torch.export (.pt2) file, timm:NAME, torchvision:NAME, hf:NAME, "
    "or package.module:factory"
)


def add_input(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--input`, the size of an image."""
    parser.add_argument(
        "--input",
        type=checked(input_sizes),
        metavar="CxHxW",
        help="image size (default: the network's own; 3x32x32 for a factory, which says nothing of it)",
    )


def find_network(model: str, given: tuple[int, ...] | None) -> Network:
    """The network a user means by `model`; ONNX files, tables and zoo networks need no torch.

    Args:
        model: as users name it.
        given: sizes of an input without its batch, of images (C, H, W); None: the network's own.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    # Files by their suffix, then names: from what needs nothing to what imports torch.
    if model.lower().endswith(SUFFIXES):
        if given is not None:
            raise UnwantedArgumentError(
                "--input does not go with a table of layers, which gives each layer's input itself", "input"
            )
        return read_table(model)
    if model.lower().endswith(".onnx"):
        from rankfold.workload.onnx.layers import read_onnx

        return read_onnx(model, given)
    if ":" in model and given is not None and len(given) != 3:
        return _on_other_sizes(model, given)
    image = _as_image(model, given)
    if model in ZOO:
        return zoo_network(model, image)
    if model.lower().endswith(".pt2"):
        return _exported(model, image)
    if ":" not in model:
        raise InputError(
            f"unknown model {model}; known are {', '.join(ZOO)}, or give a .csv or .yaml table, an .onnx or "
            ".pt2 file, timm:NAME, torchvision:NAME, hf:NAME or package.module:factory"
            f"{did_you_mean(model, ZOO)}"
        )
    from rankfold.models.libraries import LibraryModel, preferred_image
    from rankfold.models.load import load_model

    library = LibraryModel.parse(model)
    if library is not None:
        # Colour images where nothing is said; their size is the one that the network was made for.
        channels = 3
        if image is not None:
            channels = image[0]
        built = library.build(None, channels)
        return trace(built, image or preferred_image(built), model)
    # A factory says nothing of its images: CIFAR's size and number of classes are assumed.
    assumed = image or (3, 32, 32)
    network = trace(load_model(model, 10, assumed[0]), assumed, model)
    if image is None:
        print(f"note: {model} is taken to have images of 3x32x32; --input CxHxW says others", file=sys.stderr)
    return network


def _as_image(model: str, given: tuple[int, ...] | None) -> tuple[int, int, int] | None:
    """(C, H, W), which networks of images need."""
    if given is None:
        return None
    if len(given) != 3:
        shown = "x".join(map(str, given))
        raise InputError(f"{model} takes images, and --input (={shown}) must be channels x height x width")
    channels, height, width = given
    return channels, height, width


def _on_other_sizes(model: str, given: tuple[int, ...]) -> Network:
    """The network of a library or factory, called with one tensor that is no image."""
    import torch

    from rankfold.models.load import load_model

    # What stands first are channels, or the length of a sequence that has none.
    built = load_model(model, 10, given[0])
    return trace(built, None, model, (torch.zeros(1, *given),))


def is_name(model: str) -> bool:
    """Whether `find_network` may know a network by this name: of a zoo, a file, a library or a factory."""
    return model in ZOO or ":" in model or is_file(model)


def is_file(model: str) -> bool:
    """Whether this names a file of a network or a table of layers, by its suffix."""
    return model.lower().endswith((*SUFFIXES, ".onnx", ".pt2"))


def _exported(model: str, image: tuple[int, int, int] | None) -> Network:
    from rankfold.models.torch_export import load_exported
    from rankfold.nn.sub_pixel import replace_transposed_

    module, positional, keywords = load_exported(model)
    replace_transposed_(module)  # as `load_model` does
    # The file may have example inputs, which fit it better than any image of ours.
    if image is not None or not (positional or keywords):
        return trace(module, image, model)
    return trace(module, None, model, keywords or positional)
