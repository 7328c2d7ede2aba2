"""`DiagonalBlocks`: the blocks that a window's matrix is made of, and the lines and columns of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.strips import Piece
from rankfold.mapping.windows import Block
from rankfold.workload.shape import Pair

Array = np.ndarray
Lines = tuple[Array, Array, Array]  # channel, y, x
ELEMENTS, CHANNELS = "elements", "channels"


@dataclass(frozen=True)
class DiagonalBlocks:
    """SDK(W) of one window and one block of channels, not cut into tiles yet.

    The matrix is block-diagonal: a block for each group of the convolution and, where neighbouring pixels
    read no input in common, for each pixel. Lines are its rows, ordered by (channel, y, x) but with an
    overflow; columns are ordered by (output channel, pixel).

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
    def pixels(self) -> int:
        """N0, the pixels of a diagonal block."""
        return self.part[0] * self.part[1]

    @cached_property
    def width(self) -> int:
        """Columns of a diagonal block."""
        return self.pixels * self.block.columns

    @cached_property
    def slots(self) -> int:
        """Windows that share the tiles."""
        if self.overflow is None:
            return 1
        return self.overflow.slots

    @cached_property
    def copies(self) -> int:
        """Diagonal blocks of each group."""
        pixels = self.window[0] * self.window[1]
        return pixels // self.pixels * self.slots

    @cached_property
    def used_groups(self) -> Array:
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
        for group in self.used_groups.tolist():
            for corner in corners:
                blocks.append((group, corner))
        return tuple(blocks) * self.slots

    def inputs(self, last: int) -> Array:
        """(P,) inputs of one channel that the last pixels of a diagonal block read, by pattern of support."""
        a = np.array([self.part[0]])
        b = np.array([self.part[1]])
        if last == self.pixels:
            return self.footprint.inputs(a, b)[:, 0]
        return self.footprint.last_inputs(a, b, np.array([last]))[:, 0]

    def heights(self, last: int) -> Sequence[int]:
        """Lines of each diagonal block that the last pixels of it read."""
        inputs = self.inputs(last)
        heights = self.footprint.histogram(self.block.channels) @ inputs  # (G',)
        if len(heights) == 1:
            blocks = len(self.used_groups) * self.copies
            return [int(heights[0])] * blocks
        return np.repeat(heights[self.used_groups], self.copies).tolist()

    def reads(self, pixels: Array, piece: Piece) -> tuple[Lines, Array]:
        """Some lines of a block, and which pixels of it read each.

        Args:
            pixels: those of the block whose inputs are its lines (`Grid.pixels`).
            piece: the block, the first line, and the line after the last.

        Returns:
            (channel, y, x) of each line under the window, and (lines, pixels) booleans.
        """
        number, first, last = piece
        group, _ = self.blocks[number]
        if self.overflow is None:
            lines = self._lines(pixels, group)
        else:
            lines = self._lines_by_place
        channel, y, x = (line[first:last] for line in lines)  # (lines,) each
        channel = channel + group * self.footprint.group_inputs + self.block.channels[0]
        # (lines, pixels)
        position = self.footprint.position(
            channel[:, None],
            (y[:, None], x[:, None]),
            np.divmod(np.arange(self.pixels), self.part[1]),
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
        channel, y, x = self._lines(np.arange(self.pixels), 0)
        order = np.lexsort((channel, x, y))
        if self.overflow is not None and self.overflow.axis == 1:
            order = np.lexsort((channel, y, x))
        return channel[order], y[order], x[order]
