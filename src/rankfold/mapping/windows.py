"""Tiles that windows need, counted for many windows at once: element-wise tiles, and VW-SDK's whole channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
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
        shape = footprint.shape
        return cls((0, shape.in_channels // shape.groups), (0, shape.m // shape.groups))

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
    def single(cls, footprint: Footprint, array: ArraySpec, window: Pair) -> Windows:
        """A list of one."""
        return cls(footprint, array, np.array([window[0]]), np.array([window[1]]))

    @classmethod
    def every(cls, footprint: Footprint, array: ArraySpec) -> Windows:
        """All windows of at most C pixels.

        Every window of the published methods is among them: VW-SDK's hold a whole output channel in C columns, and SDK's
        need no more column tiles than a single pixel does, ceil(N*m/C) <= ceil(m/C), so N <= C.
        """
        a, b = _rectangles(*footprint.shape.output, array.columns)
        return cls(footprint, array, a, b)

    @classmethod
    def minimal(cls, footprint: Footprint, array: ArraySpec) -> Windows:
        """The windows worth trying alone: no smaller one needs as few positions on the plane.

        A larger window of as many positions stores more and never needs fewer tiles.
        """
        a, b = _minimal_rectangles(*footprint.shape.output, array.columns)
        return cls(footprint, array, a, b)

    def __len__(self) -> int:
        return len(self.a)

    @cached_property
    def pixels(self) -> Array:
        """(W,) N = a * b."""
        return self.a * self.b

    @cached_property
    def part(self) -> tuple[Array, Array]:
        """(a0, b0): the part of each window whose pixels share inputs; the window is a diagonal of such parts."""
        return self.footprint.joined(self.a, self.b)

    @cached_property
    def part_inputs(self) -> Array:
        """(P, W) inputs of one channel that such a part reads, by pattern of support."""
        return self.footprint.inputs(*self.part)

    def count(self, height: int, width: int) -> Array:
        """(W,) positions of each window on a height x width plane; those at the far edges overlap the ones before."""
        return ceil(height, self.a) * ceil(width, self.b)

    def tiles(self, block: Block) -> Array:
        """(W,) tiles of the stored matrix of each window, cut element by element."""
        return np.minimum(*self.layouts(block))

    def layouts(self, block: Block) -> tuple[Array, Array]:
        """(W,) tiles of each window in both layouts of its diagonal blocks.

        A block is one group's matrix for one part of the window: rows are inputs in the order (channel, y, x), columns are
        (output channel, pixel). Row strips: blocks stacked by rows, each tile holds all columns of the blocks it touches;
        before that, columns are cut into chunks of C, whose last one needs only the rows its columns read. Column strips:
        blocks side by side, each tile holds all rows of the blocks it touches, which must fit into R.
        """
        heights, last_heights = self.heights(block)
        a0, b0 = self.part
        copies = self.pixels // (a0 * b0)
        width = a0 * b0 * block.columns
        rows, columns = self.array.rows, self.array.columns
        chunks, rest = width // columns, width % columns
        limit = np.where(rest > 0, columns // np.maximum(rest, 1), 0)
        groups = self.footprint.shape.groups
        if groups == 1 and not any(self.footprint.apart):
            # One block: columns side by side are cut as the chunks are.
            by_rows = chunks * ceil(heights[0], rows) + np.where(rest > 0, ceil(last_heights[0], rows), 0)
            return by_rows, np.full_like(by_rows, NEVER)
        if len(heights) == 1:
            blocks = groups * copies
            by_rows = blocks * chunks * ceil(heights[0], rows) + equal_strips(blocks, np.maximum(last_heights[0], 1), rows, limit)
            tallest = heights[0]
        else:
            heights, last_heights = heights[heights.any(axis=1)], last_heights[heights.any(axis=1)]
            by_rows = copies * chunks * ceil(heights, rows).sum(axis=0)
            for i in np.flatnonzero(limit).tolist():
                lengths = np.repeat(last_heights[:, i], copies[i]).tolist()
                by_rows[i] += strip_count(lengths, rows, int(limit[i]))
            blocks, tallest = len(heights) * copies, heights.max(axis=0)
        by_columns = equal_strips(blocks, width, columns, rows // np.maximum(tallest, 1))
        return by_rows, np.where(tallest <= rows, by_columns, NEVER)

    def heights(self, block: Block) -> tuple[Array, Array]:
        """(G', W) rows of a block, and of its last columns where those are not a whole chunk; G' is 1 for equal groups."""
        counts = self.footprint.histogram(block.channels)
        heights = counts @ self.part_inputs
        a0, b0 = self.part
        part = a0 * b0
        rest = part * block.columns % self.array.columns
        few = np.flatnonzero((rest > 0) & (rest < part))
        if not len(few):
            return heights, heights
        last = heights.copy()
        last[:, few] = counts @ self.footprint.last_inputs(a0[few], b0[few], rest[few])
        return heights, last

    def grid(self, block: Block) -> tuple[Array, Array]:
        """(W,) row tiles and column tiles of the tallest diagonal block, as the published methods count them."""
        a0, b0 = self.part
        tallest = (self.footprint.histogram(block.channels) @ self.part_inputs).max(axis=0)
        return ceil(tallest, self.array.rows), ceil(a0 * b0 * block.columns, self.array.columns)


@lru_cache(maxsize=512)
def _rectangles(height: int, width: int, most: int) -> tuple[Array, Array]:
    """All (a, b) with a <= height, b <= width and a*b <= most, single pixel first."""
    tall = np.arange(1, min(height, most) + 1)
    wide = np.minimum(width, most // tall)
    a = np.repeat(tall, wide)
    b = np.arange(len(a)) - np.repeat(np.cumsum(wide) - wide, wide) + 1
    a.setflags(write=False)
    b.setflags(write=False)
    return a, b


@lru_cache(maxsize=512)
def _minimal_rectangles(height: int, width: int, most: int) -> tuple[Array, Array]:
    """The (a, b) of `_rectangles` with the least a for ceil(height/a) and the least b for ceil(width/b)."""
    tall, wide = (np.unique(ceil(size, np.arange(1, size + 1))) for size in (height, width))
    a, b = (axis.ravel() for axis in np.meshgrid(tall, wide, indexing="ij"))
    fits = a * b <= most
    a, b = a[fits], b[fits]
    a.setflags(write=False)
    b.setflags(write=False)
    return a, b
