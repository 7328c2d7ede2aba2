"""The cheapest way to cut the output plane into windows, with guillotine cuts, for tiles given by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.mapping.windows import NEVER
from rankfold.workload.shape import Pair

Array = np.ndarray
Rectangle = tuple[Pair, Pair, Pair]  # origin, size, window


@dataclass(frozen=True, eq=False)
class Plane:
    """Costs of all rectangles of a height x width plane.

    A rectangle is filled in strips: rows of strips across it, each strip cut into windows as tall as the strip, whose
    widths may differ; or the same turned by 90 degrees. `best` is the cheaper of the two.

    Attributes:
        table: (height+1, width+1) tiles of each window, `NEVER` for those not tried.
        across: (height+1, width+1) cycles with horizontal strips.
        across_strip: (height+1, width+1) cycles of one horizontal strip of that height and width.
        down: as `across`, with vertical strips, transposed.
        down_strip: as `across_strip`, transposed.
    """

    table: Array
    across: Array
    across_strip: Array
    down: Array
    down_strip: Array

    @classmethod
    def of(cls, size: Pair, a: Array, b: Array, tiles: Array) -> Plane:
        """Fill the tables.

        Args:
            size: (height, width).
            a: (W,) heights of the windows.
            b: (W,) their widths.
            tiles: (W,) their tiles.
        """
        table = np.full((size[0] + 1, size[1] + 1), NEVER)
        table[a, b] = tiles
        across_strip, across = _strips(table)
        symmetric = size[0] == size[1] and (table == table.T).all()
        down_strip, down = (across_strip, across) if symmetric else _strips(np.ascontiguousarray(table.T))
        return cls(table, across, across_strip, down, down_strip)

    @property
    def best(self) -> Array:
        """(height+1, width+1) cycles of each rectangle at the origin."""
        return np.minimum(self.across, self.down.T)

    def solve(self) -> tuple[int, list[Rectangle]]:
        """The cycles of the plane and the rectangles it is cut into, each filled with windows of one size.

        The plane may first be cut in two, at any place, and each of these parts in two again, at right angles to the first
        cut: so the margins, to the right and below, can have windows of their own whichever of them takes the corner.
        """
        best = self.best
        height, width = best.shape[0] - 1, best.shape[1] - 1
        columns, column_cut = _halved(best)
        rows, row_cut = _halved(best.T)
        left = int((columns[: width // 2 + 1] + columns[::-1][: width // 2 + 1]).argmin())
        top = int((rows[: height // 2 + 1] + rows[::-1][: height // 2 + 1]).argmin())
        found: list[Rectangle] = []
        # The larger part comes first, so that the main window starts at the plane's origin.
        if columns[left] + columns[width - left] <= rows[top] + rows[height - top]:
            for x, part in ((0, width - left), (width - left, left)):
                cut = int(column_cut[part])
                for y, part_height in ((0, height - cut), (height - cut, cut)):
                    self._fill((y, x), (part_height, part), found)
            return int(columns[left] + columns[width - left]), found
        for y, part in ((0, height - top), (height - top, top)):
            cut = int(row_cut[part])
            for x, part_width in ((0, width - cut), (width - cut, cut)):
                self._fill((y, x), (part, part_width), found)
        return int(rows[top] + rows[height - top]), found

    def _fill(self, origin: Pair, size: Pair, found: list[Rectangle]) -> None:
        height, width = size
        if height == 0 or width == 0:
            return
        if self.across[height, width] <= self.down[width, height]:
            found.extend(_fill(self.table, self.across_strip, self.across, origin, size))
            return
        turned = _fill(self.table.T, self.down_strip, self.down, origin[::-1], size[::-1])
        found.extend((corner[::-1], extent[::-1], window[::-1]) for corner, extent, window in turned)


def _strips(table: Array) -> tuple[Array, Array]:
    """Cycles of a strip of height h and width w, and of an h x w rectangle of such strips."""
    possible = table < NEVER
    tallest, widest = int(np.flatnonzero(possible.any(axis=1))[-1]), int(np.flatnonzero(possible.any(axis=0))[-1])
    # Strips are filled width by width, all heights at once: kept transposed so that each step reads whole lines.
    turned = np.ascontiguousarray(table.T)
    by_height = np.ascontiguousarray(_made_of(turned, widest).T)
    filled = _made_of(by_height, tallest)
    filled[:, 0] = 0
    return by_height, np.minimum(filled, NEVER)


def _made_of(parts: Array, longest: int) -> Array:
    """For each length, line by line, the least that parts of at most `longest` cost which add up to it."""
    total = np.full_like(parts, NEVER)
    total[0] = 0
    for length in range(1, len(parts)):
        most = min(length, longest)
        total[length] = (parts[1 : most + 1] + total[length - most : length][::-1]).min(axis=0)
    return total


def _halved(best: Array) -> tuple[Array, Array]:
    """For each width, the cycles of a full-height part cut across once at most, and the rows below the cut."""
    half = (best.shape[0] - 1) // 2 + 1
    both = best[:half] + best[::-1][:half]
    return both.min(axis=0), both.argmin(axis=0)


def _fill(table: Array, strip: Array, filled: Array, origin: Pair, size: Pair) -> list[Rectangle]:
    """Rectangles of equal windows that make up a rectangle of horizontal strips; equal strips are put together."""
    height, width = size
    heights: dict[int, int] = {}
    rest = height
    while rest:
        h = int((strip[1 : rest + 1, width] + filled[rest - 1 :: -1, width][:rest]).argmin()) + 1
        heights[h] = heights.get(h, 0) + 1
        rest -= h
    found: list[Rectangle] = []
    y = origin[0]
    for h, strips in heights.items():
        widths: dict[int, int] = {}
        rest = width
        while rest:
            w = int((table[h, 1 : rest + 1] + strip[h, rest - 1 :: -1][:rest]).argmin()) + 1
            widths[w] = widths.get(w, 0) + 1
            rest -= w
        x = origin[1]
        for w, windows in widths.items():
            found.append(((y, x), (h * strips, w * windows), (h, w)))
            x += w * windows
        y += h * strips
    return found
