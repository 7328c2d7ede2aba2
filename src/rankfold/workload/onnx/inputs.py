"""The sizes of the inputs of an ONNX graph, with those that the user gives in the place of open ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.sizes import Dims, OpenSizes, closed, open_sizes, show_sizes
from rankfold.workload.shape import Image

NHWC_TO_NCHW = (0, 3, 1, 2)


def fixed_inputs(file: OnnxFile, given: Sequence[int] | None) -> dict[str, Dims]:
    """The sizes of every input, batches of one where they are open.

    Args:
        file: the model.
        given: sizes of an input without its batch: (C, H, W) of images, other numbers of them for inputs of
            other dimensions. They go for all inputs of as many.

    Raises:
        InputError: a size is open and not given, or given and fixed to another; the message names the input.
    """
    fixed: dict[str, Dims] = {}
    symbols: dict[str, int] = {}  # what is given for a symbol goes for later inputs, too
    if given is not None:
        _check_given(file, given)
    for value in file.inputs:
        sizes = _declared(file, value, symbols)
        if given is not None and len(sizes) == len(given) + 1:
            _settle(file, value.name, sizes, given, symbols)
        whole = closed(sizes)
        if whole is None:
            raise InputError(
                f"{file.path}: input {value.name} has the open size {show_sizes(sizes)}; "
                f"{_remedy(sizes, given)}"
            )
        fixed[value.name] = whole
    return fixed


def _check_given(file: OnnxFile, given: Sequence[int]) -> None:
    """Refuse sizes that no input has as many of."""
    wanted = sorted({len(open_sizes(value) or []) - 1 for value in file.inputs})
    if len(given) not in wanted:
        # Only what is open needs it: to omit it would end in the advice to give it.
        remedy = "omit it, or give as many"
        # The batch is one image where it is open.
        if any(closed((open_sizes(value) or [])[1:]) is None for value in file.inputs):
            remedy = "give as many"
        has = " or ".join(str(max(count, 0)) for count in wanted)
        raise InputError(
            f"{file.path}: its inputs have {has} sizes without the batch, and --input {show_sizes(given)} "
            f"has {len(given)}; {remedy}"
        )


def has_open_sizes(file: OnnxFile) -> bool:
    """Whether the sizes of an input are the user's choice."""
    for value in file.inputs:
        sizes = open_sizes(value) or []
        if any(isinstance(size, str) for size in sizes[1:]):
            return True
    return False


def image_of(file: OnnxFile, sizes: Dims) -> Image:
    """(C, H, W) of the first input; inputs of fewer dimensions have ones in front."""
    first = file.inputs[0].name
    if len(sizes) == 4 and _channels_last(file, first):
        _, height, width, channels = sizes
        return channels, height, width
    # Without the batch; the ones in front are cut off again where there are three sizes.
    channels, height, width = (1, 1, 1, *sizes[1:])[-3:]
    return max(channels, 1), max(height, 1), max(width, 1)


def _remedy(sizes: OpenSizes, given: Sequence[int] | None) -> str:
    """What to do about an open size."""
    # What is given is for inputs of other dimensions, and there is one `--input`.
    if given is not None:
        return "export it with fixed sizes"
    if len(sizes) == 4:
        return "give the size of an image: --input CxHxW"
    example = []
    for size in sizes[1:]:
        if not isinstance(size, int):  # it is open
            size = 128
        example.append(size)
    return f"give its sizes without the batch, such as --input {show_sizes(example)}"


def _declared(
    file: OnnxFile,
    value: Any,
    symbols: Mapping[str, int],
) -> OpenSizes:
    """The sizes that the file gives an input, with known symbols replaced and batches of one."""
    declared = open_sizes(value)
    if declared is None:
        raise InputError(
            f"{file.path}: input {value.name} has no sizes; export it with the sizes of its inputs"
        )
    sizes: OpenSizes = []
    for size in declared:
        if isinstance(size, str):
            size = symbols.get(size, size)
        sizes.append(size)
    if sizes and isinstance(sizes[0], str):
        sizes[0] = 1
    return sizes


def _settle(
    file: OnnxFile,
    name: str,
    sizes: OpenSizes,
    given: Sequence[int],
    symbols: dict[str, int],
) -> None:
    """Write what is given into the sizes of an input, and into the symbols that it has there."""
    wanted = arranged(file, name, given)
    for axis, number in enumerate(wanted, start=1):
        size = sizes[axis]
        if isinstance(size, int) and size != number:
            order = ""
            if len(given) == 3:
                order = " (C x H x W)"
            raise InputError(
                f"{file.path}: input {name} is fixed to {show_sizes(sizes)}, and inputs of "
                f"{show_sizes(given)}{order} are asked for; give data (or --input) of its own size, or "
                "export the network for that one"
            )
        if isinstance(size, str) and size:
            symbols[size] = number
        sizes[axis] = number


def arranged(
    file: OnnxFile,
    name: str,
    given: Sequence[int],
) -> tuple[int, ...]:
    """(C, H, W) of an image, or (H, W, C) where the graph turns them round first; others as given."""
    if len(given) == 3 and _channels_last(file, name):
        channels, height, width = given
        return height, width, channels
    return tuple(given)


def _channels_last(file: OnnxFile, name: str) -> bool:
    """Whether all that is done with an input is to put its channels, which come last, in front."""
    readers = []
    for node in file.model.graph.node:
        if name in node.input:
            readers.append(node)
    return bool(readers) and all(_puts_channels_first(node) for node in readers)


def _puts_channels_first(node: Any) -> bool:
    if node.op_type != "Transpose":
        return False
    return any(tuple(attribute.ints) == NHWC_TO_NCHW for attribute in node.attribute)
