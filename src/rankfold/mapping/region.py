"""`Region`: a rectangle of the output plane, the windows on it and the tiles they run through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.diagonal_blocks import ELEMENTS
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.stored import StoredMatrix
from rankfold.mapping.tile import Tile
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(frozen=True)
class Region:
    """Windows of one size on a rectangle of the output plane, for one block of channels.

    Attributes:
        footprint: the convolution and its kernel support.
        array: R x C.
        block: the channels whose products are summed here.
        origin: (y, x) of the rectangle's first output pixel.
        size: (height, width) of the rectangle in output pixels.
        window: (a, b) output pixels that one activation of all tiles yields.
        layout: `elements` (cut at any element) or `channels` (whole input and output channels, as VW-SDK).
        phase: (y, x) for a rectangle of the pixels `phase + k * footprint.spacing` of a dilated convolution,
            in whose numbers k origin, size and window then are; None: of all pixels.
        overflow: which of the window's rows are stored here, and for how many windows at once; None: all, for
            one.
    """

    footprint: Footprint
    array: ArraySpec
    block: Block
    origin: Pair
    size: Pair
    window: Pair
    _: KW_ONLY
    layout: str = ELEMENTS
    phase: Pair | None = None
    overflow: Overflow | None = None

    @property
    def windows(self) -> int:
        """Positions of the window."""
        height, width = self.size
        a, b = self.window
        down = -(-height // a)
        right = -(-width // b)
        return down * right

    @property
    def slots(self) -> int:
        """Windows that one activation serves."""
        if self.overflow is None:
            return 1
        return self.overflow.slots

    @property
    def activations(self) -> int:
        """Times that each tile is activated for an image."""
        return -(-self.windows // self.slots)

    @property
    def tile_count(self) -> int:
        """Stored tiles."""
        return self.stored.tile_count

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image."""
        return self.activations * self.tile_count

    @property
    def tile_grid(self) -> Pair:
        """Row tiles and column tiles of the (tallest) diagonal block of the stored matrix."""
        single = Windows.single(
            self._dense,
            self.array,
            self.window,
        )
        if self.layout == ELEMENTS:
            rows, columns = single.grid(self.block)
        else:
            rows, columns = WholeChannels.of(single).grid(self.block)
        return int(rows[0]), int(columns[0])

    @cached_property
    def stored(self) -> StoredMatrix:
        """What the arrays hold for this region; regions that agree in it use the same tiles."""
        return StoredMatrix(
            self._dense,
            self.array,
            self.block,
            self.window,
            self.layout,
            self.overflow,
        )

    def origins(self) -> Array:
        """(activations, slots, 2) output pixel (y, x) at which each window starts.

        The last windows of a line overlap those before them, and the last activation repeats a window in
        slots left over.
        """
        starts = np.meshgrid(
            self._starts(0),
            self._starts(1),
            indexing="ij",
        )
        every = np.stack(starts, axis=-1).reshape(-1, 2)  # (windows, 2)
        number = np.minimum(self._order(), self.windows - 1)
        return every[number]

    def kept(self, tile: Tile) -> Array:
        """(activations, c) booleans: whether a column's sum counts.

        Where windows overlap, the first one yields the pixel.
        """
        down = self._new(0, tile.col_y)  # (windows down, c)
        right = self._new(1, tile.col_x)  # (windows across, c)
        both = down[:, None] & right[None]  # (windows down, windows across, c)
        every = both.reshape(self.windows, tile.columns)
        order = self._order()[:, tile.col_slot]  # (activations, c)
        there = order < self.windows
        number = np.minimum(order, self.windows - 1)
        column = np.arange(tile.columns)
        return every[number, column] & there

    def tiles(self) -> Iterator[Tile]:
        """The stored tiles, made one by one; there are `tile_count`."""
        if self.phase is None:
            yield from self.stored.tiles()
            return
        # From inputs and pixels of the phase to those of the layer.
        stride = self.footprint.shape.stride
        dense_stride = self._dense.shape.stride
        down, right = self._spacing
        y = stride[0] * down // dense_stride[0]
        x = stride[1] * right // dense_stride[1]
        for tile in self.stored.tiles():
            yield replace(
                tile,
                footprint=self.footprint,
                row_y=tile.row_y * y,
                row_x=tile.row_x * x,
                col_y=tile.col_y * down,
                col_x=tile.col_x * right,
            )

    def extents(self) -> Counter[Pair]:
        """How many stored tiles have r rows and c columns in use, by (r, c), counted without making them."""
        return self.stored.extents()

    def _starts(self, axis: int) -> Array:
        """(windows,) first output pixel of each window along one axis."""
        size = self.size[axis]
        step = self.window[axis]
        # The last window is moved back into the rectangle where it would reach beyond.
        wanted = np.arange(0, size, step)
        within = np.minimum(wanted, size - step)
        starts = within + self.origin[axis]
        if self.phase is None:
            return starts
        # From pixels of the phase to those of the layer.
        return starts * self._spacing[axis] + self.phase[axis]

    def _new(self, axis: int, pixel: Array) -> Array:
        """(windows, c) booleans: no window before yields these pixels (c,) of a window, along one axis."""
        size = self.size[axis]
        step = self.window[axis]
        # A window that would reach beyond the rectangle is moved back over the one before.
        wanted = np.arange(0, size, step)[:, None]  # (windows, 1)
        start = np.minimum(wanted, size - step)
        return start + pixel // self._spacing[axis] >= wanted

    def _order(self) -> Array:
        """(activations, slots) numbers of the windows, line by line; the last may be more than there are."""
        numbers = np.arange(self.activations * self.slots)
        return numbers.reshape(self.activations, self.slots)

    @property
    def _spacing(self) -> Pair:
        if self.phase is None:
            return 1, 1
        return self.footprint.spacing

    @cached_property
    def _dense(self) -> Footprint:
        """The convolution whose neighbouring pixels the window holds."""
        if self.phase is None:
            return self.footprint
        return self.footprint.spaced()
