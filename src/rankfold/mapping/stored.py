"""`StoredMatrix`: the matrix that a window stores, and the tiles it is cut into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import ArrayPair, Footprint
from rankfold.mapping.outline import Cut, Diagonal, EvenCuts, Grid, Outline, Strip
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.strips import Piece
from rankfold.mapping.tile import Tile
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray
Lines = tuple[Array, Array, Array]  # channel, y, x
PieceKind = tuple[Piece, int, int]  # lines, first pixel, number of columns
RowPiece = tuple[int, Lines, Array]  # block, its lines, and which pixels of the block read each
ELEMENTS, CHANNELS = "elements", "channels"


@dataclass(frozen=True)
class StoredMatrix:
    """SDK(W) of one window and one block of channels, in tiles.

    The matrix is block-diagonal: a block for each group of the convolution and, where neighbouring pixels
    read no input in common, for each pixel.

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
                rows = []
                for piece in row_strip:
                    lines, reads = self._reads(outline, piece)
                    rows.append((piece[0], lines, reads))
                for column_strip in column_strips:
                    yield self._tile(rows, column_strip)

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

    # The extents of tiles, without the tiles. A tile is a list of pieces, each of which joins lines (rows) of
    # one diagonal block to columns of the same block. Pieces of different blocks share neither rows nor
    # columns, so that
    #
    #     r = sum of the pieces' rows in use,   c = sum of the pieces' columns in use.
    #
    # A row of a piece is in use if any of the piece's columns reads it, a column if it reads any of the
    # piece's rows. What a column reads depends on its pixel alone, not on its output channel; columns are
    # ordered by (output channel, pixel), so that column j has pixel j mod N0, with N0 pixels in a block. So
    # pieces with the same lines, the same first pixel and the same number of columns are in use alike, and
    # are counted once.
    #
    # Without a support all blocks read alike, and block 0 stands for each; so do all channels, and lines of
    # theirs are alike where they have the same places in their channels. A grid cuts all of its blocks in the
    # same way: its first block is counted, and counts for all. This is exact, as no number is rounded or
    # bounded anywhere.
    @cached_property
    def _extents(self) -> Counter[Pair]:
        extents: Counter[Pair] = Counter()
        alike = self.footprint.mask is None
        for outline in self._outlines:
            pieces = _Pieces(self, outline, self._pixels)
            times = 1
            # One block of a grid counts for all: cuts at the same places, through what reads the same.
            if isinstance(outline, Grid) and alike:
                times = len(outline.blocks)
                outline = replace(outline, blocks=outline.blocks[:1])
            for row_strip, column_strip, tiles in outline.sorts(pieces.period, self._pixels):
                if alike:
                    row_strip = _of_first_block(row_strip)
                extent = pieces.used_together(row_strip, column_strip)
                extents[extent] += tiles * times
        return extents

    @cached_property
    def _outlines(self) -> tuple[Outline, ...]:
        if self.overflow is not None:
            return tuple(self._of_overflow(self.overflow))
        if self.layout == CHANNELS:
            return tuple(self._by_channels())
        return tuple(self._by_elements())

    @cached_property
    def _part(self) -> Pair:
        """The part of the window whose pixels share inputs: one diagonal block."""
        if self.layout == CHANNELS:
            return self.window
        a, b = self.window
        apart = self.footprint.apart
        if apart[0]:
            a = 1
        if apart[1]:
            b = 1
        return a, b

    @cached_property
    def _pixels(self) -> int:
        """N0, the pixels of a diagonal block."""
        return self._part[0] * self._part[1]

    @cached_property
    def _width(self) -> int:
        """Columns of a diagonal block."""
        return self._pixels * self.block.columns

    @cached_property
    def _slots(self) -> int:
        """Windows that share the tiles."""
        if self.overflow is None:
            return 1
        return self.overflow.slots

    @cached_property
    def _copies(self) -> int:
        """Diagonal blocks of each group."""
        pixels = self.window[0] * self.window[1]
        return pixels // self._pixels * self._slots

    @cached_property
    def _used_groups(self) -> Array:
        """Groups that read any input."""
        groups = self.footprint.shape.groups
        reads_any = self.footprint.patterns.any(axis=(1, 2))  # (P,)
        channels = self.footprint.histogram(self.block.channels) @ reads_any  # (G',)
        used = np.broadcast_to(channels > 0, (groups,))
        return np.flatnonzero(used)

    @cached_property
    def _blocks(self) -> tuple[tuple[int, Pair], ...]:
        """(group, first pixel) of each diagonal block that reads any input."""
        height, width = self.window
        down, right = self._part
        corners = []
        for y in range(0, height, down):
            for x in range(0, width, right):
                corners.append((y, x))
        blocks = []
        for group in self._used_groups.tolist():
            for corner in corners:
                blocks.append((group, corner))
        return tuple(blocks) * self._slots

    def _heights(self, pixels: Array) -> Sequence[int]:
        """Lines of each diagonal block that some pixels of it read."""
        if len(pixels) == self._pixels:
            a = np.array([self._part[0]])
            b = np.array([self._part[1]])
            inputs = self.footprint.inputs(a, b)[:, 0]  # (P,)
        else:
            read = self.footprint.read_by(pixels, self._part)  # (P, ph, pw)
            inputs = read.sum(axis=(1, 2))
        heights = self.footprint.histogram(self.block.channels) @ inputs  # (G',)
        if len(heights) == 1:
            blocks = len(self._used_groups) * self._copies
            return [int(heights[0])] * blocks
        return np.repeat(heights[self._used_groups], self._copies).tolist()

    def _by_elements(self) -> Iterator[Outline]:
        """Tiles cut at any element, in the cheaper of the two layouts of `Windows.layouts`."""
        rows, columns = self.array.rows, self.array.columns
        width = self._width
        every = np.arange(self._pixels)
        heights = self._heights(every)
        if len(heights) > 1:
            windows = Windows.single(
                self.footprint,
                self.array,
                self.window,
            )
            by_rows, by_columns = windows.layouts(self.block)
            if by_columns[0] < by_rows[0]:
                yield Diagonal(
                    every,
                    heights,
                    (0, width),
                    columns,
                    rows // max(heights),
                    sideways=True,
                )
                return
        chunked = width // columns * columns  # columns in whole chunks
        if chunked:
            chunks = EvenCuts(0, chunked, columns)
            for blocks, height in _alike(heights):
                lines = EvenCuts(0, height, rows)
                yield Grid(every, blocks, lines, chunks)
        if chunked < width:
            # The last chunk needs only the lines that its own pixels read.
            pixels = np.arange(chunked, width) % self._pixels
            # Columns walk through the pixels in turn, so that the first N0 have each of them once.
            last = np.sort(pixels[: self._pixels])
            yield Diagonal(
                last,
                self._heights(last),
                (chunked, width),
                rows,
                columns // (width - chunked),
            )

    def _by_channels(self) -> Iterator[Outline]:
        """Tiles of whole input and output channels, or of whole groups where these fit."""
        counter = WholeChannels.single(
            self.footprint,
            self.array,
            self.window,
        )
        every = np.arange(self._pixels)
        heights = self._heights(every)
        width = self._width
        # Whole groups that fit side by side share an array.
        together = int(counter.groups_per_tile(self.block)[0])
        if together:
            yield Diagonal(
                every,
                heights,
                (0, width),
                width * together,
                together,
                sideways=True,
            )
            return
        outputs = int(counter.outputs_per_tile[0])
        columns = EvenCuts(0, width, outputs * self._pixels)
        if self.footprint.mask is None:
            channels = int(counter.channels_per_tile[0])
            inputs = int(counter.inputs[0, 0])
            lines = EvenCuts(0, heights[0], channels * inputs)
            yield Grid(
                every,
                range(len(heights)),
                lines,
                columns,
            )
            return
        for index, group in enumerate(self._used_groups.tolist()):
            cuts = self._channel_cuts(counter, group)
            yield Grid(
                every,
                range(index, index + 1),
                cuts,
                columns,
            )

    def _channel_cuts(self, counter: WholeChannels, group: int) -> tuple[Cut, ...]:
        """The lines of each row tile of a group whose channels differ."""
        start, stop = self.block.channels
        patterns = self.footprint.pattern_of[group, start:stop]
        inputs = counter.inputs[patterns, 0]
        above = [0, *np.cumsum(inputs).tolist()]  # lines before each channel
        cuts = []
        for first, last in counter.runs(self.block, group, 0):
            first_line = above[first - start]
            last_line = above[last - start]
            cuts.append((first_line, last_line))
        return tuple(cuts)

    def _of_overflow(self, overflow: Overflow) -> Iterator[Outline]:
        """The full arrays of one window, or the array that several windows share."""
        width = self._width
        every = np.arange(self._pixels)
        if overflow.slots == 1:
            rows = EvenCuts(
                overflow.start,
                overflow.stop,
                self.array.rows,
            )
            columns = EvenCuts(0, width, self.array.columns)
            yield Grid(every, range(1), rows, columns)
            return
        height = overflow.stop - overflow.start
        yield Diagonal(
            every,
            [height] * overflow.slots,
            (0, width),
            height * overflow.slots,
            overflow.slots,
            start=overflow.start,
        )

    def _reads(self, outline: Outline, piece: Piece) -> tuple[Lines, Array]:
        """Some lines of a block, as read by the outline's pixels, and which pixels of the block read each.

        Returns:
            (channel, y, x) of each line under the window, and (lines, pixels) booleans.
        """
        number, first, last = piece
        group, _ = self._blocks[number]
        start, stop = self.block.channels
        patterns = self.footprint.pattern_of[group, start:stop]  # (channels,)
        by_pattern = self.footprint.read_by(outline.pixels, self._part)  # (P, ph, pw)
        lines = np.nonzero(by_pattern[patterns])
        if self.overflow is not None:
            order = self._by_place(lines, self.overflow.axis)
            lines = tuple(line[order] for line in lines)
        channel, y, x = (line[first:last] for line in lines)  # (lines,) each
        channel = channel + group * self.footprint.group_inputs + start
        pixels = np.arange(self._pixels)
        # (lines, pixels)
        position = self.footprint.position(
            channel[:, None],
            (y[:, None], x[:, None]),
            np.divmod(pixels, self._part[1]),
        )
        return (channel, y, x), position >= 0

    def _by_place(self, lines: tuple[Array, ...], axis: int) -> Array:
        """The order of lines (channel, y, x) by (y, x, channel), or (x, y, channel) for axis 1."""
        channel, y, x = lines
        if axis == 0:
            return np.lexsort((channel, x, y))
        return np.lexsort((channel, y, x))

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
        _, (top, left) = self._blocks[block]
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
        group, (top, left) = self._blocks[block]
        before, _ = self.block.outputs
        first = group * self.footprint.group_outputs + before
        output, pixel = np.divmod(columns, self._pixels)
        y, x = np.divmod(pixel, self._part[1])
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
        if self._slots == 1:
            return 0
        return block


