"""`StoredMatrix`: the matrix that a window stores, and the tiles it is cut into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import ArrayPair, Footprint
from rankfold.mapping.outline import Cut, Diagonal, EvenCuts, Grid, Outline, Strip
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.strips import Piece
from rankfold.mapping.tile import Tile
from rankfold.mapping.turns import CutSorts, Turns
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
        return sum(outline.tile_count for outline in self.outlines)

    def tiles(self) -> Iterator[Tile]:
        """The tiles, made one by one."""
        for outline in self.outlines:
            for row_strip, column_strips in outline.strips():
                rows = []
                for piece in row_strip:
                    lines, reads = self._reads(outline, piece)
                    rows.append((piece[0], lines, reads))
                for column_strip in column_strips:
                    yield self._tile(rows, column_strip)

    # The cells of a tile follow from its pieces: which lines of which diagonal block, ordered by (channel, y,
    # x), meet which columns, ordered by (output channel, pixel). What a pixel reads of a block's lines
    # follows from the pixels of the block and, where these are several, from how far apart they read. Neither
    # the plane nor, for a single pixel, stride and dilation play a part.
    @cached_property
    def contents(self) -> Hashable:
        """What the cells hold: matrices of one parameter that agree in it are one and the same arrays."""
        shape = self.footprint.shape
        apart = []
        for axis in (0, 1):
            if self.part[axis] > 1:
                apart.append((axis, shape.stride[axis], shape.dilation[axis]))
        order = None
        if self.overflow is not None:
            order = self.overflow.axis
        groups = tuple(group for group, _ in self.blocks)
        tiles: Counter[Hashable] = Counter()
        for outline in self.outlines:
            pixels = tuple(outline.pixels.tolist())
            for lines, strips in outline.strips():
                for columns in strips:
                    tiles[pixels, lines, columns] += 1
        weight = shape.in_channels, shape.m, shape.kernel, shape.groups, self.footprint.mask
        return weight, self.block, self.part, tuple(apart), order, groups, frozenset(tiles.items())

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
    # ordered by (output channel, pixel), so that column j has pixel j mod N0, with N0 pixels in a block.
    #
    # Without a support all blocks read alike, and so do all channels: lines that have the same places in
    # their channels are alike too. So cuts through lines, and through columns, come in a few sorts, and all
    # pieces that they make are counted at once (`Turns`). This is exact, as no number is rounded or bounded
    # anywhere. With a support, or where an overflow orders lines by place, pieces are counted one by one.
    @cached_property
    def _extents(self) -> Counter[Pair]:
        extents: Counter[Pair] = Counter()
        in_turns = self.footprint.mask is None and self.overflow is None
        for outline in self.outlines:
            if in_turns:
                self._count_in_turns(outline, extents)
            else:
                self._count_one_by_one(outline, extents)
        return extents

    def _count_in_turns(self, outline: Outline, extents: Counter[Pair]) -> None:
        """Add the extents of an outline's tiles, where all channels and blocks read alike."""
        turns = self._turns(outline)
        if isinstance(outline, Diagonal):
            if outline.shares:
                self._count_shared(outline, turns, extents)
                return
            outline = outline.as_grid()
        cuts = outline.rows
        if isinstance(cuts, EvenCuts) and cuts.last >= turns.lines and outline.columns.last >= turns.held:
            # Every cut has every line of a channel and every pixel, so that all rows and columns are in use.
            for height, down in cuts.lengths():
                for width, right in outline.columns.lengths():
                    extents[height, width] += down * right * len(outline.blocks)
            return
        lines = CutSorts.of(outline.rows, turns.lines)
        columns = CutSorts.of(outline.columns, turns.pixels)
        rows = turns.rows_in_use(lines, columns).ravel().tolist()
        read = turns.columns_in_use(lines, columns).ravel().tolist()
        times = np.outer(lines.times, columns.times).ravel().tolist()
        for extent, tiles in zip(zip(rows, read, strict=True), times, strict=True):
            extents[extent] += tiles * len(outline.blocks)

    def _count_shared(self, outline: Diagonal, turns: Turns, extents: Counter[Pair]) -> None:
        """Add the extents of tiles that hold pieces of several equal blocks."""
        tiles, times = zip(*outline.alike(), strict=True)
        pieces = [piece for tile in tiles for piece in tile]
        if outline.sideways:
            lines = CutSorts.of([(outline.start, outline.start + outline.heights[0])], turns.lines)
            columns = CutSorts.of(pieces, turns.pixels)
        else:
            lines = CutSorts.of(pieces, turns.lines)
            columns = CutSorts.of([outline.columns], turns.pixels)
        first = np.cumsum([0, *(len(tile) for tile in tiles[:-1])])  # piece of each tile
        rows = np.add.reduceat(turns.rows_in_use(lines, columns).ravel(), first).tolist()
        read = np.add.reduceat(turns.columns_in_use(lines, columns).ravel(), first).tolist()
        for extent, number in zip(zip(rows, read, strict=True), times, strict=True):
            extents[extent] += number

    def _turns(self, outline: Outline) -> Turns:
        """How the lines of a channel and the pixels of a block repeat, without a support."""

        def reads() -> Array:
            (read,) = self.footprint.read_by(outline.pixels, self.part)  # (ph, pw)
            y, x = np.nonzero(read)
            pixels = np.divmod(np.arange(self._pixels), self.part[1])
            position = self.footprint.position(np.zeros(1, int), (y[:, None], x[:, None]), pixels)
            return position >= 0

        lines = int(self._inputs(len(outline.pixels))[0])
        return Turns(lines, self._pixels, len(outline.pixels), reads)

    def _count_one_by_one(self, outline: Outline, extents: Counter[Pair]) -> None:
        """Add the extents of an outline's tiles, piece by piece."""
        pieces = _Pieces(self, outline, self._pixels)
        for row_strip, column_strips in outline.strips():
            for column_strip in column_strips:
                extents[pieces.used_together(row_strip, column_strip)] += 1

    @cached_property
    def outlines(self) -> tuple[Outline, ...]:
        """Which lines of which diagonal block meet which columns, in which tile."""
        if self.overflow is not None:
            return tuple(self._of_overflow(self.overflow))
        if self.layout == CHANNELS:
            return tuple(self._by_channels())
        return tuple(self._by_elements())

    @cached_property
    def part(self) -> Pair:
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
        return self.part[0] * self.part[1]

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
        if self.footprint.mask is None:
            return np.arange(groups)
        reads_any = self.footprint.patterns.any(axis=(1, 2))  # (P,)
        channels = self.footprint.histogram(self.block.channels) @ reads_any  # (G',)
        used = np.broadcast_to(channels > 0, (groups,))
        return np.flatnonzero(used)

    @cached_property
    def blocks(self) -> tuple[tuple[int, Pair], ...]:
        """(group, first pixel) of each diagonal block that reads any input."""
        height, width = self.window
        down, right = self.part
        corners = []
        for y in range(0, height, down):
            for x in range(0, width, right):
                corners.append((y, x))
        blocks = []
        for group in self._used_groups.tolist():
            for corner in corners:
                blocks.append((group, corner))
        return tuple(blocks) * self._slots

    def _inputs(self, last: int) -> Array:
        """(P,) inputs of one channel that the last pixels of a diagonal block read, by pattern of support."""
        a = np.array([self.part[0]])
        b = np.array([self.part[1]])
        if last == self._pixels:
            return self.footprint.inputs(a, b)[:, 0]
        return self.footprint.last_inputs(a, b, np.array([last]))[:, 0]

    def _heights(self, last: int) -> Sequence[int]:
        """Lines of each diagonal block that the last pixels of it read."""
        inputs = self._inputs(last)
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
        heights = self._heights(self._pixels)
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
                self._heights(len(last)),
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
        heights = self._heights(self._pixels)
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
        group, _ = self.blocks[number]
        if self.overflow is None:
            lines = self._lines(outline.pixels, group)
        else:
            lines = self._lines_by_place
        channel, y, x = (line[first:last] for line in lines)  # (lines,) each
        channel = channel + group * self.footprint.group_inputs + self.block.channels[0]
        pixels = np.arange(self._pixels)
        # (lines, pixels)
        position = self.footprint.position(
            channel[:, None],
            (y[:, None], x[:, None]),
            np.divmod(pixels, self.part[1]),
        )
        return (channel, y, x), position >= 0

    def _lines(self, pixels: Array, group: int) -> Lines:
        """All lines of a block that some pixels of it read, by (channel, y, x)."""
        start, stop = self.block.channels
        patterns = self.footprint.pattern_of[group, start:stop]  # (channels,)
        by_pattern = self.footprint.read_by(pixels, self.part)  # (P, ph, pw)
        channel, y, x = np.nonzero(by_pattern[patterns])
        return channel, y, x

    @cached_property
    def _lines_by_place(self) -> Lines:
        """The lines of a window with an overflow: by (y, x, channel), or (x, y, channel) for axis 1."""
        channel, y, x = self._lines(np.arange(self._pixels), 0)
        order = np.lexsort((channel, x, y))
        if self.overflow is not None and self.overflow.axis == 1:
            order = np.lexsort((channel, y, x))
        return channel[order], y[order], x[order]

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
        output, pixel = np.divmod(columns, self._pixels)
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
        if self._slots == 1:
            return 0
        return block


def held_together(stored: Iterable[StoredMatrix]) -> Hashable:
    """What the arrays of several stored matrices of one parameter hold, whichever order they come in."""
    return frozenset(Counter(matrix.contents for matrix in stored).items())


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
        """What reads some lines."""
        found = self._lines.get(lines)
        if found is None:
            _, reads = self.matrix._reads(self.outline, lines)
            found = _Lines(reads)
            self._lines[lines] = found
        return found


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
