"""Windows whose margins have matrices of their own: rectangles of a plane, each computed by its own windows.

Windows of a x b pixels that do not divide a plane reach beyond it and compute outputs that nobody reads. A
**cover** computes the right and the lower margin by windows of other shapes instead. It is a tiling of the
plane by rectangles, each computed by windows of one shape as if it were a plane of its own. A rectangle of
h x w pixels costs

    c(h, w) = min over windows (a, b) of ceil(h/a) * ceil(w/b) * t(a, b),

t the tiles of a window's matrix, which do not depend on where it lies. So the fewest cycles of a tiling of at
most p rectangles that straight cuts make are

    f_1 = c,    f_p(h, w) = min( f_(p-1)(h, w),  f_q(i, w) + f_(p-q)(h-i, w),  f_q(h, i) + f_(p-q)(h, w-i) )

over all cuts i and numbers q of rectangles before them.

**No tiling of at most four rectangles needs fewer**: straight cuts make every one of them. The least tiling
that they cannot make has five, the pinwheel (four around one).

Windows of at most a x b pixels are never fewer than those of a x b that overhang: of the pixels that lie a
apart down and b apart across there are ceil(OH/a) * ceil(OW/b), and no such window holds two of them.
Margins pay by windows that are longer one way than the main ones, or that need fewer tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.window_matrix import matrix_cycles, pixels_in_a_row, window_cycles, window_shape
from rankfold.workload.shape import ConvShape, Pair

Keys = np.ndarray  # (OH+1, OW+1) whole numbers, of rectangles h x w

PARTS = 4  # rectangles of a cover: the main one, two margins and their corner
TURN = 1 << 32  # more than the tiles of any cover, so that a sum of keys says which has fewer cycles first
NOWHERE = np.iinfo(np.int64).max // 2  # a key that is above all, also doubled
MOST_CYCLES = NOWHERE // TURN - 1  # of a plane whose covers have keys below it


@dataclass(frozen=True)
class PlanePart:
    """A rectangle of an output plane, and the windows that compute it as if it were a plane of its own.

    Attributes:
        corner: (top, left) its first pixel.
        size: (height, width) its pixels.
        window: (a, b) pixels.
    """

    corner: Pair
    size: Pair
    window: Pair

    @property
    def end(self) -> Pair:
        """(bottom, right), behind its last pixel."""
        return self.corner[0] + self.size[0], self.corner[1] + self.size[1]


AnyWindow = Pair | PlanePart  # (a, b) pixels, on the whole plane or on a rectangle of it


def part_shape(shape: ConvShape, part: PlanePart) -> ConvShape:
    """The layer on a rectangle of its plane alone: what it reads there, padding included, is its input.

    Args:
        shape: the layer.
        part: of its output plane.
    """
    height = (part.size[0] - 1) * shape.stride[0] + shape.extent[0]
    width = (part.size[1] - 1) * shape.stride[1] + shape.extent[1]
    return replace(shape, input=(height, width), padding=(0, 0, 0, 0))


def straight_cut(parts: Sequence[PlanePart]) -> tuple[int, list[int], list[int]] | None:
    """Where a straight cut parts rectangles.

    Args:
        parts: two or more.

    Returns:
        The axis that it cuts, 0 (down) or 1 (across), and the indices before and behind it; None where every
        cut would go through one of them.
    """
    for axis in (0, 1):
        for place in sorted({part.corner[axis] for part in parts}):
            before = [index for index, part in enumerate(parts) if part.end[axis] <= place]
            behind = [index for index, part in enumerate(parts) if part.corner[axis] >= place]
            if before and len(before) + len(behind) == len(parts):
                return axis, before, behind
    return None


def covers(parts: Sequence[PlanePart], corner: Pair, size: Pair) -> bool:
    """Whether rectangles that straight cuts make fill a rectangle, each pixel of it once.

    Args:
        parts: one or more.
        corner: (top, left) of the rectangle.
        size: (height, width).
    """
    if len(parts) == 1:
        return (parts[0].corner, parts[0].size) == (corner, size)
    cut = straight_cut(parts)
    if cut is None:
        return False
    axis, before, behind = cut
    start = corner[0], min(parts[index].corner[1] for index in behind)
    if axis == 0:
        start = min(parts[index].corner[0] for index in behind), corner[1]
    first, last = _cut(size, axis, start[axis] - corner[axis])
    above, below = [parts[index] for index in before], [parts[index] for index in behind]
    return covers(above, corner, first) and covers(below, start, last)


def cover_cycles(
    shape: ConvShape, parts: Sequence[PlanePart], array: ArraySpec, rows: Sequence[int | None]
) -> int:
    """Cycles of a layer whose plane is computed in parts.

    Args:
        shape: the layer.
        parts: of its plane.
        array: R x C, columns counted in weights.
        rows: inputs of each group that each part drives; None: all.
    """
    cycles = 0
    for part, driven in zip(parts, rows, strict=True):
        cycles += window_cycles(part_shape(shape, part), part.window, array, driven)
    return cycles


def cheapest_cover(
    shape: ConvShape, array: ArraySpec, row_tiles: int | None, largest: int | None = None
) -> tuple[PlanePart, ...]:
    """The cover of a layer's plane that needs the fewest cycles, of at most four rectangles.

    All windows are tried that `window_matrix.filling_window` tries. Of covers that need as many cycles the
    one of the fewest arrays is taken, then the one of fewer parts: a single one, whose windows overhang the
    plane, wherever margins save nothing.

    Args:
        shape: the layer.
        array: R x C, columns counted in weights.
        row_tiles: k, tiles of R inputs that each window drives; None: all inputs.
        largest: inputs that a window of several pixels may have; None: any number.

    Returns:
        The parts, those with the upper corners first; the plane in one where even its best windows need more
        than 2^30 cycles.
    """
    # Its name changes nothing.
    return _cheapest(shape.anonymous, array, row_tiles, largest)


@lru_cache(maxsize=1 << 12)
def _cheapest(
    shape: ConvShape, array: ArraySpec, row_tiles: int | None, largest: int | None
) -> tuple[PlanePart, ...]:
    tiles = _tiles(shape, array, row_tiles, largest)
    # In whole numbers of any size, unlike the keys of all rectangles.
    best = min(tiles, key=lambda window: _key(shape.output, window, tiles[window]))
    if _key(shape.output, best, tiles[best]) // TURN > MOST_CYCLES:
        return (PlanePart((0, 0), shape.output, best),)
    alone = _alone(shape.output, tiles)
    # No cover beats the fewest tiles for a pixel. Mostly windows that overhang need no more.
    least = min(Fraction(count, a * b) for (a, b), count in tiles.items())
    bound = math.ceil(least * shape.output[0] * shape.output[1])
    keys = [alone]
    if alone[shape.output] // TURN > bound:
        for _ in range(1, PARTS):
            keys.append(_of_one_more(keys))
    parts = []
    for corner, size in _rectangles(keys, (0, 0), shape.output, len(keys)):
        # Of windows that cost as much the first one, see `_tiles`.
        window = next(one for one, count in tiles.items() if _key(size, one, count) == alone[size])
        parts.append(PlanePart(corner, size, window))
    return tuple(sorted(parts, key=lambda part: part.corner))


def most_inputs(shape: ConvShape, array: ArraySpec, largest: int | None = None) -> int:
    """The inputs of each group that the largest window has of those that `cheapest_cover` tries.

    Args:
        shape: the layer.
        array: R x C, columns counted in weights.
        largest: inputs that a window of several pixels may have; None: any number.
    """
    return max(alone.n for _, alone in _tried(shape.anonymous, array, largest))


def _tiles(shape: ConvShape, array: ArraySpec, row_tiles: int | None, largest: int | None) -> dict[Pair, int]:
    """The tiles of every window that is tried; first of those that cost as much come those that
    `window_matrix.fewest_cycles` takes.
    """
    found = {}
    for window, alone in _tried(shape, array, largest):
        inputs = alone.n
        if row_tiles is not None:
            inputs = min(inputs, row_tiles * array.rows)
        # A plane of one window.
        found[window] = matrix_cycles(alone, inputs, alone.m, array)
    return found


@lru_cache(maxsize=1 << 10)
def _tried(shape: ConvShape, array: ArraySpec, largest: int | None) -> tuple[tuple[Pair, ConvShape], ...]:
    """All windows that are tried, each with the convolution of one of it: by inputs, pixels and height."""
    height, width = shape.output
    pixels = max(1, pixels_in_a_row(shape, array))
    found = {}
    for a in range(1, min(height, pixels) + 1):
        for b in range(1, min(width, pixels // a) + 1):
            alone = window_shape(part_shape(shape, PlanePart((0, 0), (a, b), (a, b))), (a, b))
            if a * b == 1 or largest is None or alone.n <= largest:
                found[alone.n, a * b, a] = (a, b), alone
    return tuple(found[order] for order in sorted(found))


def _key(size: Pair, window: Pair, tiles: int) -> int:
    """TURN times the cycles of a rectangle by one window, and its tiles."""
    windows = -(-size[0] // window[0]) * -(-size[1] // window[1])
    return tiles * (windows * TURN + 1)


def _alone(plane: Pair, tiles: dict[Pair, int]) -> Keys:
    """(OH+1, OW+1) the least key of each rectangle h x w by one window; NOWHERE where it has no pixel."""
    keys = np.full((plane[0] + 1, plane[1] + 1), NOWHERE)
    heights, widths = np.arange(1, plane[0] + 1), np.arange(1, plane[1] + 1)
    for (a, b), count in tiles.items():
        cycles = count * np.outer(-(-heights // a), -(-widths // b))
        # A window that is far from the best may need more than keys can say.
        own = np.where(cycles > MOST_CYCLES, NOWHERE, cycles * TURN + count)
        np.minimum(keys[1:, 1:], own, out=keys[1:, 1:])
    return keys


def _of_one_more(keys: Sequence[Keys]) -> Keys:
    """(OH+1, OW+1) the least keys of one rectangle more, from those of 1, 2, ..., p: f_(p+1)."""
    parts = len(keys) + 1
    best = keys[-1].copy()
    for share in range(1, parts):
        first, last = keys[share - 1], keys[parts - share - 1]
        for place in range(1, best.shape[0] - 1):
            below = last[1 : best.shape[0] - place]
            np.minimum(best[place + 1 :], first[place] + below, out=best[place + 1 :])
        for place in range(1, best.shape[1] - 1):
            behind = last[:, 1 : best.shape[1] - place]
            np.minimum(best[:, place + 1 :], first[:, place, None] + behind, out=best[:, place + 1 :])
    return best


def _rectangles(keys: Sequence[Keys], corner: Pair, size: Pair, parts: int) -> Iterator[tuple[Pair, Pair]]:
    """(corner, size) of the rectangles of the best tiling by at most so many, found again from its key."""
    wanted = keys[parts - 1][size]
    while parts > 1 and keys[parts - 2][size] == wanted:
        parts -= 1
    if parts == 1:
        yield corner, size
        return
    for axis, share in product((0, 1), range(1, parts)):
        for place in range(1, size[axis]):
            first, last = _cut(size, axis, place)
            if keys[share - 1][first] + keys[parts - share - 1][last] == wanted:
                start = corner[0] + place * (axis == 0), corner[1] + place * (axis == 1)
                yield from _rectangles(keys, corner, first, share)
                yield from _rectangles(keys, start, last, parts - share)
                return


def _cut(size: Pair, axis: int, place: int) -> tuple[Pair, Pair]:
    """The sizes of both parts of a rectangle."""
    height, width = size
    if axis == 0:
        return (place, width), (height - place, width)
    return (height, place), (height, width - place)
