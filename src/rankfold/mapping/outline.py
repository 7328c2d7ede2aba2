"""Outlines of tiles: which lines and columns of the diagonal blocks of a stored matrix each tile holds.

Both kinds count their tiles without listing them; listing them yields exactly as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.strips import Piece, strip_count, strip_pieces

Array = np.ndarray
Cut = tuple[int, int]  # first line, line after the last
Strip = tuple[Piece, ...]


@dataclass(frozen=True)
class EvenCuts:
    """Lines start to stop in cuts of `step`, the last one shorter."""

    start: int
    stop: int
    step: int

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.step)

    def __iter__(self) -> Iterator[Cut]:
        for first in range(self.start, self.stop, self.step):
            yield first, min(first + self.step, self.stop)


@dataclass(frozen=True, eq=False)
class Grid:
    """Blocks that share no tile: each is cut into a grid.

    Attributes:
        pixels: pixels of a block (row-major) whose inputs are the lines; lines are ordered by (input channel, y, x).
        blocks: the blocks' numbers.
        rows: cuts through the lines of each.
        columns: cuts through its columns, which are ordered by (output channel, pixel).
    """

    pixels: Array
    blocks: range
    rows: EvenCuts | tuple[Cut, ...]
    columns: EvenCuts

    @property
    def tile_count(self) -> int:
        """Row cuts times column cuts, for each block."""
        return len(self.blocks) * len(self.rows) * len(self.columns)

    def strips(self) -> Iterator[tuple[Strip, list[Strip]]]:
        """The lines of each row of tiles, and the columns of the tiles in it."""
        for block in self.blocks:
            columns: list[Strip] = [((block, *cut),) for cut in self.columns]
            for cut in self.rows:
                yield ((block, *cut),), columns


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Blocks laid end to end, several of which may share a tile.

    Attributes:
        pixels: as in `Grid`.
        heights: lines of each block.
        columns: the columns of every block that the tiles hold.
        capacity: lines of a tile, or columns if `sideways`.
        limit: blocks a tile may touch.
        sideways: the blocks lie side by side, and are cut through their columns, else through their lines.
        start: first line of every block that the tiles hold.
    """

    pixels: Array
    heights: Sequence[int]
    columns: Cut
    capacity: int
    limit: int
    sideways: bool = False
    start: int = 0

    @cached_property
    def tile_count(self) -> int:
        """Tiles that are filled one after another, each as far as it goes."""
        lengths = self._lengths()
        if min(lengths) == max(lengths) and self.limit * lengths[0] <= self.capacity:
            return -(-len(lengths) // self.limit)
        return strip_count(lengths, self.capacity, self.limit)

    def strips(self) -> Iterator[tuple[Strip, list[Strip]]]:
        """The lines and the columns of each tile."""
        for strip in strip_pieces(self._lengths(), self.capacity, self.limit):
            if self.sideways:
                lines = tuple((block, self.start, self.start + self.heights[block]) for block, _, _ in strip)
                yield lines, [tuple((block, self.columns[0] + first, self.columns[0] + last) for block, first, last in strip)]
            else:
                lines = tuple((block, self.start + first, self.start + last) for block, first, last in strip)
                yield lines, [tuple((block, *self.columns) for block, _, _ in strip)]

    def _lengths(self) -> Sequence[int]:
        return [self.columns[1] - self.columns[0]] * len(self.heights) if self.sideways else self.heights


Outline = Grid | Diagonal
