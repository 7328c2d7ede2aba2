"""The shapes of convolutions in ONNX graphs."""

from __future__ import annotations

from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.attributes import attributes, numbers
from rankfold.workload.onnx.file import describe
from rankfold.workload.onnx.operators import why_fixed
from rankfold.workload.onnx.shapes import Dims, show_sizes
from rankfold.workload.shape import ConvShape, Pair, Sides, same_padding


def conv_shape(
    node: Any,
    x: Dims,
    dims: Dims,
) -> ConvShape:
    """The shape of a convolution of x, (B, C_in, H, W), with a weight of (C_out, C_in/groups, kh, kw)."""
    options = attributes(node)
    if len(x) != 4:
        raise InputError(
            f"{describe(node)} reads a value of {show_sizes(x)}, and a convolution needs four sizes"
        )
    out_channels, channels_per_group, *kernel_sizes = dims
    kernel = _pair(kernel_sizes)
    plane = (x[2], x[3])
    stride = _pair(numbers(node, options, "strides", (1, 1)))
    dilation = _pair(numbers(node, options, "dilations", (1, 1)))
    (groups,) = numbers(node, options, "group", (1,))
    taken = channels_per_group * groups
    if taken != x[1]:
        raise InputError(
            f"{describe(node)} reads {x[1]} channels, "
            f"and its weight of {show_sizes(dims)} in {groups} groups takes {taken}; "
            "pass its real --input"
        )
    automatic = options.get("auto_pad", b"NOTSET")
    if not isinstance(automatic, bytes):
        raise InputError(f"{describe(node)} has an auto_pad that is no word; export it again")
    automatic = automatic.decode(errors="replace")
    if automatic.startswith("SAME"):
        padding = _padding_like(automatic, same_padding(plane, kernel, stride, dilation))
    elif automatic == "VALID":
        padding = (0, 0, 0, 0)
    else:
        # ONNX names all beginnings before all ends.
        top, left, bottom, right = numbers(node, options, "pads", (0, 0, 0, 0))
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
        fixed=why_fixed(node),
    )


def _padding_like(automatic: str, same: Sides) -> Sides:
    """`same`, which has the odd zero below and right, or turned round."""
    if automatic != "SAME_LOWER":
        return same
    top, bottom, left, right = same
    return bottom, top, right, left


def _pair(values: Any) -> Pair:
    vertical, horizontal = values
    return vertical, horizontal
