"""The shapes of convolutions in ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.attributes import attributes, numbers, word
from rankfold.workload.onnx.file import describe
from rankfold.workload.onnx.operators import why_fixed
from rankfold.workload.onnx.sizes import Dims, show_sizes
from rankfold.workload.shape import ConvShape, Pair, Sides, same_padding

ONE_DIMENSIONAL = "is a 1-d convolution, mapped as one of height 1"


def conv_shape(
    node: Any,
    x: Dims,
    dims: Dims,
) -> ConvShape:
    """The shape of a convolution of x, (B, C_in, H, W), with a weight of (C_out, C_in/groups, kh, kw).

    One of x (B, C_in, L) with (C_out, C_in/groups, k) is a convolution of height 1.
    """
    options = attributes(node)
    if len(x) != len(dims):
        raise InputError(
            f"{describe(node)} reads a value of {show_sizes(x)}, and a convolution with a weight of "
            f"{show_sizes(dims)} needs {len(dims)} sizes"
        )
    out_channels, channels_per_group, *kernel_sizes = dims
    directions = len(kernel_sizes)
    ones = (1,) * directions
    kernel = pair(kernel_sizes, 1)
    plane = pair(x[2:], 1)
    stride = pair(numbers(node, options, "strides", ones), 1)
    dilation = pair(numbers(node, options, "dilations", ones), 1)
    (groups,) = numbers(node, options, "group", (1,))
    taken = channels_per_group * groups
    if taken != x[1]:
        raise InputError(
            f"{describe(node)} reads {x[1]} channels, "
            f"and its weight of {show_sizes(dims)} in {groups} groups takes {taken}; "
            "export it again"
        )
    automatic = word(node, options, "auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        padding = _padding_like(automatic, same_padding(plane, kernel, stride, dilation))
    elif automatic == "VALID":
        padding = (0, 0, 0, 0)
    else:
        # ONNX names all beginnings before all ends.
        pads = numbers(node, options, "pads", (0,) * (2 * directions))
        top, left = pair(pads[:directions], 0)
        bottom, right = pair(pads[directions:], 0)
        padding = (top, bottom, left, right)
    return ConvShape(
        node.name or node.output[0],
        taken,
        out_channels,
        kernel,
        plane,
        stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        fixed=_fixed(node, directions),
    )


def _padding_like(automatic: str, same: Sides) -> Sides:
    """`same`, which has the odd zero below and right, or turned round."""
    if automatic != "SAME_LOWER":
        return same
    top, bottom, left, right = same
    return bottom, top, right, left


def _fixed(node: Any, directions: int) -> str:
    """Why a convolution can only stay as it is; empty where it may be replaced."""
    if directions == 1:
        return ONE_DIMENSIONAL
    return why_fixed(node)


def pair(values: Sequence[int], vertical: int) -> Pair:
    """(vertical, horizontal); of a 1-d convolution with this for vertical."""
    if len(values) == 1:
        return vertical, values[0]
    return values[0], values[1]
