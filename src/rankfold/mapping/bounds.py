"""Cycles that blocks of channels cost at least, whatever windows cut the plane, from the size of matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows

Array = np.ndarray

# Elements of the arrays that bounds are computed in at once: these stay in the processor's cache.
AT_ONCE = 1 << 15
# Fractions that make up a whole number may come out above it by less than this.
ROUNDING = 1e-6


# A lower bound of the tiles of `Windows.layouts`, without its strips. Of one window, with h rows and p*m
# columns in each of its q diagonal blocks on an R x C array:
#
# Stacked, a block has floor(p*m/C) chunks of C columns, each of ceil(h/R) tiles of its own. Of the rest
# of s = p*m mod C columns, one tile holds those of k = floor(C/s) blocks at most, and R rows. So the q
# blocks need
#
#     q/k tiles at least, as each is touched by one;
#     q*h/R tiles at least, where s >= p: then the rest reads all h rows (otherwise they may be fewer);
#     q*ceil(h/R) tiles, where besides k = 1, as then no two blocks share a tile.
#
# Side by side, which only blocks with h <= R can lie, one tile holds C columns and touches l = floor(R/h)
# blocks at most: the q blocks need q*p*m/C and q/l tiles at least, and q*ceil(p*m/C) where l = 1.
#
# The cheaper layout counts, rounded up, as tiles are whole. One block, q = 1, needs ceil(h/R) tiles for each
# chunk and, where s >= p, for the rest; one more tile for a shorter rest. Side by side it needs no fewer:
# with h <= R that are ceil(p*m/C) either way.
#
# Windows that cover a plane of H*W pixels, whatever their sizes, have H*W pixels in all or more, each of
# which costs as much as in the thriftiest window or more: the tiles of that window over its p*q pixels. So no
# cutting of the plane needs fewer than H*W times that many cycles, rounded up. The bound only decides which
# cuts are searched; no cut that saves cycles is ever missed.
@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower bounds for the windows of one convolution without groups, K blocks of channels at a time.

    No count falls where a block gets rows or columns: more channels never have a lower bound.

    Attributes:
        windows: the windows that may be used.
    """

    windows: Windows

    def of_inputs(self, every: Block, sizes: Array) -> Array:
        """(K,) cycles at least of K numbers of input channels without a support, and all outputs."""
        part, copies, inputs = self._distinct
        return self._in_steps(sizes[:, None] * inputs, part, copies, np.array([[every.columns]]))

    def of_outputs(self, every: Block, sizes: Array) -> Array:
        """(K,) cycles at least of K numbers of output channels, and all inputs."""
        windows = self.windows
        if windows.footprint.mask is None:
            part, copies, inputs = self._distinct
            heights = every.channels[1] * inputs[None]  # (1, W')
            return self._in_steps(heights, part, copies, sizes[:, None])
        heights = windows.footprint.histogram(every.channels) @ windows.part_inputs  # (1, W)
        return self._in_steps(heights, windows.part_pixels, windows.copies, sizes[:, None])

    def of_heights(self, every: Block, heights: Array) -> Array:
        """(K,) cycles at least of K blocks with all outputs, whose matrices have (K, W) rows."""
        columns = np.array([[every.columns]])
        return self._in_steps(heights, self.windows.part_pixels, self.windows.copies, columns)

    @cached_property
    def _distinct(self) -> tuple[Array, Array, Array]:
        """Pixels of a part, parts, and inputs of a part's channel, of windows that differ in the first two.

        Of windows that agree in them the one with the fewest inputs counts: more never have a lower bound.
        Where pixels read apart, all parts are one pixel, which stands for all windows.
        """
        windows = self.windows
        by_window = windows.part_inputs[0]
        order = np.lexsort((by_window, windows.copies, windows.part_pixels))
        part = windows.part_pixels[order]
        copies = windows.copies[order]
        inputs = by_window[order]
        other_part = part[1:] != part[:-1]
        other_copies = copies[1:] != copies[:-1]
        first = np.ones(len(order), bool)
        first[1:] = other_part | other_copies  # of those with the same part and copies
        copies = copies[first]
        if part[-1] == 1:
            return part[:1], copies, inputs[:1]
        return part[first], copies, inputs[first]

    def _in_steps(self, heights: Array, part: Array, copies: Array, outputs: Array) -> Array:
        """(K,) cycles that K blocks of channels cost at least: the best window's a pixel, times all pixels.

        Args:
            heights: (K, W) or (1, W) rows of a block of each window's matrix; one column where all agree.
            part: (W,) pixels of the part of a window that shares inputs; one where all agree.
            copies: (W,) such parts in a window.
            outputs: (K, 1) or (1, 1) output channels of each block.
        """
        blocks = max(len(heights), len(outputs))
        step = max(1, AT_ONCE // len(copies))
        bounds = [np.zeros(0, int)]
        for start in range(0, blocks, step):
            some = slice(start, start + step)
            bounds.append(self._cycles(_rows(heights, some), part, copies, _rows(outputs, some)))
        return np.concatenate(bounds)

    def _cycles(self, heights: Array, part: Array, copies: Array, outputs: Array) -> Array:
        """(K,) as `_in_steps`, all at once."""
        block_width = part * outputs  # p*m, (K, W) or (1, W) where all blocks are alike
        if copies.max() == 1:
            tiles = self._tiles_of_one(heights, part, block_width)
        else:
            of_block = self._shares(heights, part, block_width)
            tiles = np.ceil(copies * of_block - ROUNDING)
        by_window = tiles / (part * copies)
        per_pixel = by_window.min(axis=1)  # (K,)
        height, width = self.windows.output
        cycles = np.ceil(height * width * per_pixel - ROUNDING)
        return cycles.astype(int)

    def _tiles_of_one(self, heights: Array, part: Array, block_width: Array) -> Array:
        """(K, W) tiles of one diagonal block."""
        chunks, rest = np.divmod(block_width, self.windows.array.columns)
        reads_all = rest >= part
        reads_some = (rest > 0) & ~reads_all
        tiles: Array = (chunks + reads_all) * ceil(heights, self.windows.array.rows) + reads_some
        return tiles

    def _shares(self, heights: Array, part: Array, block_width: Array) -> Array:
        """(K, W) tiles of each of several diagonal blocks, which share some, in fractions."""
        rows = self.windows.array.rows
        columns = self.windows.array.columns
        chunks, rest = np.divmod(block_width, columns)  # rest: s
        side_by_side = columns // np.maximum(rest, 1)  # k
        row_tiles = ceil(heights, rows)
        by_rows = np.where(
            side_by_side == 1,
            row_tiles,
            heights / rows,
        )
        by_rows = np.where(rest >= part, by_rows, 0)
        by_blocks = np.where(
            rest > 0,
            1 / side_by_side,
            0,
        )
        # Both are zero where nothing is left of the columns.
        last = np.maximum(by_blocks, by_rows)
        stacked = chunks * row_tiles + last
        stackable = rows // np.maximum(heights, 1)  # l
        by_columns = block_width / columns
        by_touch = 1 / np.maximum(stackable, 1)
        beside = np.where(
            stackable == 1,
            ceil(block_width, columns),
            np.maximum(by_columns, by_touch),
        )
        return np.where(
            heights > rows,
            stacked,
            np.minimum(stacked, beside),
        )


def _rows(values: Array, rows: slice) -> Array:
    """These rows of a matrix, or its only row, which stands for all."""
    if len(values) == 1:
        return values
    return values[rows]
