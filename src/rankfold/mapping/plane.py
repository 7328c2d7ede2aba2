"""The cheapest way to cut the output plane into windows, with guillotine cuts, for tiles given by window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.cover import Cover, Rectangle
from rankfold.mapping.windows import NEVER
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Strips:
    """Costs of all rectangles of a height x width plane that are filled with strips across.

    The strips lie one below the other, each cut into windows as tall as it is, whose widths may differ.

    Attributes:
        table: (height+1, width+1) tiles of each window, `NEVER` for those not tried.
        strip: (height+1, width+1) cycles of one strip of that height and width.
        filled: (height+1, width+1) cycles of a rectangle of strips.
    """

    table: Array
    strip: Array
    filled: Array

    @classmethod
    def of(cls, table: Array) -> Strips:
        """The costs for K tables of tiles, each of which has at least one window: of (K, ...) arrays."""
        _, heights, widths = np.nonzero(table < NEVER)
        tallest = int(heights.max())
        # Strips are made width by width, those of all heights and tables at once.
        by_width = table[:, : tallest + 1].transpose(2, 1, 0)  # (width+1, tallest+1, K)
        strip = np.full_like(table, NEVER)
        strip[:, : tallest + 1] = _made_of(by_width, int(widths.max())).transpose(2, 1, 0)
        filled = _made_of(strip.transpose(1, 2, 0), tallest).transpose(2, 0, 1)
        filled[:, :, 0] = 0
        return cls(table, strip, filled)

    def one(self, index: int) -> Strips:
        """Those of one of the tables."""
        return Strips(self.table[index], self.strip[index], self.filled[index])

    def rectangles(self, origin: Pair, size: Pair) -> list[Rectangle]:
        """Rectangles of equal windows that make up a rectangle of strips."""
        height, width = size
        rectangles = []
        y = origin[0]
        # Which strip comes first does not matter to their sum, so that strips of one height can lie together.
        strips_by_height = _parts(
            self.strip[:, width],
            self.filled[:, width],
            height,
        )
        for h, strips in strips_by_height.items():
            x = origin[1]
            windows_by_width = _parts(
                self.table[h],
                self.strip[h],
                width,
            )
            for w, windows in windows_by_width.items():
                rectangle = Rectangle(
                    (y, x),
                    (h * strips, w * windows),
                    (h, w),
                )
                rectangles.append(rectangle)
                x += w * windows
            y += h * strips
        return rectangles


@dataclass(frozen=True, eq=False)
class Plane:
    """Costs of all rectangles of a height x width plane, which strips across fill, or strips down.

    Attributes:
        across: with strips across.
        down: with strips down, all rows and columns exchanged.
        best: (height+1, width+1) cycles of each rectangle at the origin.
        cycles: those of the cheapest cutting, see `solve`.
    """

    across: Strips
    down: Strips
    best: Array
    cycles: int

    @classmethod
    def each(
        cls,
        size: Pair,
        a: Array,
        b: Array,
        tiles: Array,
    ) -> list[Plane]:
        """The tables of K blocks of channels, filled together.

        Args:
            size: (height, width).
            a: (W,) heights of the windows.
            b: (W,) their widths.
            tiles: (K, W) tiles of each for each block.
        """
        height, width = size
        table = np.full((len(tiles), height + 1, width + 1), NEVER)
        table[:, a, b] = tiles
        turned = table.transpose(0, 2, 1)
        across = Strips.of(table)
        down = across
        if height != width or (table != turned).any():
            down = Strips.of(turned)
        best = np.minimum(across.filled, down.filled.transpose(0, 2, 1))
        cycles = np.minimum(_cut_cycles(best), _cut_cycles(best.transpose(0, 2, 1)))
        planes = []
        for index, least in enumerate(cycles.tolist()):
            planes.append(cls(across.one(index), down.one(index), best[index], least))
        return planes

    def solve(self) -> Cover:
        """The cycles of the plane and the rectangles it is cut into, each filled with windows of one size.

        The plane may first be cut in two, at any place, and each of these parts in two again, at right angles
        to the first cut: so the margins, to the right and below, can have windows of their own whichever of
        them takes the corner.
        """
        height = len(self.best) - 1
        width = len(self.best[0]) - 1
        rectangles: list[Rectangle] = []
        columns, rows = self._down, self._across
        if columns.cycles <= rows.cycles:
            for x, part_width in _two_parts(width, columns.first):
                cut = int(columns.second[part_width])
                for y, part_height in _two_parts(height, cut):
                    rectangles += self._rectangles((y, x), (part_height, part_width))
        else:
            for y, part_height in _two_parts(height, rows.first):
                cut = int(rows.second[part_height])
                for x, part_width in _two_parts(width, cut):
                    rectangles += self._rectangles((y, x), (part_height, part_width))
        return Cover(self.cycles, tuple(rectangles))

    @cached_property
    def _down(self) -> _Cuts:
        """The plane cut from top to bottom first."""
        return _Cuts.of(self.best)

    @cached_property
    def _across(self) -> _Cuts:
        """The plane cut from side to side first."""
        return _Cuts.of(self.best.T)

    def _rectangles(self, origin: Pair, size: Pair) -> list[Rectangle]:
        """Rectangles of equal windows that make up one rectangle, which may be empty."""
        height, width = size
        if height == 0 or width == 0:
            return []
        across = self.across.filled[height, width]
        down = self.down.filled[width, height]
        if across <= down:
            return self.across.rectangles(origin, size)
        y, x = origin
        turned = self.down.rectangles((x, y), (width, height))
        return [rectangle.transposed() for rectangle in turned]


# Dynamic programming, part by part. Let t(n) be the least that parts shorter than p cost which add up to n.
# With parts of length p, each of which costs c, it becomes
#
#     t'(n) = min(t(n), t'(n - p) + c)  for n = p, p + 1, ...,
#
# where p neighbouring lengths only ask for the p before them, so that p are found at once. A part that is no
# cheaper than shorter ones of the same length in all, c >= t(p), changes nothing: a sum that has it costs no
# less than one with these in its place. Few parts are cheaper, and those on few lines.
def _made_of(parts: Array, longest: int) -> Array:
    """For each length, line by line, the least that parts of at most `longest` cost which add up to it.

    Args:
        parts: (n+1, ...) what a part of each length costs; `NEVER` beyond `longest`.
        longest: at least 1, at most n.

    Returns:
        (n+1, ...), 0 for no length, at most `NEVER`.
    """
    size = len(parts)
    lines = parts.reshape(size, -1)
    total = np.minimum(np.arange(size)[:, None] * lines[1], NEVER)  # of single pixels
    for part in range(2, longest + 1):
        cheaper = (lines[part] < total[part]).nonzero()[0]
        if not len(cheaper):
            continue
        some = slice(cheaper[0], cheaper[-1] + 1)
        alone = lines[part, some]
        for start in range(part, size, part):
            now = total[start : start + part, some]
            before = total[start - part : start - part + len(now), some]
            np.minimum(now, before + alone, out=now)
    return total.reshape(parts.shape)


def _cut_cycles(best: Array) -> Array:
    """(K,) those of the cheapest `_Cuts` of K planes, whose rectangles cost (K, height+1, width+1) cycles."""
    by_height = _both_parts(best.transpose(1, 0, 2)).min(axis=0)  # (K, width+1)
    cheapest: Array = _both_parts(by_height.T).min(axis=0)
    return cheapest


@dataclass(frozen=True, eq=False)
class _Cuts:
    """A plane cut from top to bottom, and both parts from side to side; any of them by nothing.

    Attributes:
        first: width of the narrower part.
        second: (width+1,) height of the lower part of a part of each width.
        cycles: of all parts.
    """

    first: int
    second: Array
    cycles: int

    @classmethod
    def of(cls, best: Array) -> _Cuts:
        """The cheapest cuts, for the (height+1, width+1) cycles of every rectangle."""
        by_height = _both_parts(best)
        by_width = _both_parts(by_height.min(axis=0))
        first = int(by_width.argmin())
        return cls(first, by_height.argmin(axis=0), int(by_width[first]))


def _both_parts(cycles: Array) -> Array:
    """Cycles of the two parts of a line, the shorter of which is 0, 1, ... long.

    Args:
        cycles: (n+1, ...) those of each length.

    Returns:
        (n//2 + 1, ...).
    """
    # A cut at x and one at n - x leave the same two lengths.
    half = (len(cycles) - 1) // 2 + 1
    shorter = cycles[:half]
    longer = cycles[::-1][:half]
    return shorter + longer


def _two_parts(length: int, shorter: int) -> tuple[Pair, Pair]:
    """(start, length) of both parts of a line, the longer one first: it holds the main window."""
    longer = length - shorter
    return (0, longer), (longer, shorter)


def _parts(
    alone: Array,
    total: Array,
    length: int,
) -> dict[int, int]:
    """How many parts of each length the cheapest sum of parts has that add up to `length`.

    Args:
        alone: (n+1,) what a part of each length costs.
        total: (n+1,) what the cheapest parts cost that add up to each length.
        length: from 0 to n.
    """
    parts: dict[int, int] = {}
    rest = length
    while rest:
        last = alone[1 : rest + 1]
        before = total[:rest]
        cycles = last + before[::-1]
        part = int(cycles.argmin()) + 1
        parts[part] = parts.get(part, 0) + 1
        rest -= part
    return parts
