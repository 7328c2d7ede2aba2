"""Windows whose rows overflow the last full array by a little: several windows share one array for those rows.

The rows at the edge of a window are read by few of its pixels. So where C_in*ph*pw rows fill j arrays and some rows are left,
the left ones are taken from an edge, and q windows store theirs diagonally in one array: j*ceil(N*m/C) activations for every
window and one for every q windows, where whole windows would need one more each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Windows
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(frozen=True)
class Overflow:
    """Which rows of its windows a region stores, and for how many windows at once.

    Attributes:
        axis: lines are ordered by (y, x, channel) if 0, by (x, y, channel) if 1.
        start: first line in that order.
        stop: line after the last.
        slots: q, windows that one activation serves.
    """

    axis: int
    start: int
    stop: int
    slots: int = 1


@dataclass(frozen=True)
class OverflowPlan:
    """The best window of this kind: its cycles, and what the full arrays and the shared one store."""

    cycles: int
    window: Pair
    full: Overflow
    shared: Overflow


def search_overflow(windows: Windows) -> OverflowPlan | None:
    """The window with the fewest cycles, or None where no window lets others share its overflow.

    Convolutions with groups, supports, or dilation between neighbouring pixels are left out.
    """
    footprint, array = windows.footprint, windows.array
    shape = footprint.shape
    dilated = any(d > 1 and k > 1 for d, k in zip(shape.dilation, shape.kernel, strict=True))
    if shape.groups > 1 or footprint.mask is not None or dilated:
        return None
    lines = windows.part_inputs[0] * shape.in_channels
    full, left = lines // array.rows, lines % array.rows
    # One diagonal block; and the arrays shared by two windows or more hold half an array's rows at most.
    usable = (windows.part[0] == windows.a) & (windows.part[1] == windows.b) & (full > 0) & (left > 0) & (2 * left <= array.rows)
    index = np.flatnonzero(usable)
    if not len(index):
        return None
    a, b, full, left = windows.a[index], windows.b[index], full[index], left[index]
    inputs = ceil(left, shape.in_channels)
    count = windows.count(*shape.output)[index]
    column_tiles = ceil(windows.pixels[index] * shape.m, array.columns)
    best: OverflowPlan | None = None
    for axis, along, across in ((0, a, b), (1, b, a)):
        touched = _touched(
            inputs, along, across, (shape.kernel[axis], shape.stride[axis]), (shape.kernel[1 - axis], shape.stride[1 - axis])
        )
        slots = np.minimum(array.rows // left, array.columns // (touched * shape.m))
        cycles = count * full * column_tiles + np.where(slots > 1, ceil(count, np.maximum(slots, 1)), count * column_tiles)
        found = int(cycles.argmin())
        if slots[found] > 1 and (best is None or cycles[found] < best.cycles):
            rest = int(left[found])
            best = OverflowPlan(
                int(cycles[found]), (int(a[found]), int(b[found])),
                Overflow(axis, rest, rest + int(full[found]) * array.rows), Overflow(axis, 0, rest, int(slots[found])),
            )  # fmt: skip
    return best


def _touched(inputs: Array, along: Array, across: Array, axis: Pair, other: Pair) -> Array:
    """(W,) pixels that read any of a window's first inputs, counted line by line from its edge.

    Args:
        inputs: (W,) inputs of one channel, in lines parallel to the edge.
        along: (W,) the window's pixels at right angles to the edge.
        across: (W,) its pixels along the edge.
        axis: (kernel, stride) at right angles to the edge.
        other: (kernel, stride) along it.
    """
    per_line = (across - 1) * other[1] + other[0]
    whole, rest = inputs // per_line, inputs % per_line
    before = np.where(whole > 0, np.minimum(along, (whole - 1) // axis[1] + 1), 0)
    after = np.minimum(along, whole // axis[1] + 1)
    few = np.minimum(across, (rest - 1) // other[1] + 1)
    return before * across + np.where(rest > 0, (after - before) * few, 0)
