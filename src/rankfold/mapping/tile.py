"""`Tile`: what one array stores, which inputs drive its rows, which outputs its columns hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.footprint import Footprint

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Tile:
    """One stored array: r rows x c columns, each of which holds at least one weight.

    Rows are inputs, relative to the window: with the window's first output pixel at (oy, ox), row i is driven by input
    channel `row_channel[i]` at `(oy*stride + row_y[i] - padding_top, ox*stride + row_x[i] - padding_left)`, which
    reads 0 outside the feature map. Column j adds to output channel `col_channel[j]` at `(oy + col_y[j], ox + col_x[j])`.
    A tile that serves several windows at once has a diagonal block, or slot, for each.

    Attributes:
        footprint: the convolution and its kernel support.
        row_channel: (r,) input channel of the convolution.
        row_y: (r,) row of the input under the window.
        row_x: (r,) column of the input under the window.
        col_channel: (c,) output channel of the convolution.
        col_y: (c,) row of the output pixel in the window.
        col_x: (c,) column of the output pixel in the window.
        row_slot: (r,) which of the windows it serves at once a row belongs to.
        col_slot: (c,) which of them a column belongs to.
    """

    footprint: Footprint
    row_channel: Array
    row_y: Array
    row_x: Array
    col_channel: Array
    col_y: Array
    col_x: Array
    row_slot: Array
    col_slot: Array

    @property
    def rows(self) -> int:
        """Rows driven."""
        return len(self.row_channel)

    @property
    def columns(self) -> int:
        """Columns read."""
        return len(self.col_channel)

    @cached_property
    def weight_index(self) -> Array:
        """(r, c) index into the weight (m, C_in/G, kh, kw) laid out flat, -1 where the cell holds zero."""
        shape = self.footprint.shape
        per_group = shape.in_channels // shape.groups
        position = self.footprint.position(
            self.row_channel[:, None], (self.row_y[:, None], self.row_x[:, None]), (self.col_y, self.col_x)
        )
        there = (self.row_channel // per_group)[:, None] == self.col_channel // (shape.m // shape.groups)
        there &= self.row_slot[:, None] == self.col_slot
        per_output = per_group * shape.kernel[0] * shape.kernel[1]
        first = (self.row_channel % per_group * shape.kernel[0] * shape.kernel[1])[:, None] + self.col_channel * per_output
        return np.where(there & (position >= 0), first + position, -1)

    @property
    def weights(self) -> int:
        """Cells that hold a weight."""
        return int((self.weight_index >= 0).sum())

    def matrix(self, weight: Array) -> Array:
        """(r, c) cell values for a weight (m, C_in/G, kh, kw)."""
        return np.where(self.weight_index >= 0, weight.reshape(-1)[self.weight_index], 0)
