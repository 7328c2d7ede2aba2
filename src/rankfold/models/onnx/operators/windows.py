"""Operators that slide over images: convolutions, pooling, and images of other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.models.onnx.operators.registry import Value, operator
from rankfold.models.onnx.operators.values import listed, tensor
from rankfold.workload.onnx.transposed import cut_sides

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def sides(
    plane: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> tuple[list[int], list[int]]:
    """Zeros before and behind each direction of a plane."""
    count = len(kernel)
    if auto_pad in ("NOTSET", ""):
        given = list(pads or [0] * (2 * count))
        return given[:count], given[count:]
    if auto_pad == "VALID":
        return [0] * count, [0] * count
    before, behind = [], []
    for size, k, s, d in zip(plane, kernel, stride, dilation, strict=True):
        missing = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = missing // 2, missing - missing // 2
        # An odd one goes behind, or before where the lower side is said.
        first, last = (large, small) if auto_pad == "SAME_LOWER" else (small, large)
        before.append(first)
        behind.append(last)
    return before, behind


def padded(x: Tensor, before: Sequence[int], behind: Sequence[int], value: float = 0.0) -> Tensor:
    """x with so many elements more on both sides of its last axes."""
    both = [side for pair in reversed(list(zip(before, behind, strict=True))) for side in pair]
    return F.pad(x, both, value=value) if any(both) else x


@operator("Conv")
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: list[int] | None = None,
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    auto_pad: str = "NOTSET",
    group: int = 1,
) -> Tensor:
    """A convolution whose weight is computed; one that is stored makes a module."""
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    stride, dilation = strides or ones, dilations or ones
    before, behind = sides(x.shape[2:], kernel, stride, dilation, pads=pads, auto_pad=auto_pad)
    run: Any = CONVOLUTIONS[len(kernel)]
    found: Tensor = run(padded(x, before, behind), weight, bias, stride, 0, dilation, group)
    return found


@operator("ConvTranspose")
def transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: list[int] | None = None,
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    auto_pad: str = "NOTSET",
    group: int = 1,
) -> Tensor:
    """A transposed convolution whose weight is computed; one that is stored makes a module."""
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    stride, dilation = strides or ones, dilations or ones
    further = output_padding or [0] * len(kernel)
    run: Any = TRANSPOSED[len(kernel)]
    whole = run(x, weight, None, stride, 0, 0, group, dilation)
    before, behind = cut_sides(
        x.shape[2:], kernel, stride, dilation, further, pads=pads, shape=output_shape, auto_pad=auto_pad
    )
    found = cut(whole, before, behind)
    return found if bias is None else found + bias.reshape(1, -1, *ones)


def cut(x: Tensor, before: Sequence[int], behind: Sequence[int]) -> Tensor:
    """x without so many elements on both sides of its last axes; with zeros where they are below zero."""
    return padded(x, [-one for one in before], [-one for one in behind])


@operator("AveragePool")
def average(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    """Means of windows; of zeros around the image those count that are asked to.

    Raises:
        InputError: the windows have holes.
    """
    if dilations is not None and max(dilations) > 1:
        raise InputError("an AveragePool has dilations, which torch does not compute")
    ones = [1] * len(kernel_shape)
    stride = strides or ones
    before, behind = sides(x.shape[2:], kernel_shape, stride, ones, pads=pads, auto_pad=auto_pad)
    beyond = [0] * len(ones)
    if ceil_mode:
        beyond = _beyond(x.shape[2:], kernel_shape, stride, ones, (before, behind))
    run: Any = AVERAGES[len(kernel_shape)]
    if not any([*before, *behind, *beyond]):
        whole: Tensor = run(x, kernel_shape, stride)  # every window lies in the image
        return whole
    # Sums over sums of ones: whatever does not count is zero in both.
    counted = torch.ones_like(x[:1, :1])
    counted = padded(counted, before, behind, float(count_include_pad))
    nothing = [0] * len(kernel_shape)
    sums = run(padded(padded(x, before, behind), nothing, beyond), kernel_shape, stride)
    counts = run(padded(counted, nothing, beyond), kernel_shape, stride)
    found: Tensor = sums / counts
    return found


@operator("MaxPool")
def largest(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
    outputs: int,
) -> Tensor:
    """The largest elements of windows.

    Raises:
        InputError: their places are wanted, too.
    """
    if outputs > 1:
        raise InputError(
            "a MaxPool gives the places of the largest elements, too, which is not computed here"
        )
    ones = [1] * len(kernel_shape)
    stride, dilation = strides or ones, dilations or ones
    before, behind = sides(x.shape[2:], kernel_shape, stride, dilation, pads=pads, auto_pad=auto_pad)
    beyond = [0] * len(ones)
    if ceil_mode:
        beyond = _beyond(x.shape[2:], kernel_shape, stride, dilation, (before, behind))
    lowest = -math.inf if x.is_floating_point() else float(torch.iinfo(x.dtype).min)
    values = padded(x, before, [one + more for one, more in zip(behind, beyond, strict=True)], lowest)
    run: Any = LARGEST[len(kernel_shape)]
    # Of whole numbers of 8 bits torch has no windows.
    if not x.is_floating_point():
        values = values.float()
    found: Tensor = run(values, kernel_shape, stride, 0, dilation)
    return found.to(x.dtype)


def _beyond(
    plane: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    around: tuple[Sequence[int], Sequence[int]],
) -> list[int]:
    """What the last window of each direction reaches beyond a plane with zeros around it."""
    found = []
    for size, k, s, d, first, last in zip(plane, kernel, stride, dilation, *around, strict=True):
        length, reach = size + first + last, (k - 1) * d + 1
        count = -(-(length - reach) // s) + 1
        # A window has to begin within the image or the zeros before it.
        if (count - 1) * s >= size + first:
            count -= 1
        found.append(max((count - 1) * s + reach - length, 0))
    return found


@operator("Resize", "Upsample")
def resize(
    x: Tensor,
    second: Value = None,
    third: Value = None,
    fourth: Value = None,
    *,
    mode: str = "nearest",
    scales: list[float] | None = None,
    coordinate_transformation_mode: str = "",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    axes: list[int] | None = None,
    opset: int,
    **others: Any,
) -> Tensor:
    """An image in another size, each axis by itself.

    Raises:
        InputError: it is asked for in a way that is not computed here.
    """
    for name in ("antialias", "exclude_outside"):
        if others.get(name):
            raise InputError(f"a Resize has {name}, which is not computed here")
    if others.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise InputError("a Resize keeps the ratio of its sides, which is not computed here")
    if coordinate_transformation_mode == "tf_crop_and_resize":
        raise InputError("a Resize cuts out a region, which is not computed here")
    # Before opset 11 scales were the second input, or an attribute, and places were counted otherwise.
    old = opset < 11
    by = second if old else third
    factors = scales
    if by is not None and tensor(by).numel():
        factors = tensor(by).tolist()
    chosen = axes if axes is not None else list(range(x.ndim))
    way = coordinate_transformation_mode or ("asymmetric" if old else "half_pixel")
    rounding = "floor" if old else nearest_mode
    for place, axis in enumerate(chosen):
        length = x.shape[axis]
        if axis == 0:
            # Samples stay as many as they are, whatever an exporter says their number was.
            continue
        if factors is not None:
            scale = float(factors[place])
            # As onnxruntime counts; in float64 ten times 0.7, as a file holds it, would be below seven.
            size = int(torch.tensor(scale) * length)
        else:
            size = listed(fourth)[place]
            scale = size / length
        if size != length or scale != 1.0:
            axis_way = _Axis(length, size, scale, way)
            x = axis_way.resized(x, axis, mode, rounding, cubic_coeff_a)
    return x


class _Axis:
    """One axis of an image that is given another size.

    Args:
        length: before.
        size: after.
        scale: of both, as it was asked for.
        way: how places are counted.
    """

    def __init__(self, length: int, size: int, scale: float, way: str) -> None:
        self.length, self.size, self.scale, self.way = length, size, scale, way

    def places(self) -> Tensor:
        """Where each new element lies in the old axis.

        Raises:
            InputError: nobody knows how to count so.
        """
        new = torch.arange(self.size, dtype=torch.float64)
        if self.way == "asymmetric":
            return new / self.scale
        if self.way == "align_corners":
            if self.size == 1:
                return torch.zeros_like(new)
            # As long as the scale says, which need not be whole.
            return new * (self.length - 1) / (self.length * self.scale - 1)
        middle = (new + 0.5) / self.scale - 0.5
        if self.way == "half_pixel":
            return middle
        if self.way == "pytorch_half_pixel":
            return middle if self.size > 1 else torch.zeros_like(new)
        if self.way == "half_pixel_symmetric":
            # The new axis may be a little longer or shorter than the scale says; both have one middle.
            adjustment = self.size / (self.scale * self.length)
            centre = self.length / 2
            return centre * (1 - adjustment) + middle
        raise InputError(f"a Resize counts places as {self.way}, which is not known")

    def resized(self, x: Tensor, axis: int, mode: str, rounding: str, a: float) -> Tensor:
        """x with this axis in its new size.

        Raises:
            InputError: the mode is not known.
        """
        where = self.places()
        if mode == "nearest":
            return x.index_select(axis, self._within(_rounded(where, rounding), x))
        first = where.floor()
        part = where - first
        if mode == "linear":
            weights = [1 - part, part]
        elif mode == "cubic":
            weights = [_cubic(part + 1, a), _cubic(part, a), _cubic(1 - part, a), _cubic(2 - part, a)]
            first = first - 1
        else:
            raise InputError(f"a Resize has the mode {mode}, which is not known")
        shape = [1] * x.ndim
        shape[axis] = self.size
        total = x.new_zeros(())
        for step, weight in enumerate(weights):
            taken = x.index_select(axis, self._within(first + step, x))
            total = total + weight.to(x).reshape(shape) * taken
        return total

    def _within(self, index: Tensor, x: Tensor) -> Tensor:
        return index.clamp(0, self.length - 1).long().to(x.device)


def _rounded(where: Tensor, rounding: str) -> Tensor:
    if rounding == "floor":
        return where.floor()
    if rounding == "ceil":
        return where.ceil()
    if rounding == "round_prefer_ceil":
        return (where + 0.5).floor()
    return (where - 0.5).ceil()


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys's weight of an element at this distance, which is at most 2 (Keys 1981)."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return torch.where(distance <= 1, near, far)
