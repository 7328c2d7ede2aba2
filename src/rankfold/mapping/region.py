"""`Region`: a rectangle of the output plane, the windows on it and the tiles they run through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.stored import ELEMENTS, StoredMatrix
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
        phase: (y, x) for a rectangle of the pixels `phase + k * footprint.spacing` of a dilated convolution, in whose
            numbers k origin, size and window then are; None: of all pixels.
        overflow: which of the window's rows are stored here, and for how many windows at once; None: all, for one.
    """

    footprint: Footprint
    array: ArraySpec
    block: Block
    origin: Pair
    size: Pair
    window: Pair
    layout: str = ELEMENTS
    phase: Pair | None = None
    overflow: Overflow | None = None

    @property
    def windows(self) -> int:
        """Positions of the window."""
        return -(-self.size[0] // self.window[0]) * -(-self.size[1] // self.window[1])

    @property
    def slots(self) -> int:
        """Windows that one activation serves."""
        return 1 if self.overflow is None else self.overflow.slots

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
        kind = Windows if self.layout == ELEMENTS else WholeChannels
        rows, columns = kind.single(self._dense, self.array, self.window).grid(self.block)
        return int(rows[0]), int(columns[0])

    @cached_property
    def stored(self) -> StoredMatrix:
        """What the arrays hold for this region; regions that agree in it use the same tiles."""
        return StoredMatrix(self._dense, self.array, self.block, self.window, self.layout, self.overflow)

    def origins(self) -> Array:
        """(activations, slots, 2) output pixel (y, x) at which each window starts.

        The last windows of a line overlap those before them, and the last activation repeats a window in slots left over.
        """
        starts = [
            (np.minimum(np.arange(0, size, step), size - step) + origin) * spacing + phase
            for origin, size, step, spacing, phase in zip(
                self.origin, self.size, self.window, self._spacing, self.phase or (0, 0), strict=True
            )
        ]
        every = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
        return every[np.minimum(self._order(), self.windows - 1)]

    def kept(self, tile: Tile) -> Array:
        """(activations, c) booleans: whether a column's sum counts. Where windows overlap, the first one yields the pixel."""
        axes = []
        for size, step, pixel, spacing in zip(self.size, self.window, (tile.col_y, tile.col_x), self._spacing, strict=True):
            wanted = np.arange(0, size, step)
            axes.append(np.minimum(wanted, size - step)[:, None] + pixel // spacing >= wanted[:, None])
        every = (axes[0][:, None] & axes[1][None]).reshape(self.windows, tile.columns)
        order = self._order()[:, tile.col_slot]
        return every[np.minimum(order, self.windows - 1), np.arange(tile.columns)] & (order < self.windows)

    def _order(self) -> Array:
        """(activations, slots) numbers of the windows, line by line; the last ones may be more than there are."""
        return np.arange(self.activations * self.slots).reshape(self.activations, self.slots)

    def tiles(self) -> Iterator[Tile]:
        """The stored tiles, made one by one; there are `tile_count`."""
        if self.phase is None:
            yield from self.stored.tiles()
            return
        # From inputs and pixels of the phase to those of the layer.
        shape, dense, (down, right) = self.footprint.shape, self._dense.shape, self._spacing
        y, x = shape.stride[0] * down // dense.stride[0], shape.stride[1] * right // dense.stride[1]
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

    @property
    def _spacing(self) -> Pair:
        return (1, 1) if self.phase is None else self.footprint.spacing

    @cached_property
    def _dense(self) -> Footprint:
        """The convolution whose neighbouring pixels the window holds."""
        return self.footprint if self.phase is None else self.footprint.spaced()