def _of_first_block(strip: Strip) -> Strip:
    """The same pieces of block 0."""
    return tuple((0, first, last) for _, first, last in strip)


def _alike(heights: Sequence[int]) -> list[tuple[range, int]]:
    """Blocks that can be cut together, and their height: all, or one by one where their heights differ."""
    if min(heights) == max(heights):
        return [(range(len(heights)), heights[0])]
    one_by_one = []
    for block, height in enumerate(heights):
        one_by_one.append((range(block, block + 1), height))
    return one_by_one


@dataclass(eq=False)
class _Pieces:
    """Rows and columns in use of the pieces of an outline, each kind of which is counted once.

    Attributes:
        matrix: the stored matrix.
        outline: one of its outlines.
        pixels: N0, of a block.
    """

    matrix: StoredMatrix
    outline: Outline
    pixels: int
    _known: dict[PieceKind, Pair] = field(default_factory=dict)
    _lines: dict[Piece, _Lines] = field(default_factory=dict)

    def used_together(self, lines: Strip, columns: Strip) -> Pair:
        """Rows and columns in use of a tile, whose pieces share neither."""
        rows = 0
        cols = 0
        for piece, (_, first, last) in zip(lines, columns, strict=True):
            key = piece, first % self.pixels, last - first
            used = self._known.get(key)
            if used is None:
                used = self._read(piece).used(first, last)
                self._known[key] = used
            rows += used[0]
            cols += used[1]
        return rows, cols

    def _read(self, lines: Piece) -> _Lines:
        """What reads some lines; of lines that read alike, found once."""
        period = self.period
        key = lines
        if period is not None:
            _, first, last = lines
            start = first % period
            key = 0, start, start + last - first
        found = self._lines.get(key)
        if found is None:
            found = _Lines(self._search(key))
            self._lines[key] = found
        return found

    def _search(self, lines: Piece) -> Array:
        """(lines, pixels) booleans, which pixels of the block read each line."""
        channel = self._channel
        if channel is None:
            _, reads = self.matrix._reads(self.outline, lines)
            return reads
        _, first, last = lines
        return channel[np.arange(first, last) % len(channel)]

    @property
    def period(self) -> int | None:
        """Lines of a channel, after which lines read alike; None: no two do."""
        if self._channel is None:
            return None
        return len(self._channel)

    @cached_property
    def _channel(self) -> Array | None:
        """The same of all lines of the first channel, where those of the other channels are alike.

        With a support they differ, and an overflow orders lines by place instead.
        """
        matrix = self.matrix
        if matrix.footprint.mask is not None or matrix.overflow is not None:
            return None
        read = matrix.footprint.read_by(self.outline.pixels, matrix._part)  # (1, ph, pw)
        channel = 0, 0, int(read.sum())  # the first lines of block 0
        _, reads = matrix._reads(self.outline, channel)
        return reads


