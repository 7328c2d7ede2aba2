"""`StoredMatrix`: the matrix that a window stores, and the tiles it is cut into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.outline import Diagonal, EvenCuts, Grid, Outline, Strip
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.strips import Piece
from rankfold.mapping.tile import Tile
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray
Lines = tuple[Array, Array, Array]  # channel, y, x
ELEMENTS, CHANNELS = "elements", "channels"


@dataclass(frozen=True)
class StoredMatrix:
    """SDK(W) of one window and one block of channels, in tiles.

    The matrix is block-diagonal: a block for each group of the convolution and, where neighbouring pixels read no input in
    common, for each pixel.

    Attributes:
        footprint: the convolution and its kernel support.
        array: R x C.
        block: the channels whose products are summed.
        window: (a, b) output pixels.
        layout: `elements` (cut at any element) or `channels` (whole input and output channels, as VW-SDK).
        overflow: which of the window's rows are stored, and for how many windows at once; None: all, for one.
    """

    footprint: Footprint
    array: ArraySpec
    block: Block
    window: Pair
    layout: str = ELEMENTS
    overflow: Overflow | None = None

    @cached_property
    def tile_count(self) -> int:
        """Tiles that `tiles` yields, counted from their outlines."""
        return sum(outline.tile_count for outline in self._outlines)

    def tiles(self) -> Iterator[Tile]:
        """The tiles, made one by one."""
        for outline in self._outlines:
            for row_strip, column_strips in outline.strips():
                lines = [(piece[0], *self._reads(outline, piece)) for piece in row_strip]
                for column_strip in column_strips:
                    yield self._tile(lines, column_strip)

    def extents(self) -> Counter[Pair]:
        """How many tiles have r rows and c columns in use, by (r, c), counted without making them."""
        return self._extents.copy()

    @cached_property
    def columns_read(self) -> int:
        """Columns in use, over all tiles."""
        return sum(columns * number for (_, columns), number in self._extents.items())

    @cached_property
    def _extents(self) -> Counter[Pair]:
        found: Counter[Pair] = Counter()
        alike = self.footprint.mask is None  # then so are all blocks
        for outline in self._outlines:
            reads: dict[Piece, Array] = {}
            known: dict[tuple[Piece, int, int], Pair] = {}
            times = 1
            # Without a support the lines of one channel tell those of all; an overflow orders them by place instead.
            one = int(self.footprint.read_by(outline.pixels, self._part)[0].sum())
            channel = self._reads(outline, (0, 0, one))[1] if alike and self.overflow is None else None
            if isinstance(outline, Grid) and alike:
                outline, times = replace(outline, blocks=outline.blocks[:1]), len(outline.blocks)
            for row_strip, column_strips in outline.strips():
                if alike:
                    row_strip = tuple((0, first, last) for _, first, last in row_strip)
                for column_strip in column_strips:
                    rows = columns = 0
                    for lines, (_, first, last) in zip(row_strip, column_strip, strict=True):
                        key = lines, first % self._pixels, last - first
                        if key not in known:
                            if lines not in reads:
                                if channel is None:
                                    reads[lines] = self._reads(outline, lines)[1]
                                else:
                                    reads[lines] = channel[np.arange(*lines[1:]) % len(channel)]
                            used = _used(reads[lines], (0, first, last))
                            known[key] = int(used[0].sum()), int(used[1].sum())
                        rows, columns = rows + known[key][0], columns + known[key][1]
                    found[rows, columns] += times
        return found

    @cached_property
    def _outlines(self) -> tuple[Outline, ...]:
        if self.overflow is not None:
            return tuple(self._of_overflow(self.overflow))
        return tuple(self._by_channels() if self.layout == CHANNELS else self._by_elements())

    @cached_property
    def _part(self) -> Pair:
        """The part of the window whose pixels share inputs: one diagonal block."""
        apart = (False, False) if self.layout == CHANNELS else self.footprint.apart
        return 1 if apart[0] else self.window[0], 1 if apart[1] else self.window[1]

    @cached_property
    def _pixels(self) -> int:
        return self._part[0] * self._part[1]

    @cached_property
    def _copies(self) -> int:
        """Diagonal blocks of each group."""
        slots = 1 if self.overflow is None else self.overflow.slots
        return self.window[0] * self.window[1] // self._pixels * slots

    @cached_property
    def _used_groups(self) -> Array:
        """Groups that read any input."""
        reads = self.footprint.histogram(self.block.channels) @ self.footprint.patterns.any(axis=(1, 2))
        return np.flatnonzero(np.broadcast_to(reads > 0, (self.footprint.shape.groups,)))

    @cached_property
    def _blocks(self) -> tuple[tuple[int, Pair], ...]:
        """(group, first pixel) of each diagonal block that reads any input."""
        corners = [(y, x) for y in range(0, self.window[0], self._part[0]) for x in range(0, self.window[1], self._part[1])]
        slots = 1 if self.overflow is None else self.overflow.slots
        return tuple((group, corner) for _ in range(slots) for group in self._used_groups.tolist() for corner in corners)

    def _heights(self, pixels: Array) -> Sequence[int]:
        """Lines of each diagonal block that some pixels of it read."""
        if len(pixels) == self._pixels:
            inputs = self.footprint.inputs(np.array([self._part[0]]), np.array([self._part[1]]))[:, 0]
        else:
            inputs = self.footprint.read_by(pixels, self._part).sum(axis=(1, 2))
        heights = self.footprint.histogram(self.block.channels) @ inputs
        if len(heights) == 1:
            return [int(heights[0])] * (len(self._used_groups) * self._copies)
        return np.repeat(heights[self._used_groups], self._copies).tolist()

    def _by_elements(self) -> Iterator[Outline]:
        rows, columns = self.array.rows, self.array.columns
        width = self._pixels * self.block.columns
        every = np.arange(self._pixels)
        heights = self._heights(every)
        if len(heights) > 1:
            windows = Windows.single(self.footprint, self.array, self.window)
            by_rows, by_columns = windows.layouts(self.block)
            if by_columns[0] < by_rows[0]:
                yield Diagonal(every, heights, (0, width), columns, rows // max(heights), sideways=True)
                return
        chunked = width // columns * columns
        if chunked and min(heights) == max(heights):
            yield Grid(every, range(len(heights)), EvenCuts(0, heights[0], rows), EvenCuts(0, chunked, columns))
        elif chunked:
            for block, height in enumerate(heights):
                yield Grid(every, range(block, block + 1), EvenCuts(0, height, rows), EvenCuts(0, chunked, columns))
        if chunked < width:
            last = np.unique(np.arange(chunked, width) % self._pixels)
            yield Diagonal(last, self._heights(last), (chunked, width), rows, columns // (width - chunked))

    def _by_channels(self) -> Iterator[Outline]:
        counter = WholeChannels.single(self.footprint, self.array, self.window)
        every = np.arange(self._pixels)
        heights = self._heights(every)
        width = self._pixels * self.block.columns
        together = int(counter.groups_per_tile(self.block)[0])
        if together:
            yield Diagonal(every, heights, (0, width), width * together, together, sideways=True)
            return
        columns = EvenCuts(0, width, int(counter.outputs_per_tile[0]) * self._pixels)
        if self.footprint.mask is None:
            lines = int(counter.channels_per_tile[0]) * int(counter.inputs[0, 0])
            yield Grid(every, range(len(heights)), EvenCuts(0, heights[0], lines), columns)
            return
        for index, group in enumerate(self._used_groups.tolist()):
            patterns = self.footprint.pattern_of[group, slice(*self.block.channels)]
            above = np.concatenate(([0], np.cumsum(counter.inputs[patterns, 0]))).tolist()
            start = self.block.channels[0]
            runs = tuple((above[first - start], above[stop - start]) for first, stop in counter.runs(self.block, group, 0))
            yield Grid(every, range(index, index + 1), runs, columns)

    def _of_overflow(self, overflow: Overflow) -> Iterator[Outline]:
        width = self._pixels * self.block.columns
        every = np.arange(self._pixels)
        if overflow.slots == 1:
            rows = EvenCuts(overflow.start, overflow.stop, self.array.rows)
            yield Grid(every, range(1), rows, EvenCuts(0, width, self.array.columns))
            return
        height = overflow.stop - overflow.start
        heights = [height] * overflow.slots
        yield Diagonal(every, heights, (0, width), height * overflow.slots, overflow.slots, start=overflow.start)

    def _reads(self, outline: Outline, piece: Piece) -> tuple[Lines, Array]:
        """Some lines of a block, as read by the outline's pixels, and which pixels of the block read each: (lines, pixels)."""
        group, _ = self._blocks[piece[0]]
        start, stop = self.block.channels
        shape = self.footprint.shape
        read = self.footprint.read_by(outline.pixels, self._part)[self.footprint.pattern_of[group, start:stop]]
        lines = np.nonzero(read)
        if self.overflow is not None:
            channel, *place = lines
            order = np.lexsort((channel, place[1 - self.overflow.axis], place[self.overflow.axis]))
            lines = tuple(line[order] for line in lines)
        channel, y, x = (line[piece[1] : piece[2]] for line in lines)
        channel = channel + group * (shape.in_channels // shape.groups) + start
        v, u = np.divmod(np.arange(self._pixels), self._part[1])
        position = self.footprint.position(channel[:, None], (y[:, None], x[:, None]), (v, u))
        return (channel, y, x), position >= 0

    def _tile(self, rows: list[tuple[int, Lines, Array]], columns: Strip) -> Tile:
        """Join pieces; rows and columns whose cells are all zero, which cutting can leave, are neither driven nor read."""
        shape = self.footprint.shape
        driven: list[tuple[Array, ...]] = []
        read: list[tuple[Array, ...]] = []
        for (block, lines, reads), piece in zip(rows, columns, strict=True):
            group, corner = self._blocks[block]
            slot = 0 if self.overflow is None or self.overflow.slots == 1 else block
            used_rows, used_columns = _used(reads, piece)
            channel, y, x = (line[used_rows] for line in lines)
            driven.append(
                (channel, y + corner[0] * shape.stride[0], x + corner[1] * shape.stride[1], np.full_like(channel, slot))
            )
            output, pixel = np.divmod(np.arange(piece[1], piece[2])[used_columns], self._pixels)
            v, u = np.divmod(pixel, self._part[1])
            output = output + group * (shape.m // shape.groups) + self.block.outputs[0]
            read.append((output, v + corner[0], u + corner[1], np.full_like(output, slot)))
        channel, y, x, row_slot = (np.concatenate(parts) for parts in zip(*driven, strict=True))
        output, v, u, col_slot = (np.concatenate(parts) for parts in zip(*read, strict=True))
        return Tile(self.footprint, channel, y, x, output, v, u, row_slot, col_slot)


def _used(reads: Array, piece: Piece) -> tuple[Array, Array]:
    """Which lines and which columns of a piece hold a weight."""
    pixel = np.arange(piece[1], piece[2]) % reads.shape[1]
    seen = np.logical_or.reduce(reads, axis=0)
    return np.logical_or.reduce(reads[:, np.unique(pixel)], axis=1), seen[pixel]
