"""Outlines of tiles: which lines and columns of the diagonal blocks of a stored matrix each tile holds.

Both kinds count their tiles without listing them; listing them yields exactly as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.strips import Piece, strip_count, strip_pieces

Array = np.ndarray
Cut = tuple[int, int]  # first line, line after the last
Strip = tuple[Piece, ...]
TileRow = tuple[Strip, list[Strip]]  # lines, and the columns of each tile
TileSort = tuple[Strip, Strip, int]  # lines and columns of a tile, and how many tiles are alike


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
            last = min(first + self.step, self.stop)
            yield first, last


@dataclass(frozen=True, eq=False)
class Grid:
    """Blocks that share no tile: each is cut into a grid.

    Attributes:
        pixels: pixels of a block (row-major) whose inputs are the lines; lines are ordered by (input channel,
            y, x).
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
        tiles_of_block = len(self.rows) * len(self.columns)
        return len(self.blocks) * tiles_of_block

    def strips(self) -> Iterator[TileRow]:
        """The lines of each row of tiles, and the columns of the tiles in it."""
        for block in self.blocks:
            columns: list[Strip] = []
            for first, last in self.columns:
                piece = block, first, last
                columns.append((piece,))
            for first, last in self.rows:
                piece = block, first, last
                yield (piece,), columns

    def sorts(self, lines: int | None, pixels: int) -> Iterator[TileSort]:
        """Tiles of every sort, with how many there are of it.

        Args:
            lines: after how many lines of a block they read alike; None: no two do.
            pixels: the same for its columns.
        """
        row_sorts = _cut_sorts(self.rows, lines)
        column_sorts = _cut_sorts(self.columns, pixels)
        for block in self.blocks:
            for (top, bottom), rows in row_sorts.items():
                for (left, right), columns in column_sorts.items():
                    yield ((block, top, bottom),), ((block, left, right),), rows * columns


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
    _: KW_ONLY
    sideways: bool = False
    start: int = 0

    @cached_property
    def tile_count(self) -> int:
        """Tiles that are filled one after another, each as far as it goes."""
        lengths = self._lengths()
        # Whole blocks, as many as the limit allows, where these fit.
        alike = min(lengths) == max(lengths)
        whole_blocks = self.limit * lengths[0] <= self.capacity
        if alike and whole_blocks:
            return -(-len(lengths) // self.limit)
        return strip_count(lengths, self.capacity, self.limit)

    def strips(self) -> Iterator[TileRow]:
        """The lines and the columns of each tile."""
        for pieces in strip_pieces(
            self._lengths(),
            self.capacity,
            self.limit,
        ):
            if self.sideways:
                yield self._sideways(pieces)
            else:
                yield self._stacked(pieces)

    def sorts(self, lines: int | None, pixels: int) -> Iterator[TileSort]:
        """Tiles of every sort, as of a `Grid`; where tiles hold several blocks, each is taken for its own."""
        # A period of lines says that blocks read alike, so that one block is as any.
        if lines is None or len(self.heights) > 1:
            for row_strip, (column_strip,) in self.strips():
                yield row_strip, column_strip, 1
            return
        (length,) = self._lengths()
        left, right = self.columns
        top, stop = self.start, self.start + self.heights[0]
        if self.sideways:
            whole = ((0, top, stop),)
            cuts = EvenCuts(left, left + length, self.capacity)
            for (first, last), tiles in _cut_sorts(cuts, pixels).items():
                yield whole, ((0, first, last),), tiles
            return
        whole = ((0, left, right),)
        cuts = EvenCuts(top, top + length, self.capacity)
        for (first, last), tiles in _cut_sorts(cuts, lines).items():
            yield ((0, first, last),), whole, tiles

    def _sideways(self, pieces: list[Piece]) -> TileRow:
        """All lines of the blocks, and the columns of these pieces."""
        lines = []
        columns = []
        left, _ = self.columns
        for block, first, last in pieces:
            stop = self.start + self.heights[block]
            lines.append((block, self.start, stop))
            columns.append((block, left + first, left + last))
        return tuple(lines), [tuple(columns)]

    def _stacked(self, pieces: list[Piece]) -> TileRow:
        """The lines of these pieces, and all columns of the blocks."""
        lines = []
        columns = []
        left, right = self.columns
        top = self.start
        for block, first, last in pieces:
            lines.append((block, top + first, top + last))
            columns.append((block, left, right))
        return tuple(lines), [tuple(columns)]

    def _lengths(self) -> Sequence[int]:
        if not self.sideways:
            return self.heights
        width = self.columns[1] - self.columns[0]
        return [width] * len(self.heights)


def _cut_sorts(cuts: Iterable[Cut], period: int | None) -> Counter[Cut]:
    """Cuts that differ by whole periods, and how many there are of each: the first stands for all."""
    sorts: Counter[Cut] = Counter()
    for first, last in cuts:
        if period is not None:
            length = last - first
            first %= period
            last = first + length
        sorts[first, last] += 1
    return sorts


Outline = Grid | Diagonal
