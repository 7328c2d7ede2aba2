"""`StoredMatrix`: the matrix that a window stores, and the tiles it is cut into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.cuts import cut_into_tiles
from rankfold.mapping.diagonal_blocks import DiagonalBlocks, Lines
from rankfold.mapping.extents import extents_of
from rankfold.mapping.footprint import ArrayPair
from rankfold.mapping.outline import Outline, Strip
from rankfold.mapping.tile import Tile
from rankfold.workload.shape import Pair

Array = np.ndarray
RowPiece = tuple[int, Lines, Array]  # block, its lines, and which pixels of the block read each


@dataclass(frozen=True)
class StoredMatrix(DiagonalBlocks):
    """The matrix of one window and one block of channels, in tiles; attributes are those of its blocks."""

    @cached_property
    def tile_count(self) -> int:
        """Tiles that `tiles` yields, counted from their outlines."""
        return sum(outline.tile_count for outline in self.outlines)

    def tiles(self) -> Iterator[Tile]:
        """The tiles, made one by one."""
        for outline in self.outlines:
            for row_strip, column_strips in outline.strips():
                rows = []
                for piece in row_strip:
                    lines, reads = self.reads(outline.pixels, piece)
                    rows.append((piece[0], lines, reads))
                for column_strip in column_strips:
                    yield self._tile(rows, column_strip)

    @cached_property
    def contents(self) -> Contents:
        """What the cells hold: matrices of one parameter that agree in it are one and the same arrays."""
        return Contents(self)

    def extents(self) -> Counter[Pair]:
        """How many tiles have r rows and c columns in use, by (r, c), counted without making them."""
        return self._extents.copy()

    @cached_property
    def columns_read(self) -> int:
        """Columns in use, over all tiles."""
        read = 0
        for (_, columns), tiles in self._extents.items():
            read += columns * tiles
        return read

    @cached_property
    def _extents(self) -> Counter[Pair]:
        return extents_of(self, self.outlines)

    @cached_property
    def outlines(self) -> tuple[Outline, ...]:
        """Which lines of which diagonal block meet which columns, in which tile."""
        return tuple(cut_into_tiles(self))

    def _tile(self, rows: list[RowPiece], columns: Strip) -> Tile:
        """Join pieces; rows and columns that cutting leaves without a weight are neither driven nor read.

        Args:
            rows: of each piece.
            columns: block, first column, and column after the last, of each piece.
        """
        driven = []
        read = []
        for (block, lines, reads), (_, first, last) in zip(rows, columns, strict=True):
            used_lines, used_columns = _used(reads, first, last)
            column = np.arange(first, last)[used_columns]
            driven.append(self._driven(block, lines, used_lines))
            read.append(self._read(block, column))
        row_channel, row_y, row_x, row_slot = np.concatenate(driven, axis=1)
        col_channel, col_y, col_x, col_slot = np.concatenate(read, axis=1)
        return Tile(
            self.footprint,
            row_channel=row_channel,
            row_y=row_y,
            row_x=row_x,
            row_slot=row_slot,
            col_channel=col_channel,
            col_y=col_y,
            col_x=col_x,
            col_slot=col_slot,
        )

    def _driven(
        self,
        block: int,
        lines: Lines,
        used: Array,
    ) -> Array:
        """(4, r) channel, y, x under the window, and slot of the lines in use."""
        _, (top, left) = self.blocks[block]
        down, right = self.footprint.shape.stride
        channel, y, x = (line[used] for line in lines)
        slot = np.full_like(channel, self._slot(block))
        return np.array(
            (
                channel,
                y + top * down,
                x + left * right,
                slot,
            )
        )

    def _read(self, block: int, columns: Array) -> Array:
        """(4, c) output channel, y, x in the window, and slot of some columns (c,) of a block."""
        group, (top, left) = self.blocks[block]
        before, _ = self.block.outputs
        first = group * self.footprint.group_outputs + before
        output, pixel = np.divmod(columns, self.pixels)
        y, x = np.divmod(pixel, self.part[1])
        slot = np.full_like(output, self._slot(block))
        return np.array(
            (
                output + first,
                y + top,
                x + left,
                slot,
            )
        )

    def _slot(self, block: int) -> int:
        """Which of the windows that share the tiles a block belongs to: they have one block each."""
        if self.slots == 1:
            return 0
        return block


# The cells of a tile follow from its pieces: which lines of which diagonal block, ordered by (channel, y, x),
# meet which columns, ordered by (output channel, pixel). What a pixel reads of a block's lines follows from
# the pixels of the block and, where these are several, from how far apart they read. Neither the plane nor,
# for a single pixel, stride and dilation play a part. Going through all tiles takes a second in large layers,
# and is seldom needed: matrices that are made alike hold the same, and those whose blocks or number of tiles
# differ do not.
class Contents:
    """What the cells of a stored matrix hold, which equals that of another where their arrays are the same.

    Args:
        stored: the matrix.
    """

    def __init__(self, stored: StoredMatrix) -> None:
        self._stored = stored
        self._hash = hash(self._outside)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contents):
            return NotImplemented
        if self._hash != other._hash or self._outside != other._outside:
            return False
        return self._made == other._made or self._tiles == other._tiles

    @cached_property
    def _made(self) -> Hashable:
        """All that tiles are cut by: where it agrees, all cells do."""
        stored, shape = self._stored, self._stored.footprint.shape
        cut = stored.array, stored.window, stored.layout, stored.overflow
        return *cut, shape.stride, shape.dilation

    @cached_property
    def _outside(self) -> Hashable:
        """What agrees wherever cells do, and is found without looking at these."""
        stored, shape = self._stored, self._stored.footprint.shape
        apart = []
        for axis in (0, 1):
            if stored.part[axis] > 1:
                apart.append((axis, shape.stride[axis], shape.dilation[axis]))
        order = None
        if stored.overflow is not None:
            order = stored.overflow.axis
        groups = tuple(group for group, _ in stored.blocks)
        weight = shape.in_channels, shape.m, shape.kernel, shape.groups, stored.footprint.mask
        return weight, stored.block, stored.part, tuple(apart), order, groups, stored.tile_count

    @cached_property
    def _tiles(self) -> frozenset[tuple[Hashable, int]]:
        """The pieces of every tile, and how often each is there."""
        tiles: Counter[Hashable] = Counter()
        for outline in self._stored.outlines:
            pixels = tuple(outline.pixels.tolist())
            for lines, strips in outline.strips():
                for columns in strips:
                    tiles[pixels, lines, columns] += 1
        return frozenset(tiles.items())


def held_together(stored: Iterable[StoredMatrix]) -> Hashable:
    """What the arrays of several stored matrices of one parameter hold, whichever order they come in."""
    return frozenset(Counter(matrix.contents for matrix in stored).items())


def _used(
    reads: Array,
    first: int,
    last: int,
) -> ArrayPair:
    """Which lines and which columns of a piece hold a weight.

    Args:
        reads: (lines, pixels) booleans, which pixels of the block read each line.
        first: column of the block.
        last: column after the last.
    """
    pixels = reads.shape[1]
    pixel = np.arange(first, last) % pixels  # (columns,)
    in_piece = reads[:, pixel[:pixels]]  # (lines, pixels of the piece): each once, as columns take turns
    rows = np.logical_or.reduce(in_piece, axis=1)
    read_any = np.logical_or.reduce(reads, axis=0)
    return rows, read_any[pixel]
