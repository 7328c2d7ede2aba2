"""Windows whose rows overflow the last full array by a little: several of them share one array for those.

The rows at the edge of a window are read by few of its pixels. So where C_in*ph*pw rows fill j arrays and
some rows are left, the left ones are taken from an edge, and q windows store theirs diagonally in one array:
j*ceil(N*m/C) activations for every window and one for every q windows, where whole windows would need one
more each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Windows
from rankfold.workload.shape import ConvShape, Pair

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
    """The best window of this kind.

    Attributes:
        cycles: (window, tile) activations per image.
        window: (a, b).
        full: what the full arrays store.
        shared: what the shared array stores.
    """

    cycles: int
    window: Pair
    full: Overflow
    shared: Overflow


def search_overflow(windows: Windows) -> OverflowPlan | None:
    """The window with the fewest cycles, or None where no window lets others share its overflow.

    Convolutions with groups, supports, or dilation between neighbouring pixels are not searched.
    """
    footprint, array = windows.footprint, windows.array
    shape = footprint.shape
    if shape.groups > 1 or footprint.mask is not None or _is_dilated(shape):
        return None
    lines = windows.part_inputs[0] * shape.in_channels  # (W,)
    full = lines // array.rows  # arrays that the rows of a window fill
    left = lines % array.rows  # rows that are left
    # One diagonal block; and the arrays shared by two windows or more hold half an array's rows at most.
    one_block = windows.copies == 1
    overflows = (full > 0) & (left > 0)
    shareable = 2 * left <= array.rows
    index = np.flatnonzero(one_block & overflows & shareable)
    if not len(index):
        return None
    usable = Windows(
        footprint,
        array,
        windows.a[index],
        windows.b[index],
    )
    best: OverflowPlan | None = None
    for axis in (0, 1):
        plan = _search_edge(
            usable,
            axis,
            full[index],
            left[index],
        )
        if plan is None:
            continue
        if best is None or plan.cycles < best.cycles:
            best = plan
    return best


def _is_dilated(shape: ConvShape) -> bool:
    height, width = shape.kernel
    down, right = shape.dilation
    if height > 1 and down > 1:
        return True
    return width > 1 and right > 1


def _search_edge(
    windows: Windows,
    axis: int,
    full: Array,
    left: Array,
) -> OverflowPlan | None:
    """The window with the fewest cycles where the rows left over lie at the upper (axis 0) or left (1) edge.

    Args:
        windows: W windows.
        axis: at right angles to the edge.
        full: (W,) arrays that the other rows fill.
        left: (W,) rows left over.
    """
    shape, array = windows.footprint.shape, windows.array
    # Rows are ordered by place, then by channel, so that this many places hold all that are left over.
    places = ceil(left, shape.in_channels)
    touched = _touched(windows, axis, places)
    columns = touched * shape.m  # of one window in the shared array
    # The windows lie on the diagonal of the shared array: neither rows nor columns are common.
    slots = np.minimum(
        array.rows // left,
        array.columns // columns,
    )
    count = windows.positions
    column_tiles = ceil(windows.pixels * shape.m, array.columns)
    # One activation serves several windows, or none is shared and each needs one more for all of its columns.
    shared = np.where(
        slots > 1,
        ceil(count, np.maximum(slots, 1)),
        count * column_tiles,
    )
    cycles = count * full * column_tiles + shared
    index = int(cycles.argmin())
    if slots[index] < 2:
        return None
    rest = int(left[index])
    stop = rest + int(full[index]) * array.rows
    return OverflowPlan(
        cycles=int(cycles[index]),
        window=windows.window(index),
        full=Overflow(axis, rest, stop),
        shared=Overflow(
            axis,
            0,
            rest,
            int(slots[index]),
        ),
    )


def _touched(
    windows: Windows,
    axis: int,
    places: Array,
) -> Array:
    """(W,) pixels that read any of a window's first inputs, counted line by line from its edge.

    Lines are parallel to the edge, and each is as long as the inputs under the window are wide. Pixels lie in
    lines too, of which line v starts to read at input line v*s. So all pixels of the lines with v*s below the
    number of whole input lines are touched, and, where a part of a line is left, of the pixel line that
    starts there, if any, those that start to read in it.

    Args:
        windows: W windows.
        axis: at right angles to the edge.
        places: (W,) inputs of one channel, from the edge on.
    """
    shape = windows.footprint.shape
    sides = windows.a, windows.b
    along = sides[axis]  # pixels at right angles to the edge
    across = sides[1 - axis]
    stride = shape.stride[axis]
    stride_across = shape.stride[1 - axis]
    taps_across = shape.kernel[1 - axis]
    per_line = (across - 1) * stride_across + taps_across
    whole = places // per_line  # input lines
    rest = places % per_line  # inputs of the next line
    # Pixel lines v with v*s < whole, those with v*s <= whole, and pixels u with u*s < rest.
    lines = np.minimum(along, ceil(whole, stride))
    lines_with_part = np.minimum(along, ceil(whole + 1, stride))
    in_part = np.minimum(across, ceil(rest, stride_across))
    lines_in_part = lines_with_part - lines
    return lines * across + lines_in_part * in_part
