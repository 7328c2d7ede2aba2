"""The cheapest way to cut the output plane into windows, with guillotine cuts, for tiles given by window."""

from __future__ import annotations

from dataclasses import dataclass

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
        """The costs for a table of tiles, which has at least one window."""
        possible = table < NEVER
        heights = np.flatnonzero(possible.any(axis=1))
        widths = np.flatnonzero(possible.any(axis=0))
        tallest = int(heights[-1])
        widest = int(widths[-1])
        # Strips are made width by width, all heights at once: transposed, so that each step reads whole
        # lines.
        turned = np.ascontiguousarray(table.T)  # (width+1, height+1)
        strip = np.ascontiguousarray(_made_of(turned, widest).T)
        filled = np.minimum(_made_of(strip, tallest), NEVER)
        filled[:, 0] = 0
        return cls(table, strip, filled)

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
    """

    across: Strips
    down: Strips

    @classmethod
    def of(
        cls,
        size: Pair,
        a: Array,
        b: Array,
        tiles: Array,
    ) -> Plane:
        """Fill the tables.

        Args:
            size: (height, width).
            a: (W,) heights of the windows.
            b: (W,) their widths.
            tiles: (W,) their tiles.
        """
        height, width = size
        table = np.full((height + 1, width + 1), NEVER)
        table[a, b] = tiles
        across = Strips.of(table)
        if height == width and (table == table.T).all():
            return cls(across, across)
        down = Strips.of(np.ascontiguousarray(table.T))
        return cls(across, down)

    @property
    def best(self) -> Array:
        """(height+1, width+1) cycles of each rectangle at the origin."""
        return np.minimum(self.across.filled, self.down.filled.T)

    def solve(self) -> Cover:
        """The cycles of the plane and the rectangles it is cut into, each filled with windows of one size.

        The plane may first be cut in two, at any place, and each of these parts in two again, at right angles
        to the first cut: so the margins, to the right and below, can have windows of their own whichever of
        them takes the corner.
        """
        best = self.best
        height = best.shape[0] - 1
        width = best.shape[1] - 1
        # By width of a part, then by its height, each cut across where that is best.
        columns, column_cut = _halved(best)  # (width+1,)
        rows, row_cut = _halved(best.T)  # (height+1,)
        right, by_columns = _cheapest_cut(columns)
        below, by_rows = _cheapest_cut(rows)
        rectangles: list[Rectangle] = []
        if by_columns <= by_rows:
            for x, part_width in _two_parts(width, right):
                cut = int(column_cut[part_width])
                for y, part_height in _two_parts(height, cut):
                    rectangles += self._rectangles((y, x), (part_height, part_width))
            return Cover(by_columns, tuple(rectangles))
        for y, part_height in _two_parts(height, below):
            cut = int(row_cut[part_height])
            for x, part_width in _two_parts(width, cut):
                rectangles += self._rectangles((y, x), (part_height, part_width))
        return Cover(by_rows, tuple(rectangles))

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


def _made_of(parts: Array, longest: int) -> Array:
    """For each length, line by line, the least that parts of at most `longest` cost which add up to it."""
    # Dynamic programming over the length.
    total = np.full_like(parts, NEVER)
    total[0] = 0
    for length in range(1, len(parts)):
        most = min(length, longest)
        # The last part is 1, 2, ... long, and what is before it is as cheap as can be.
        last = parts[1 : most + 1]
        before = total[length - most : length]
        cycles = last + before[::-1]
        total[length] = cycles.min(axis=0)
    return total


def _halved(best: Array) -> tuple[Array, Array]:
    """For each width, the cycles of a full-height part cut across at most once, and rows below the cut."""
    both = _both_parts(best)
    return both.min(axis=0), both.argmin(axis=0)


def _cheapest_cut(cycles: Array) -> tuple[int, int]:
    """Where a line is best cut in two, and the cycles of both parts, for the (n+1,) cycles of each length."""
    both = _both_parts(cycles)
    cut = int(both.argmin())
    return cut, int(both[cut])


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
