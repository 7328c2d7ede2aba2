"""Outlines of tiles: which lines and columns of the diagonal blocks of a stored matrix each tile holds.

Both kinds count their tiles without listing them; listing them yields exactly as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.mapping.strips import Piece, strip_count, strip_pieces

Array = np.ndarray
Cut = tuple[int, int]  # first line, line after the last
Strip = tuple[Piece, ...]
TileRow = tuple[Strip, list[Strip]]  # lines, and the columns of each tile


@dataclass(frozen=True)
class EvenCuts:
    """Lines start to stop in cuts of `step`, the last one shorter."""

    start: int
    stop: int
    step: int

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.step)

    @property
    def last(self) -> int:
        """Lines of the last cut, which has the fewest."""
        return self.stop - self.start - (len(self) - 1) * self.step

    def lengths(self) -> Iterator[tuple[int, int]]:
        """How many lines cuts have, and how many cuts have so many."""
        if len(self) > 1:
            yield self.step, len(self) - 1
        yield self.last, 1

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

    @property
    def shares(self) -> bool:
        """Whether a tile may hold pieces of several blocks."""
        return self.limit > 1 and len(self.heights) > 1

    def as_grid(self) -> Grid:
        """The same tiles as a grid of every block, where blocks are alike and share none."""
        height = self.heights[0]
        left, right = self.columns
        lines = EvenCuts(self.start, self.start + height, height)
        columns = EvenCuts(left, right, right - left)
        if self.sideways:
            columns = replace(columns, step=self.capacity)
        else:
            lines = replace(lines, step=self.capacity)
        return Grid(self.pixels, range(len(self.heights)), lines, columns)

    # Of equal blocks, tiles repeat: one that ends where a block ends is followed by one that begins with a
    # whole block, as the first tile did. So B blocks, the first p of which fill f tiles up to such an end,
    # are floor(B/p) times these f tiles, and the tiles of B mod p blocks.
    def alike(self) -> Iterator[tuple[list[Cut], int]]:
        """The pieces of every tile of equal blocks, and how many tiles are alike.

        A piece is a cut through the lines of a block, or through its columns if `sideways`; see `strips`.
        """
        lengths = self._lengths()
        tiles: list[list[Cut]] = []
        blocks = len(lengths)
        for pieces in strip_pieces(lengths, self.capacity, self.limit):
            tiles.append([(first, last) for _, first, last in pieces])
            block, _, last = pieces[-1]
            if last == lengths[0]:
                blocks = block + 1
                break
        periods, rest = divmod(len(lengths), blocks)
        for tile in tiles:
            yield tile, periods
        for pieces in strip_pieces(lengths[:rest], self.capacity, self.limit):
            yield [(first, last) for _, first, last in pieces], 1

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


Outline = Grid | Diagonal
