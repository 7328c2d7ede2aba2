"""The shapes of transposed convolutions in ONNX graphs, as the sub-pixel convolutions that they equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.attributes import attributes, numbers, word
from rankfold.workload.onnx.convolutions import pair
from rankfold.workload.onnx.file import describe
from rankfold.workload.onnx.sizes import Dims, show_sizes
from rankfold.workload.shape import ConvShape
from rankfold.workload.sub_pixel import SubPixelForm, why_fixed


def transposed_shape(node: Any, x: Dims, dims: Dims) -> ConvShape:
    """The shape of a ConvTranspose of x, (B, C_in, H, W), with a weight of (C_in, C_out/groups, kh, kw).

    One of x (B, C_in, L) with (C_in, C_out/groups, k) is of height 1.

    Raises:
        InputError: its sizes or attributes contradict each other.
    """
    options = attributes(node)
    (groups,) = numbers(node, options, "group", (1,))
    if len(x) != len(dims) or dims[0] != x[1]:
        raise InputError(
            f"{describe(node)} reads a value of {show_sizes(x)}, which its weight of {show_sizes(dims)} does "
            "not fit; export it again"
        )
    return _form(node, options, x[2:], dims[2:]).shape(
        node.name or node.output[0],
        dims[0],
        dims[1] * groups,
        pair(x[2:], 1),
        groups=groups,
        fixed=why_fixed(len(dims) - 2),
    )


def _form(node: Any, options: Mapping[str, Any], plane: Dims, kernel: Dims) -> SubPixelForm:
    """How a node's transposed convolution lies over its input."""
    ones = (1,) * len(kernel)
    stride = numbers(node, options, "strides", ones)
    dilation = numbers(node, options, "dilations", ones)
    further = numbers(node, options, "output_padding", (0,) * len(kernel))
    if min(*stride, *dilation) < 1:
        raise InputError(f"{describe(node)} has strides or dilations below 1; export it again")
    pads = numbers(node, options, "pads", (0,) * (2 * len(kernel)))
    shape = None
    if options.get("output_shape"):
        shape = numbers(node, options, "output_shape", ones)
    front, behind = cut_sides(
        plane,
        kernel,
        stride,
        dilation,
        further,
        pads=pads,
        shape=shape,
        auto_pad=word(node, options, "auto_pad", "NOTSET"),
    )
    return SubPixelForm.of(kernel, stride, dilation, front, behind)


def cut_sides(
    plane: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    further: Sequence[int],
    *,
    pads: Sequence[int] | None,
    shape: Sequence[int] | None,
    auto_pad: str,
) -> tuple[list[int], list[int]]:
    """What falls away on both sides of the whole output of a transposed convolution; below zero is added."""
    count = len(kernel)
    if shape is None and auto_pad in ("NOTSET", "", "VALID"):
        given = list(pads or [0] * (2 * count))
        behind = [one - more for one, more in zip(given[count:], further, strict=True)]
        return given[:count], behind
    before, behind = [], []
    for place in range(count):
        whole = (plane[place] - 1) * stride[place] + (kernel[place] - 1) * dilation[place] + 1
        wanted = plane[place] * stride[place] if shape is None else shape[-count:][place]
        missing = whole + further[place] - wanted
        small, large = missing // 2, missing - missing // 2
        first = large if auto_pad == "SAME_LOWER" or auto_pad in ("NOTSET", "") else small
        before.append(first)
        behind.append(missing - first - further[place])
    return before, behind
