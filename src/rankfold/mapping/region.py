"""`Region`: a rectangle of the output plane, the windows on it and the tiles they run through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.packing import Piece, even_pieces, strip_pieces
from rankfold.mapping.tile import Tile
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray
Lines = tuple[Array, Array, Array]  # channel, y, x
Strip = tuple[Piece, ...]
ELEMENTS, CHANNELS = "elements", "channels"


@dataclass(frozen=True)
class Grid:
    """Tiles that are all pairings of a row strip with a column strip.

    A strip is cut from the diagonal blocks of the stored matrix; the two strips of a tile touch the same blocks.

    Attributes:
        pixels: pixels of a block (row-major) whose inputs are the lines that the row strips cut.
        row_strips: lines of each row tile; lines are ordered by (input channel, y, x).
        column_strips: columns of each column tile; columns are ordered by (output channel, pixel).
    """

    pixels: Array
    row_strips: tuple[Strip, ...]
    column_strips: tuple[Strip, ...]

    @property
    def tile_count(self) -> int:
        """Row strips times column strips."""
        return len(self.row_strips) * len(self.column_strips)


@dataclass(frozen=True)
class Region:
    """Windows of one size on a rectangle of the output plane, for one block of channels.

    Attributes:
        footprint: the convolution and its kernel support.
        array: R x C.
        block: the channels whose products are summed here.
        origin: (y, x) of the rectangle's first output pixel.
        size: (height, width) of the rectangle in output pixels.
        window: (a, b) output pixels that one activation of all tiles yields.
        layout: `elements` (cut at any element) or `channels` (whole input and output channels, as VW-SDK).
        phase: (y, x) for a rectangle of the pixels `phase + k * footprint.spacing` of a dilated convolution, in whose
            numbers k origin, size and window then are; None: of all pixels.
        overflow: which of the window's rows are stored here, and for how many windows at once; None: all, for one.
    """

    footprint: Footprint
    array: ArraySpec
    block: Block
    origin: Pair
    size: Pair
    window: Pair
    layout: str = ELEMENTS
    phase: Pair | None = None
    overflow: Overflow | None = None

    @property
    def windows(self) -> int:
        """Positions of the window."""
        return -(-self.size[0] // self.window[0]) * -(-self.size[1] // self.window[1])

    @property
    def slots(self) -> int:
        """Windows that one activation serves."""
        return 1 if self.overflow is None else self.overflow.slots

    @property
    def activations(self) -> int:
        """Times that each tile is activated for an image."""
        return -(-self.windows // self.slots)

    @cached_property
    def tile_count(self) -> int:
        """Tiles that `tiles` yields, counted from their outlines."""
        return sum(grid.tile_count for grid in self.grids)

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image."""
        return self.activations * self.tile_count

    @property
    def tile_grid(self) -> Pair:
        """Row tiles and column tiles of the (tallest) diagonal block of the stored matrix."""
        kind = Windows if self.layout == ELEMENTS else WholeChannels
        rows, columns = kind.single(self._dense, self.array, self.window).grid(self.block)
        return int(rows[0]), int(columns[0])

    @property
    def stored(self) -> Hashable:
        """What the tiles depend on; regions that agree in this use the same stored tiles."""
        return self.window, self.block, self.layout, self.phase is None, self.overflow

    def origins(self) -> Array:
        """(activations, slots, 2) output pixel (y, x) at which each window starts.

        The last windows of a line overlap those before them, and the last activation repeats a window in slots left over.
        """
        starts = [
            (np.minimum(np.arange(0, size, step), size - step) + origin) * spacing + phase
            for origin, size, step, spacing, phase in zip(
                self.origin, self.size, self.window, self._spacing, self.phase or (0, 0), strict=True
            )
        ]
        every = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
        return every[np.minimum(self._order(), self.windows - 1)]

    def kept(self, tile: Tile) -> Array:
        """(activations, c) booleans: whether a column's sum counts. Where windows overlap, the first one yields the pixel."""
        axes = []
        for size, step, pixel, spacing in zip(self.size, self.window, (tile.col_y, tile.col_x), self._spacing, strict=True):
            wanted = np.arange(0, size, step)
            axes.append(np.minimum(wanted, size - step)[:, None] + pixel // spacing >= wanted[:, None])
        every = (axes[0][:, None] & axes[1][None]).reshape(self.windows, tile.columns)
        order = self._order()[:, tile.col_slot]
        return every[np.minimum(order, self.windows - 1), np.arange(tile.columns)] & (order < self.windows)

    def _order(self) -> Array:
        """(activations, slots) numbers of the windows, line by line; the last ones may be more than there are."""
        return np.arange(self.activations * self.slots).reshape(self.activations, self.slots)

    def tiles(self) -> Iterator[Tile]:
        """The stored tiles, made one by one; there are `tile_count`."""
        for grid in self.grids:
            for row_strip in grid.row_strips:
                pieces = [(piece[0], *self._reads(grid, piece)) for piece in row_strip]
                for column_strip in grid.column_strips:
                    yield self._tile(pieces, column_strip)

    def extents(self) -> Counter[Pair]:
        """How many stored tiles have r rows and c columns in use, by (r, c), counted without making them."""
        found: Counter[Pair] = Counter()
        for grid in self.grids:
            for row_strip in grid.row_strips:
                reads = [self._reads(grid, piece)[1] for piece in row_strip]
                if len(reads) == 1:
                    found.update(self._outlines(reads[0], [strip[0] for strip in grid.column_strips]))
                    continue
                (column_strip,) = grid.column_strips
                each = [self._used(read, piece) for read, piece in zip(reads, column_strip, strict=True)]
                found[sum(int(rows.sum()) for rows, _ in each), sum(int(columns.sum()) for _, columns in each)] += 1
        return found

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """The outlines of all tiles."""
        if self.overflow is not None:
            return tuple(self._overflow_grids(self.overflow))
        return tuple(self._channel_grids() if self.layout == CHANNELS else self._element_grids())

    @property
    def _spacing(self) -> Pair:
        return (1, 1) if self.phase is None else self.footprint.spacing

    @cached_property
    def _dense(self) -> Footprint:
        """The convolution whose neighbouring pixels the window holds."""
        return self.footprint if self.phase is None else self.footprint.spaced(self.size)

    @cached_property
    def _part(self) -> Pair:
        """The part of the window whose pixels share inputs: one diagonal block."""
        if self.layout == CHANNELS:
            return self.window
        tall, wide = self._dense.joined(np.array([self.window[0]]), np.array([self.window[1]]))
        return int(tall[0]), int(wide[0])

    @cached_property
    def _blocks(self) -> tuple[tuple[int, Pair], ...]:
        """(group, first pixel) of each diagonal block that reads any input."""
        reads = self._dense.histogram(self.block.channels) @ self._dense.patterns.any(axis=(1, 2))
        used = np.flatnonzero(np.broadcast_to(reads > 0, (self._dense.shape.groups,)))
        return tuple(
            (group, (y, x))
            for _ in range(self.slots)
            for group in used.tolist()
            for y in range(0, self.window[0], self._part[0])
            for x in range(0, self.window[1], self._part[1])
        )

    def _element_grids(self) -> Iterator[Grid]:
        rows, columns = self.array.rows, self.array.columns
        pixels = self._part[0] * self._part[1]
        width = pixels * self.block.columns
        every = np.arange(pixels)
        heights = self._heights(every)
        by_columns = False
        if len(heights) > 1:
            windows = Windows.single(self._dense, self.array, self.window)
            in_rows, in_columns = windows.layouts(self.block)
            by_columns = bool(in_columns[0] < in_rows[0])
        if by_columns:
            for strip in strip_pieces([width] * len(heights), columns, rows // max(heights)):
                whole = tuple((block, 0, heights[block]) for block, _, _ in strip)
                yield Grid(every, (whole,), (tuple(strip),))
            return
        chunked = width // columns * columns
        for block, height in enumerate(heights if chunked else ()):
            yield Grid(every, even_pieces(block, 0, height, rows), even_pieces(block, 0, chunked, columns))
        if chunked < width:
            last = np.unique(np.arange(chunked, width) % pixels)
            for strip in strip_pieces(self._heights(last), rows, columns // (width - chunked)):
                yield Grid(last, (tuple(strip),), (tuple((block, chunked, width) for block, _, _ in strip),))

    def _channel_grids(self) -> Iterator[Grid]:
        counter = WholeChannels.single(self._dense, self.array, self.window)
        pixels = self.window[0] * self.window[1]
        every = np.arange(pixels)
        heights = self._heights(every)
        width = pixels * self.block.columns
        together = int(counter.groups_per_tile(self.block)[0])
        if together:
            for first in range(0, len(heights), together):
                some = range(first, min(first + together, len(heights)))
                yield Grid(every, (tuple((i, 0, heights[i]) for i in some),), (tuple((i, 0, width) for i in some),))
            return
        outputs = int(counter.outputs_per_tile[0]) * pixels
        for index, (group, _) in enumerate(self._blocks):
            patterns = self._dense.pattern_of[group, slice(*self.block.channels)]
            above = np.concatenate(([0], np.cumsum(counter.inputs[patterns, 0])))
            start = self.block.channels[0]
            runs = tuple(
                ((index, int(above[first - start]), int(above[stop - start])),)
                for first, stop in counter.runs(self.block, group, 0)
            )
            yield Grid(every, runs, even_pieces(index, 0, width, outputs))

    def _overflow_grids(self, overflow: Overflow) -> Iterator[Grid]:
        pixels = self.window[0] * self.window[1]
        width = pixels * self.block.columns
        every = np.arange(pixels)
        if overflow.slots > 1:
            slots = range(overflow.slots)
            rows = tuple((slot, overflow.start, overflow.stop) for slot in slots)
            yield Grid(every, (rows,), (tuple((slot, 0, width) for slot in slots),))
            return
        row_strips = even_pieces(0, overflow.start, overflow.stop, self.array.rows)
        yield Grid(every, row_strips, even_pieces(0, 0, width, self.array.columns))

    def _heights(self, pixels: Array) -> list[int]:
        """Lines of each diagonal block that some pixels of it read."""
        inputs = self._dense.read_by(pixels, self._part).sum(axis=(1, 2))
        heights = np.broadcast_to(self._dense.histogram(self.block.channels) @ inputs, (self._dense.shape.groups,))
        return [int(heights[group]) for group, _ in self._blocks]

    def _reads(self, grid: Grid, piece: Piece) -> tuple[Lines, Array]:
        """Some lines of a block, as read by `grid.pixels`, and which pixels of the block read each: (lines, pixels)."""
        group, _ = self._blocks[piece[0]]
        start, stop = self.block.channels
        shape = self._dense.shape
        read = self._dense.read_by(grid.pixels, self._part)[self._dense.pattern_of[group, start:stop]]
        lines = np.nonzero(read)
        if self.overflow is not None:
            channel, *place = lines
            order = np.lexsort((channel, place[1 - self.overflow.axis], place[self.overflow.axis]))
            lines = tuple(line[order] for line in lines)
        channel, y, x = (line[piece[1] : piece[2]] for line in lines)
        channel = channel + group * (shape.in_channels // shape.groups) + start
        v, u = np.divmod(np.arange(self._part[0] * self._part[1]), self._part[1])
        position = self._dense.position(channel[:, None], (y[:, None], x[:, None]), (v, u))
        return (channel, y, x), position >= 0

    def _used(self, reads: Array, piece: Piece) -> tuple[Array, Array]:
        """Which lines and which columns of a piece hold a weight."""
        pixel = np.arange(piece[1], piece[2]) % reads.shape[1]
        seen = np.logical_or.reduce(reads, axis=0)
        return np.logical_or.reduce(reads[:, np.unique(pixel)], axis=1), seen[pixel]

    def _tile(self, rows: list[tuple[int, Lines, Array]], columns: Strip) -> Tile:
        """Join pieces; rows and columns whose cells are all zero, which cutting can leave, are neither driven nor read."""
        shape, spacing = self._dense.shape, self._spacing
        # Steps between the inputs that the window reads, in inputs of the layer.
        steps = [s * q // t for s, q, t in zip(self.footprint.shape.stride, spacing, shape.stride, strict=True)]
        driven: list[tuple[Array, ...]] = []
        read: list[tuple[Array, ...]] = []
        for (block, lines, reads), piece in zip(rows, columns, strict=True):
            group, corner = self._blocks[block]
            used_rows, used_columns = self._used(reads, piece)
            channel, y, x = (line[used_rows] for line in lines)
            y, x = (line + at * s for line, at, s in zip((y, x), corner, shape.stride, strict=True))
            slot = 0 if self.slots == 1 else block
            driven.append((channel, y * steps[0], x * steps[1], np.full_like(channel, slot)))
            output, pixel = np.divmod(np.arange(piece[1], piece[2])[used_columns], reads.shape[1])
            v, u = (line + at for line, at in zip(np.divmod(pixel, self._part[1]), corner, strict=True))
            output = output + group * (shape.m // shape.groups) + self.block.outputs[0]
            read.append((output, v * spacing[0], u * spacing[1], np.full_like(output, slot)))
        channel, y, x, row_slot = (np.concatenate(parts) for parts in zip(*driven, strict=True))
        output, v, u, col_slot = (np.concatenate(parts) for parts in zip(*read, strict=True))
        return Tile(self.footprint, channel, y, x, output, v, u, row_slot, col_slot)

    def _outlines(self, reads: Array, pieces: list[Piece]) -> Counter[Pair]:
        """`extents` of one row strip with many column strips."""
        found: Counter[Pair] = Counter()
        pixels = reads.shape[1]
        seen = reads.any(axis=0)
        before = np.concatenate(([0], np.cumsum(seen)))
        lines = int(reads.any(axis=1).sum())
        for piece in pieces:
            start, stop = (edge // pixels * int(before[-1]) + int(before[edge % pixels]) for edge in piece[1:])
            whole = piece[2] - piece[1] >= pixels
            found[lines if whole else int(self._used(reads, piece)[0].sum()), stop - start] += 1
        return found
