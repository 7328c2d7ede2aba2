"""Rows and columns in use of tiles, counted without making the tiles.

A tile is a list of pieces, each of which joins lines (rows) of one diagonal block to columns of the same
block. Pieces of different blocks share neither rows nor columns, so that

    r = sum of the pieces' rows in use,   c = sum of the pieces' columns in use.

A row of a piece is in use if any of the piece's columns reads it, a column if it reads any of the piece's
rows. What a column reads depends on its pixel alone, not on its output channel; columns are ordered by
(output channel, pixel), so that column j has pixel j mod N0, with N0 pixels in a block.

Without a support all blocks read alike, and so do all channels: lines that have the same places in their
channels are alike too. So cuts through lines, and through columns, come in a few sorts, and all pieces that
they make are counted at once (`Turns`). This is exact, as no number is rounded or bounded anywhere. With a
support, or where an overflow orders lines by place, pieces are counted one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from rankfold.mapping.diagonal_blocks import DiagonalBlocks
from rankfold.mapping.outline import Diagonal, EvenCuts, Outline, Strip
from rankfold.mapping.strips import Piece
from rankfold.mapping.turns import CutSorts, Turns
from rankfold.workload.shape import Pair

Array = np.ndarray
PieceKind = tuple[Piece, int, int]  # lines, first pixel, number of columns


def extents_of(blocks: DiagonalBlocks, outlines: Iterable[Outline]) -> Counter[Pair]:
    """How many tiles have r rows and c columns in use, by (r, c).

    Args:
        blocks: of the matrix.
        outlines: of its tiles.
    """
    extents: Counter[Pair] = Counter()
    in_turns = blocks.footprint.mask is None and blocks.overflow is None
    for outline in outlines:
        if in_turns:
            _count_in_turns(blocks, outline, extents)
        else:
            _count_one_by_one(blocks, outline, extents)
    return extents


def _count_in_turns(blocks: DiagonalBlocks, outline: Outline, extents: Counter[Pair]) -> None:
    """Add the extents of an outline's tiles, where all channels and blocks read alike."""
    turns = _turns(blocks, outline)
    if isinstance(outline, Diagonal):
        if outline.shares:
            _count_shared(outline, turns, extents)
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


def _count_shared(outline: Diagonal, turns: Turns, extents: Counter[Pair]) -> None:
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


def _turns(blocks: DiagonalBlocks, outline: Outline) -> Turns:
    """How the lines of a channel and the pixels of a block repeat, without a support."""

    def reads() -> Array:
        (read,) = blocks.footprint.read_by(outline.pixels, blocks.part)  # (ph, pw)
        y, x = np.nonzero(read)
        pixels = np.divmod(np.arange(blocks.pixels), blocks.part[1])
        position = blocks.footprint.position(np.zeros(1, int), (y[:, None], x[:, None]), pixels)
        return position >= 0

    lines = int(blocks.inputs(len(outline.pixels))[0])
    return Turns(lines, blocks.pixels, len(outline.pixels), reads)


def _count_one_by_one(blocks: DiagonalBlocks, outline: Outline, extents: Counter[Pair]) -> None:
    """Add the extents of an outline's tiles, piece by piece."""
    pieces = _Pieces(blocks, outline)
    for row_strip, column_strips in outline.strips():
        for column_strip in column_strips:
            extents[pieces.used_together(row_strip, column_strip)] += 1


@dataclass(eq=False)
class _Pieces:
    """Rows and columns in use of the pieces of an outline, each kind of which is counted once.

    Attributes:
        blocks: of the matrix.
        outline: one of its outlines.
    """

    blocks: DiagonalBlocks
    outline: Outline
    _known: dict[PieceKind, Pair] = field(default_factory=dict)
    _lines: dict[Piece, _Lines] = field(default_factory=dict)

    def used_together(self, lines: Strip, columns: Strip) -> Pair:
        """Rows and columns in use of a tile, whose pieces share neither."""
        rows = 0
        cols = 0
        for piece, (_, first, last) in zip(lines, columns, strict=True):
            key = piece, first % self.blocks.pixels, last - first
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
            _, reads = self.blocks.reads(self.outline.pixels, lines)
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