class _Lines:
    """Some lines of a block, and how many of them and of its columns a piece uses.

    Columns take turns: column j has pixel j mod N0. A piece that is N0 columns wide or wider has every pixel,
    so that it uses each line that any pixel reads, whatever its columns are; a narrower one is looked at.
    Columns in use are counted from sums: with s(j) those of the columns before j of the first turn, and t all
    of a turn, the columns before j are t (j div N0) + s(j mod N0).

    Args:
        reads: (lines, pixels) booleans, which pixels of the block read each line.
    """

    def __init__(self, reads: Array) -> None:
        self._reads = reads
        self._pixels = reads.shape[1]
        self._all_rows = int(np.count_nonzero(reads.any(axis=1)))
        sums = np.cumsum(reads.any(axis=0))
        self._before = [0, *sums.tolist()]  # s(j)

    def used(self, first: int, last: int) -> Pair:
        """Rows and columns in use where the columns `first` to `last` of the block meet the lines."""
        columns = self._columns_before(last) - self._columns_before(first)
        if last - first >= self._pixels:
            return self._all_rows, columns
        pixel = np.arange(first, last) % self._pixels  # (columns,)
        rows = np.count_nonzero(self._reads[:, pixel].any(axis=1))
        return int(rows), columns

    def _columns_before(self, column: int) -> int:
        turns, rest = divmod(column, self._pixels)
        return turns * self._before[-1] + self._before[rest]


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
