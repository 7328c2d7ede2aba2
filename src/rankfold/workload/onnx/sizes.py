"""Sizes of values in ONNX files: numbers, and symbols where they are open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Dims = tuple[int, ...]
Known = Mapping[str, Dims]  # value -> its sizes
OpenSizes = list[int | str]  # symbols as text, and unknown ones as ''


def open_sizes(value: Any) -> OpenSizes | None:
    """A value's sizes (`onnx.ValueInfoProto`); None where not even their number is known."""
    # A sequence of tensors, or a tensor of which nothing is known.
    if not value.type.HasField("tensor_type"):
        return None
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes: OpenSizes = []
    for dim in value.type.tensor_type.shape.dim:
        # Some exporters write an open size as -1, or as a name such as '?' that says nothing.
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            sizes.append(dim.dim_value)
        else:
            sizes.append(dim.dim_param.replace("?", ""))
    return sizes


def closed(sizes: OpenSizes | None) -> Dims | None:
    """The sizes, if none of them is open."""
    if sizes is None:
        return None
    numbers: list[int] = []
    for size in sizes:
        if isinstance(size, str):
            return None
        numbers.append(size)
    return tuple(numbers)


def set_sizes(value: Any, sizes: Iterable[int]) -> None:
    """Write sizes into a value (`onnx.ValueInfoProto`)."""
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        shape.dim.add().dim_value = size


def show_sizes(sizes: Iterable[int | str]) -> str:
    """`1x3x?x?`, a question mark for each size that is not known."""
    return "x".join(str(size) or "?" for size in sizes)
