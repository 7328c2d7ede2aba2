"""VW-SDK's tiles: whole input channels in a row tile, whole output channels in a column tile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import ArrayPair, Footprint
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class WholeChannels:
    """The windows that hold at least one whole input channel and one whole output channel in an array.

    Rhe et al. (2022): IC_t = floor(R/(ph*pw)) channels per row tile, OC_t = floor(C/N) outputs per column
    tile. Groups that fit side by side share an array, as in every other mapping.

    Attributes:
        windows: those windows.
        inputs: (P, W) inputs of one channel that each window reads, by pattern of support.
    """

    windows: Windows
    inputs: Array

    @classmethod
    def of(cls, windows: Windows) -> WholeChannels:
        """The ones among `windows` that hold a whole channel."""
        footprint, array = windows.footprint, windows.array
        inputs = footprint.inputs(windows.a, windows.b)  # (P, W)
        rows_fit = inputs.max(axis=0) <= array.rows
        columns_fit = windows.pixels <= array.columns
        fits = rows_fit & columns_fit
        fitting = Windows(
            footprint,
            array,
            windows.a[fits],
            windows.b[fits],
        )
        return cls(fitting, inputs[:, fits])

    @classmethod
    def single(
        cls,
        footprint: Footprint,
        array: ArraySpec,
        window: Pair,
    ) -> WholeChannels:
        """A list of one."""
        return cls.of(Windows.single(footprint, array, window))

    @cached_property
    def channels_per_tile(self) -> Array:
        """(W,) IC_t, for channels without a support."""
        return self.windows.array.rows // self.inputs[0]

    @cached_property
    def outputs_per_tile(self) -> Array:
        """(W,) OC_t."""
        return self.windows.array.columns // self.windows.pixels

    def grid(self, block: Block) -> ArrayPair:
        """(W,) row tiles and column tiles of one group, of the group with the most row tiles."""
        row_tiles = self._row_tiles(block).max(axis=0)
        column_tiles = ceil(block.columns, self.outputs_per_tile)
        return row_tiles, column_tiles

    def tiles(self, block: Block) -> Array:
        """(W,) tiles of all groups."""
        row_tiles = self._row_tiles(block)  # (G', W)
        column_tiles = ceil(block.columns, self.outputs_per_tile)  # (W,)
        groups = self.windows.footprint.shape.groups
        if len(row_tiles) == 1:
            used = groups
            all_row_tiles = row_tiles[0] * groups
        else:
            used = int((row_tiles > 0).any(axis=1).sum())
            all_row_tiles = row_tiles.sum(axis=0)
        # Groups that fit share arrays; otherwise each has row tiles times column tiles of its own.
        together = self.groups_per_tile(block)
        return np.where(
            together > 0,
            ceil(used, np.maximum(together, 1)),
            all_row_tiles * column_tiles,
        )

    def groups_per_tile(self, block: Block) -> Array:
        """(W,) whole groups that share an array; 0 where one group needs more than an array."""
        array = self.windows.array
        channels = self.windows.footprint.histogram(block.channels)  # (G', P)
        heights = channels @ self.inputs  # (G', W)
        tallest = np.maximum(heights.max(axis=0), 1)
        width = self.windows.pixels * block.columns  # (W,) columns of a group
        return np.minimum(array.rows // tallest, array.columns // width)

    def runs(
        self,
        block: Block,
        group: int,
        window: int,
    ) -> list[Pair]:
        """Channels (start, stop) of each row tile of one group: as many whole channels as fit.

        Channels without inputs are omitted where a run would start with them.
        """
        start, stop = block.channels
        patterns = self.windows.footprint.pattern_of[group, start:stop]
        rows = self.inputs[patterns, window].tolist()  # of each channel
        runs: list[list[int]] = []
        free = 0  # rows of the last tile
        for channel, inputs in enumerate(rows, start=start):
            if inputs == 0:
                continue
            if not runs or inputs > free:
                runs.append([channel, channel])
                free = self.windows.array.rows
            runs[-1][1] = channel + 1
            free -= inputs
        return [(first, last) for first, last in runs]

    def _row_tiles(self, block: Block) -> Array:
        """(G', W) row tiles of each group; one row if the groups are alike."""
        footprint = self.windows.footprint
        if footprint.mask is None:
            channels = block.channels[1] - block.channels[0]
            return ceil(channels, self.channels_per_tile)[None]
        groups = footprint.shape.groups
        row_tiles = np.zeros((groups, len(self.windows)), int)
        for group in range(groups):
            for window in range(len(self.windows)):
                runs = self.runs(block, group, window)
                row_tiles[group, window] = len(runs)
        return row_tiles
