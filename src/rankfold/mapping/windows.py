"""`Windows`: the tiles that windows need, cut element by element, counted for many windows at once."""

from __future__ import annotations

from collections.abc import Sequence
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

    def tiles_of_each(self, blocks: Sequence[Block]) -> Array:
        """(K, W) the same for each of K blocks of channels, counted together where there is no support."""
        if self.footprint.mask is not None:
            return np.stack([self.tiles(block) for block in blocks])
        channels = np.array([block.channels[1] - block.channels[0] for block in blocks])
        outputs = np.array([block.columns for block in blocks])
        if (outputs == outputs[0]).all():
            outputs = outputs[:1]  # all that depends on them alone is counted once
        return np.minimum(*self._layouts_alike(channels[:, None], outputs[:, None]))

    def layouts(self, block: Block) -> ArrayPair:
        """(W,) tiles of each window in both layouts of its diagonal blocks.

        A block is one group's matrix for one part of the window: rows are inputs in the order (channel, y,
        x), columns are (output channel, pixel). Row strips: blocks stacked by rows, each tile holds all
        columns of the blocks it touches; before that, columns are cut into chunks of C, whose last one needs
        only the rows its columns read. Column strips: blocks side by side, each tile holds all rows of the
        blocks it touches, which must fit into R.
        """
        counts = self.footprint.histogram(block.channels)  # (G', P)
        outputs = np.array([[block.columns]])
        if len(counts) > 1:
            return self._layouts_of_groups(counts, outputs)
        by_rows, by_columns = self._layouts_alike(counts, outputs)
        return by_rows[0], by_columns[0]

    def _layouts_alike(self, counts: Array, outputs: Array) -> ArrayPair:
        """(K, W) as `layouts` for K blocks of channels, the same in each group of the convolution.

        Args:
            counts: (K, P) input channels of each pattern.
            outputs: (K, 1) output channels, or (1, 1) where all blocks have the same.
        """
        rows = self.array.rows
        heights, last_heights = self._heights(counts, outputs)
        chunks, rest = np.divmod(self.part_pixels * outputs, self.array.columns)
        groups = self.footprint.shape.groups
        if groups == 1 and not any(self.footprint.apart):
            # One block: columns side by side are cut as the chunks are.
            by_rows = chunks * ceil(heights, rows) + (rest > 0) * ceil(last_heights, rows)
            return by_rows, np.full_like(by_rows, NEVER)
        blocks = groups * self.copies
        whole = blocks * chunks * ceil(heights, rows)  # tiles of whole chunks
        lines = np.maximum(last_heights, 1)
        last = equal_strips(blocks, lines, rows, self._limit(rest))
        return whole + last, self._side_by_side(blocks, heights, outputs)

    def _layouts_of_groups(self, counts: Array, outputs: Array) -> ArrayPair:
        """(W,) as `layouts` for one block of channels that differs from group to group.

        Args:
            counts: (G, P) input channels of each pattern in each group.
            outputs: (1, 1) output channels.
        """
        heights, last_heights = self._heights(counts, outputs)  # (G, W)
        read = heights.any(axis=1)  # groups without inputs are not stored
        heights = heights[read]
        chunks, rest = np.divmod(self.part_pixels * outputs[0], self.array.columns)  # (W,)
        row_tiles = ceil(heights, self.array.rows).sum(axis=0)
        whole = self.copies * chunks * row_tiles  # tiles of whole chunks
        last = self._strips(last_heights[read], self._limit(rest))
        blocks = len(heights) * self.copies
        return whole + last, self._side_by_side(blocks, heights.max(axis=0), outputs[0])

    def _limit(self, rest: Array) -> Array:
        """Blocks whose last chunks, of `rest` columns, lie side by side in a tile, each with its own."""
        return np.where(rest > 0, self.array.columns // np.maximum(rest, 1), 0)

    def _side_by_side(self, blocks: Array, tallest: Array, outputs: Array) -> Array:
        """Tiles of blocks that lie side by side, `NEVER` where the tallest one has more rows than a tile."""
        rows = self.array.rows
        stackable = rows // np.maximum(tallest, 1)  # blocks whose rows fit one above the other
        tiles = equal_strips(blocks, self.part_pixels * outputs, self.array.columns, stackable)
        return np.where(tallest <= rows, tiles, NEVER)

    def _heights(self, counts: Array, outputs: Array) -> ArrayPair:
        """(K, W) rows of each block, and of the columns of its last chunk.

        Args:
            counts: (K, P) input channels of each pattern.
            outputs: (K, 1) output channels, or (1, 1) where all blocks have the same.
        """
        heights = counts @ self.part_inputs  # (K, W)
        rest = self.part_pixels * outputs % self.array.columns
        # A chunk with as many columns as pixels holds every pixel, and reads all rows of the block.
        is_few = (rest > 0) & (rest < self.part_pixels)
        number, few = np.nonzero(is_few)
        if not len(few):
            return heights, heights
        a0, b0 = self.part
        inputs = self.footprint.last_inputs(a0[few], b0[few], rest[is_few])  # (P, cases)
        last = heights.copy()
        if len(rest) == 1:
            last[:, few] = counts @ inputs
        else:
            last[number, few] = (counts[number] * inputs.T).sum(axis=1)
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
        minimal_sides(height),
        minimal_sides(width),
        indexing="ij",
    )
    a = grid[0].ravel()
    b = grid[1].ravel()
    fits = a * b <= most
    return _frozen(a[fits], b[fits])


def minimal_sides(size: int) -> Array:
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
