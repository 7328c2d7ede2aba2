"""`Mapping`: a convolution on an array under one of the methods, as `mapping.layer` makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.region import Region
from rankfold.mapping.stored import StoredMatrix
from rankfold.mapping.tile import Tile
from rankfold.mapping.window_matrix import WindowMatrix
from rankfold.notebooks import Shown, in_brackets
from rankfold.workload.shape import ConvShape, Pair


@dataclass(frozen=True)
class Mapping(Shown):
    """A convolution on an array: regions of its output plane, each with windows and tiles.

    Attributes:
        shape: the convolution.
        array: the array.
        method: one of `MAPPINGS`, the name of a window such as `4x8`, or `one-window` for a stage of a
            low-rank pair.
        regions: for each block of channels, rectangles that cover the output plane exactly once; the main one
            first.
        weights: how many weights the layer keeps, without the zeros of its shape; None: all that its support
            keeps.
        kept: the support, where tiles store zeros at the positions that it drops; None: what the tiles store.
        matrix: where the shape's outputs are whole windows of another layer, which these are; None: they are
            its own pixels.
    """

    shape: ConvShape
    array: ArraySpec
    method: str
    regions: tuple[Region, ...]
    weights: int | None = None
    kept: Footprint | None = None
    matrix: WindowMatrix | None = None

    def __repr__(self) -> str:
        height, width = self.window
        drawn = f"{self.method} on {self.array}, window {height}x{width}"
        counts = f"{self.tile_count:,} arrays, {self.cycles:,} cycles"
        return in_brackets("Mapping", f"of {self.shape.name}: {drawn}, {counts}")

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices: this one alone, as a low-rank pair has two."""
        return (self,)

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image."""
        return sum(region.cycles for region in self.regions)

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs per image: each column in use, each time its tile is activated."""
        conversions = 0
        for stored, activations in self.loads:
            conversions += stored.columns_read * activations
        return conversions

    @property
    def window(self) -> Pair:
        """(a, b) output pixels of the main window."""
        if self.matrix is not None:
            return self.matrix.window
        return self.regions[0].window

    @property
    def windows(self) -> int:
        """Positions of windows, over all regions."""
        return sum(region.windows for region in self.regions)

    @property
    def row_tiles(self) -> int:
        """Row tiles of the main region, of one diagonal block of its stored matrix (the tallest)."""
        return self.regions[0].tile_grid[0]

    @property
    def column_tiles(self) -> int:
        """Column tiles of the main region, of one diagonal block of its stored matrix."""
        return self.regions[0].tile_grid[1]

    @property
    def loads(self) -> tuple[tuple[StoredMatrix, int], ...]:
        """Each stored matrix and the activations of each of its tiles per image.

        Several regions may use the same one.
        """
        activations: Counter[StoredMatrix] = Counter()
        for region in self.regions:
            activations[region.stored] += region.activations
        return tuple(activations.items())

    @property
    def tile_count(self) -> int:
        """Stored tiles, each with at least one weight."""
        return sum(stored.tile_count for stored, _ in self.loads)

    @property
    def support(self) -> np.ndarray | None:
        """(C_in, kh*kw) booleans, the kernel positions in use; None: all."""
        channels = self.shape.in_channels
        if self.kept is not None:
            return self.kept.support.reshape(channels, -1)
        supports = []
        for footprint in {region.footprint for region in self.regions}:
            if footprint.mask is None:
                return None
            supports.append(footprint.support)
        used = np.logical_or.reduce(supports)
        return used.reshape(channels, -1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image with the weights that the layer keeps."""
        if self.weights is not None:
            height, width = self.shape.output
            return self.weights * height * width
        if self.kept is not None:
            return self.kept.macs
        return self.regions[0].footprint.macs

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping can beat, ceil(multiply-accumulates / (R * C))."""
        return -(-self.macs // self.array.cells)

    @property
    def over_bound(self) -> float:
        """Cycles over the lower bound, 1 or more; 1 proves that no mapping needs fewer."""
        return self.cycles / self.lower_bound

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates over cells times cycles, 0 to 1."""
        return self.macs / (self.array.cells * self.cycles)

    def tiles(self) -> Iterator[tuple[Region, Tile]]:
        """The tiles of each region, made one by one; a tile that several regions use comes once for each."""
        for region in self.regions:
            for tile in region.tiles():
                yield region, tile
