"""`Tile`: what one array stores, which inputs drive its rows, which outputs its columns hold."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.footprint import Footprint

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Tile:
    """One stored array: r rows x c columns, each of which holds at least one weight.

    Rows are inputs, relative to the window: with the window's first output pixel at (oy, ox), row i is driven
    by input channel `row_channel[i]` at `(oy*stride + row_y[i] - padding_top, ox*stride + row_x[i] -
    padding_left)`, which reads 0 outside the feature map. Column j adds to output channel `col_channel[j]` at
    `(oy + col_y[j], ox + col_x[j])`. A tile that serves several windows at once has a diagonal block, or
    slot, for each.

    Attributes:
        footprint: the convolution and its kernel support.
        row_channel: (r,) input channel of the convolution.
        row_y: (r,) row of the input under the window.
        row_x: (r,) column of the input under the window.
        row_slot: (r,) which of the windows it serves at once a row belongs to.
        col_channel: (c,) output channel of the convolution.
        col_y: (c,) row of the output pixel in the window.
        col_x: (c,) column of the output pixel in the window.
        col_slot: (c,) which of the windows it serves at once a column belongs to.
    """

    footprint: Footprint
    _: KW_ONLY
    row_channel: Array
    row_y: Array
    row_x: Array
    row_slot: Array
    col_channel: Array
    col_y: Array
    col_x: Array
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
        inputs = self.footprint.group_inputs
        outputs = self.footprint.group_outputs
        positions = shape.kernel[0] * shape.kernel[1]
        # (r, c): the kernel position that the cell's column lays on its row
        position = self.footprint.position(
            self.row_channel[:, None],
            (self.row_y[:, None], self.row_x[:, None]),
            (self.col_y, self.col_x),
        )
        row_group = self.row_channel // inputs
        col_group = self.col_channel // outputs
        # A cell holds a weight only where its row and its column are of one group, and of one window.
        joined = row_group[:, None] == col_group  # (r, c)
        joined &= self.row_slot[:, None] == self.col_slot
        # Weights before those that join a row's channel to a column's.
        before_row = self.row_channel % inputs * positions
        before_column = self.col_channel * (inputs * positions)
        first = before_row[:, None] + before_column
        return np.where(
            joined & (position >= 0),
            first + position,
            -1,
        )

    @property
    def weights(self) -> int:
        """Cells that hold a weight."""
        return int((self.weight_index >= 0).sum())

    def matrix(self, weight: Array) -> Array:
        """(r, c) cell values for a weight (m, C_in/G, kh, kw)."""
        flat = weight.reshape(-1)
        values = flat[self.weight_index]
        return np.where(self.weight_index >= 0, values, 0)
