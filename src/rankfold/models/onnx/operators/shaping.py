"""Operators that move elements, or say how many there are, and compute nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.models.onnx.operators.registry import Value, operator
from rankfold.models.onnx.operators.values import is_whole, listed, places, tensor, tensors, whole

LAST = 2**31 - 1  # what exporters write for the end of an axis is this or more


@operator("Shape")
def shape(x: Value, *, start: int = 0, end: int = LAST) -> list[int]:
    """The sizes of x."""
    return list(tensor(x).shape)[start:end]


@operator("Size")
def size(x: Value) -> int:
    """The number of elements."""
    return math.prod(tensor(x).shape)


@operator("Reshape")
def reshape(x: Value, sizes: Value, *, allowzero: int = 0) -> Value:
    """Other sizes; 0 keeps that of x, -1 takes what is left."""
    wanted = listed(sizes)
    if is_whole(x) and wanted in ([-1], [1]):
        return listed(x)
    values = tensor(x)
    if not allowzero:
        # `or`: a size of 0 is the size that x has there.
        wanted = [one or values.shape[place] for place, one in enumerate(wanted)]
    return values.reshape(wanted)


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix."""
    axis = axis + x.ndim if axis < 0 else axis
    rows = math.prod(x.shape[:axis])
    return x.reshape(rows, -1) if x.numel() else x.reshape(rows, math.prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(x: Value, given: Value = None, *, axes: list[int] | None = None) -> Value:
    """Without axes of size 1, those named or all."""
    if is_whole(x):
        numbers = listed(x)
        # Of several nothing falls away: it is one axis of more than one place.
        return numbers[0] if len(numbers) == 1 else numbers
    values = tensor(x)
    if given is not None:
        axes = listed(given)
    if axes is None:
        return values.squeeze()
    return values.squeeze(places(axes, values.ndim))


@operator("Unsqueeze")
def unsqueeze(x: Value, given: Value = None, *, axes: list[int] | None = None) -> Value:
    """With further axes of size 1."""
    if given is not None:
        axes = listed(given)
    assert axes is not None
    if isinstance(x, int) and axes in ([0], [-1]):
        return [x]
    values = tensor(x)
    for axis in sorted(places(axes, values.ndim + len(axes))):
        values = values.unsqueeze(axis)
    return values


@operator("Transpose")
def transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    """Axes in another order, turned round where none is given."""
    if perm is None:
        perm = list(range(x.ndim))[::-1]
    return x.permute(perm)


@operator("Concat")
def concat(*values: Value, axis: int) -> Value:
    """One behind the other."""
    if all(isinstance(value, list) for value in values):
        return [one for value in values for one in listed(value)]
    return torch.cat(tensors(*values), axis)


@operator("Split")
def split(
    x: Value,
    given: Value = None,
    *,
    axis: int = 0,
    split: list[int] | None = None,
    num_outputs: int | None = None,
    outputs: int,
) -> tuple[Value, ...]:
    """Parts along an axis, of the sizes given, else as equal as can be."""
    values = tensor(x)
    sizes = listed(given) if given is not None else split
    if sizes is None:
        count = num_outputs or outputs
        length = values.shape[axis]
        each = -(-length // count)
        sizes = [max(min(each, length - each * place), 0) for place in range(count)]
    return tuple(torch.split(values, sizes, axis))


@operator("Slice")
def slice_(
    x: Value,
    first: Value = None,
    last: Value = None,
    along: Value = None,
    by: Value = None,
    *,
    starts: list[int] | None = None,
    ends: list[int] | None = None,
    axes: list[int] | None = None,
) -> Value:
    """Every so many-th element between two places of some axes."""
    begin = listed(first) if first is not None else starts
    end = listed(last) if last is not None else ends
    assert begin is not None and end is not None
    if along is not None:
        axes = listed(along)
    steps = listed(by) if by is not None else [1] * len(begin)
    if axes is None:
        axes = list(range(len(begin)))
    if isinstance(x, list) and axes in ([0], [-1]):
        return x[slice(*_bounds(begin[0], end[0], steps[0], len(x)))]
    values = tensor(x)
    for axis, start, stop, step in zip(places(axes, values.ndim), begin, end, steps, strict=True):
        values = _sliced(values, axis, start, stop, step)
    return values


def _bounds(start: int, stop: int, step: int, length: int) -> tuple[int, int | None, int]:
    """As Python counts: of a step backwards an end before the first element is None."""
    if step < 0 and stop < -length:
        return start, None, step
    return start, stop, step


def _sliced(x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
    if step > 0:
        index: list[Any] = [slice(None)] * x.ndim
        end = None if stop >= LAST else stop
        index[axis] = slice(start, end, step)
        return x[tuple(index)]
    chosen = range(*slice(*_bounds(start, stop, step, x.shape[axis])).indices(x.shape[axis]))
    return x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))


@operator("Gather")
def gather(x: Value, index: Value, *, axis: int = 0) -> Value:
    """Elements of one axis, by their places."""
    if isinstance(x, list) and is_whole(index):
        chosen = whole(index)
        return [x[one] for one in chosen] if isinstance(chosen, list) else x[chosen]
    values, wanted = tensors(x, index)
    axis %= values.ndim
    flat = wanted.reshape(-1).long()
    flat = torch.where(flat < 0, flat + values.shape[axis], flat)
    found = values.index_select(axis, flat)
    return found.reshape(*values.shape[:axis], *wanted.shape, *values.shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(x: Value, index: Value, *, axis: int = 0) -> Tensor:
    """For each element of `index` one of x, at another place of one axis."""
    values, wanted = tensors(x, index)
    wanted = torch.where(wanted < 0, wanted + values.shape[axis], wanted)
    return values.gather(axis, wanted.long())


@operator("Expand")
def expand(x: Value, sizes: Value) -> Tensor:
    """Spread over further sizes; those of 1 among them keep the size of x."""
    values = tensor(x)
    wanted = torch.broadcast_shapes(values.shape, tuple(listed(sizes)))  # type: ignore[no-untyped-call]
    return values.expand(wanted)


@operator("Tile")
def tile(x: Value, repeats: Value) -> Tensor:
    """Several times along each axis."""
    return tensor(x).repeat(listed(repeats))


@operator("ConstantOfShape")
def constant_of_shape(sizes: Value, *, value: Tensor | None = None) -> Value:
    """One value at all places of these sizes."""
    if value is None:
        return torch.zeros(listed(sizes))
    # A number, so that the result is where the graph computes.
    return torch.full(listed(sizes), value.item(), dtype=value.dtype)


@operator("Range")
def range_(start: Value, limit: Value, step: Value) -> Value:
    """Numbers from `start` to before `limit`."""
    if is_whole(start) and is_whole(limit) and is_whole(step):
        return list(range(int(whole(start)), int(whole(limit)), int(whole(step))))  # type: ignore[arg-type]
    first, last, by = tensors(start, limit, step)
    count = max(math.ceil((last.item() - first.item()) / by.item()), 0)
    return first + by * torch.arange(count, dtype=first.dtype, device=first.device)


@operator("Pad")
def pad(
    x: Tensor,
    given: Value = None,
    filling: Value = None,
    along: Value = None,
    *,
    mode: str = "constant",
    pads: list[int] | None = None,
    value: float = 0.0,
) -> Tensor:
    """With further elements on both sides of axes.

    Raises:
        InputError: torch does not pad so.
    """
    sides = listed(given) if given is not None else pads
    assert sides is not None
    axes = places(listed(along), x.ndim) if along is not None else list(range(x.ndim))
    before, behind = [0] * x.ndim, [0] * x.ndim
    for axis, first, last in zip(axes, sides[: len(axes)], sides[len(axes) :], strict=True):
        before[axis], behind[axis] = first, last
    if mode == "constant":
        fill = float(tensor(filling)) if filling is not None else value
        both = [side for axis in reversed(range(x.ndim)) for side in (before[axis], behind[axis])]
        return F.pad(x, both, value=fill)
    if mode not in ("reflect", "edge", "wrap"):
        raise InputError(f"a Pad has the mode {mode}, which is not known")
    for axis in range(x.ndim):
        if before[axis] or behind[axis]:
            x = x.index_select(axis, _padded_places(x, axis, before[axis], behind[axis], mode))
    return x


def _padded_places(x: Tensor, axis: int, before: int, behind: int, mode: str) -> Tensor:
    """The place that each element of a padded axis is taken from."""
    length = x.shape[axis]
    wanted = torch.arange(-before, length + behind, device=x.device)
    if mode == "edge":
        return wanted.clamp(0, length - 1)
    if mode == "wrap":
        return wanted % length
    # There and back again, without the ends twice.
    period = max(2 * (length - 1), 1)
    wanted = wanted % period
    return torch.where(wanted < length, wanted, period - wanted)


@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels become places of blocks."""
    count, channels, height, width = x.shape
    inner = channels // blocksize**2
    if mode == "CRD":
        parts = x.reshape(count, inner, blocksize, blocksize, height, width).permute(0, 1, 4, 2, 5, 3)
    else:
        parts = x.reshape(count, blocksize, blocksize, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, inner, height * blocksize, width * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    """Places of blocks become channels."""
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // blocksize, blocksize, width // blocksize, blocksize)
    parts = parts.permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(count, channels * blocksize**2, height // blocksize, width // blocksize)
