"""VW-SDK's tiles: whole input channels in a row tile, whole output channels in a column tile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class WholeChannels:
    """The windows that hold at least one whole input channel and one whole output channel in an array.

    Rhe et al. (2022): IC_t = floor(R/(ph*pw)) channels per row tile, OC_t = floor(C/N) outputs per column tile. Groups
    that fit side by side share an array, as in every other mapping.

    Attributes:
        windows: those windows.
        inputs: (P, W) inputs of one channel that each window reads, by pattern of support.
    """

    windows: Windows
    inputs: Array

    @classmethod
    def of(cls, windows: Windows) -> WholeChannels:
        """The ones among `windows` that hold a whole channel."""
        inputs = windows.footprint.inputs(windows.a, windows.b)
        fits = (inputs.max(axis=0) <= windows.array.rows) & (windows.pixels <= windows.array.columns)
        kept = Windows(windows.footprint, windows.array, windows.a[fits], windows.b[fits])
        return cls(kept, inputs[:, fits])

    @classmethod
    def single(cls, footprint: Footprint, array: ArraySpec, window: Pair) -> WholeChannels:
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

    def grid(self, block: Block) -> tuple[Array, Array]:
        """(W,) row tiles and column tiles of one group, of the group with the most row tiles."""
        return self._row_tiles(block).max(axis=0), ceil(block.columns, self.outputs_per_tile)

    def tiles(self, block: Block) -> Array:
        """(W,) tiles of all groups."""
        row_tiles, column_tiles = self._row_tiles(block), ceil(block.columns, self.outputs_per_tile)
        groups = self.windows.footprint.shape.groups
        together = self.groups_per_tile(block)
        used = groups if len(row_tiles) == 1 else int((row_tiles > 0).any(axis=1).sum())
        each = row_tiles.sum(axis=0) * (groups if len(row_tiles) == 1 else 1) * column_tiles
        return np.where(together > 0, ceil(used, np.maximum(together, 1)), each)

    def groups_per_tile(self, block: Block) -> Array:
        """(W,) whole groups that share an array; 0 where one group needs more than an array."""
        array = self.windows.array
        tallest = (self.windows.footprint.histogram(block.channels) @ self.inputs).max(axis=0)
        return np.minimum(array.rows // np.maximum(tallest, 1), array.columns // (self.windows.pixels * block.columns))

    def runs(self, block: Block, group: int, window: int) -> list[Pair]:
        """Channels (start, stop) of each row tile of one group: as many whole channels as fit, those without inputs left out."""
        patterns = self.windows.footprint.pattern_of[group, block.channels[0] : block.channels[1]]
        rows = self.inputs[patterns, window].tolist()
        runs: list[list[int]] = []
        free = 0
        for channel, inputs in enumerate(rows, start=block.channels[0]):
            if inputs == 0:
                continue
            if not runs or inputs > free:
                runs.append([channel, channel])
                free = self.windows.array.rows
            runs[-1][1] = channel + 1
            free -= inputs
        return [(start, stop) for start, stop in runs]

    def _row_tiles(self, block: Block) -> Array:
        """(G', W) row tiles of each group; one row if the groups are alike."""
        channels = block.channels[1] - block.channels[0]
        if self.windows.footprint.mask is None:
            return ceil(channels, self.channels_per_tile)[None]
        groups = range(self.windows.footprint.shape.groups)
        found = [[len(self.runs(block, g, w)) for w in range(len(self.windows))] for g in groups]
        return np.array(found).reshape(len(groups), len(self.windows))
