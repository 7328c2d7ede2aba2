"""`Windows`: the tiles that windows need, cut element by element, counted for many windows at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import ArrayPair, Footprint
from rankfold.mapping.strips import ceil, equal_strips, strip_count
from rankfold.workload.shape import Pair

Array = np.ndarray
NEVER = 1 << 40  # tiles of a window that is not possible


@dataclass(frozen=True)
class Block:
    """The channels that one stored matrix joins, the same in each group of the convolution.

    Attributes:
        channels: input channels (start, stop) within each group.
        outputs: output channels (start, stop) within each group.
    """

    channels: Pair
    outputs: Pair

    @classmethod
    def whole(cls, footprint: Footprint) -> Block:
        """All channels."""
        inputs = 0, footprint.group_inputs
        outputs = 0, footprint.group_outputs
        return cls(inputs, outputs)

    @property
    def columns(self) -> int:
        """Output channels in each group."""
        return self.outputs[1] - self.outputs[0]


@dataclass(frozen=True, eq=False)
class Windows:
    """A list of W windows on one array, with what their tiles cost.

    Attributes:
        footprint: the convolution and its support.
        array: R x C.
        a: (W,) output rows of each window.
        b: (W,) output columns.
    """

    footprint: Footprint
    array: ArraySpec
    a: Array
    b: Array

    @classmethod
    def single(
        cls,
        footprint: Footprint,
        array: ArraySpec,
        window: Pair,
    ) -> Windows:
        """A list of one."""
        return cls(
            footprint,
            array,
            a=np.array([window[0]]),
            b=np.array([window[1]]),
        )

    @classmethod
    def every(cls, footprint: Footprint, array: ArraySpec) -> Windows:
        """All windows of at most C pixels.

        Every window of the published methods is among them: VW-SDK's hold a whole output channel in C
        columns, and SDK's need no more column tiles than a single pixel does, ceil(N*m/C) <= ceil(m/C), so
        N <= C.
        """
        height, width = footprint.shape.output
        a, b = _rectangles(height, width, array.columns)
        return cls(footprint, array, a, b)

    @classmethod
    def minimal(cls, footprint: Footprint, array: ArraySpec) -> Windows:
        """The windows worth trying alone: no smaller one needs as few positions on the plane.

        A larger window of as many positions stores more and never needs fewer tiles.
        """
        height, width = footprint.shape.output
        a, b = _minimal_rectangles(height, width, array.columns)
        return cls(footprint, array, a, b)

    def __len__(self) -> int:
        return len(self.a)

    @property
    def output(self) -> Pair:
        """(OH, OW) of the plane."""
        return self.footprint.shape.output

    @cached_property
    def pixels(self) -> Array:
        """(W,) N = a * b."""
        return self.a * self.b

    @cached_property
    def part(self) -> ArrayPair:
        """(a0, b0): the part of each window whose pixels share inputs; a window is a diagonal of these."""
        return self.footprint.joined(self.a, self.b)

    @cached_property
    def part_pixels(self) -> Array:
        """(W,) a0 * b0."""
        return self.part[0] * self.part[1]

    @cached_property
    def copies(self) -> Array:
        """(W,) such parts in each window."""
        return self.pixels // self.part_pixels

    @cached_property
    def part_inputs(self) -> Array:
        """(P, W) inputs of one channel that a part reads, by pattern of support."""
        return self.footprint.inputs(*self.part)

    def window(self, index: int) -> Pair:
        """(a, b) of one of the windows."""
        a = int(self.a[index])
        b = int(self.b[index])
        return a, b

    @cached_property
    def positions(self) -> Array:
        """(W,) positions of each window on the whole plane."""
        return self.count(*self.output)

    def count(self, height: int, width: int) -> Array:
        """(W,) positions of each window on a rectangle; those at the far edges overlap the ones before."""
        return ceil(height, self.a) * ceil(width, self.b)

    def tiles(self, block: Block) -> Array:
        """(W,) tiles of the stored matrix of each window, cut element by element."""
        return np.minimum(*self.layouts(block))

    def layouts(self, block: Block) -> ArrayPair:
        """(W,) tiles of each window in both layouts of its diagonal blocks.

        A block is one group's matrix for one part of the window: rows are inputs in the order (channel, y,
        x), columns are (output channel, pixel). Row strips: blocks stacked by rows, each tile holds all
        columns of the blocks it touches; before that, columns are cut into chunks of C, whose last one needs
        only the rows its columns read. Column strips: blocks side by side, each tile holds all rows of the
        blocks it touches, which must fit into R.
        """
        rows = self.array.rows
        columns = self.array.columns
        heights, last_heights = self.heights(block)  # (G', W)
        width = self.part_pixels * block.columns  # (W,) columns of a diagonal block
        chunks = width // columns
        rest = width % columns  # columns of the last chunk
        groups = self.footprint.shape.groups
        if groups == 1 and not any(self.footprint.apart):
            # One block: columns side by side are cut as the chunks are.
            last = np.where(
                rest > 0,
                ceil(last_heights[0], rows),
                0,
            )
            by_rows = chunks * ceil(heights[0], rows) + last
            return by_rows, np.full_like(by_rows, NEVER)
        # Blocks whose last chunks lie side by side in a tile, each with columns of its own.
        most = columns // np.maximum(rest, 1)
        limit = np.where(rest > 0, most, 0)
        # In both cases `whole` counts the tiles of whole chunks, `last` those of the last ones, both (W,).
        if len(heights) == 1:
            blocks = groups * self.copies
            tallest = heights[0]
            whole = blocks * chunks * ceil(tallest, rows)
            lines = np.maximum(last_heights[0], 1)
            last = equal_strips(blocks, lines, rows, limit)
        else:
            read = heights.any(axis=1)  # groups without inputs are not stored
            heights = heights[read]
            blocks = len(heights) * self.copies
            tallest = heights.max(axis=0)
            row_tiles = ceil(heights, rows).sum(axis=0)
            whole = self.copies * chunks * row_tiles
            last = self._strips(last_heights[read], limit)
        stackable = rows // np.maximum(tallest, 1)  # blocks whose rows fit one above the other
        side_by_side = equal_strips(blocks, width, columns, stackable)
        by_columns = np.where(
            tallest <= rows,
            side_by_side,
            NEVER,
        )
        return whole + last, by_columns

    def heights(self, block: Block) -> ArrayPair:
        """(G', W) rows of a block, and of the columns of its last chunk; G' is 1 for equal groups."""
        counts = self.footprint.histogram(block.channels)  # (G', P)
        heights = counts @ self.part_inputs  # (G', W)
        rest = self.part_pixels * block.columns % self.array.columns
        # A chunk with as many columns as pixels holds every pixel, and reads all rows of the block.
        is_few = (rest > 0) & (rest < self.part_pixels)
        few = np.flatnonzero(is_few)
        if not len(few):
            return heights, heights
        a0, b0 = self.part
        inputs = self.footprint.last_inputs(
            a0[few],
            b0[few],
            rest[few],
        )
        last = heights.copy()
        last[:, few] = counts @ inputs
        return heights, last

    def grid(self, block: Block) -> ArrayPair:
        """(W,) row tiles and column tiles of the tallest diagonal block, as published methods count them."""
        heights = self.footprint.histogram(block.channels) @ self.part_inputs  # (G', W)
        width = self.part_pixels * block.columns
        row_tiles = ceil(heights.max(axis=0), self.array.rows)
        return row_tiles, ceil(width, self.array.columns)

    def _strips(self, heights: Array, limit: Array) -> Array:
        """(W,) row strips of blocks (G', W) that differ from group to group, at most `limit` (W,) in each."""
        strips = np.zeros(len(self), int)
        for index in np.flatnonzero(limit).tolist():
            by_group = heights[:, index]
            lengths = np.repeat(by_group, self.copies[index])
            strips[index] = strip_count(
                lengths.tolist(),
                self.array.rows,
                int(limit[index]),
            )
        return strips


@lru_cache(maxsize=512)
def _rectangles(
    height: int,
    width: int,
    most: int,
) -> ArrayPair:
    """All (a, b) with a <= height, b <= width and a*b <= most, single pixel first."""
    tall = np.arange(1, min(height, most) + 1)
    widest = np.minimum(width, most // tall)  # of the windows of each height
    a = np.repeat(tall, widest)
    before = np.cumsum(widest) - widest  # windows of smaller heights
    first = np.repeat(before, widest)  # (W,) index of the first window of the same height
    b = np.arange(len(a)) - first + 1
    return _frozen(a, b)


@lru_cache(maxsize=512)
def _minimal_rectangles(
    height: int,
    width: int,
    most: int,
) -> ArrayPair:
    """The (a, b) of `_rectangles` with the least a for ceil(height/a) and the least b for ceil(width/b)."""
    grid = np.meshgrid(
        _minimal_sides(height),
        _minimal_sides(width),
        indexing="ij",
    )
    a = grid[0].ravel()
    b = grid[1].ravel()
    fits = a * b <= most
    return _frozen(a[fits], b[fits])


def _minimal_sides(size: int) -> Array:
    """The least side for each number of windows on a line of `size` pixels."""
    windows = np.arange(1, size + 1)
    sides = ceil(size, windows)[::-1]  # never falling
    # Each once; `np.unique` would import masked arrays, a tenth of the time of a short command.
    return sides[np.diff(sides, prepend=0) > 0]


def _frozen(a: Array, b: Array) -> ArrayPair:
    """Both, which a cache hands out again and again, so that nobody changes them."""
    a.setflags(write=False)
    b.setflags(write=False)
    return a, b
