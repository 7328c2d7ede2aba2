"""`Mapping`: a convolution on an array under one of the methods, and `map_layer`, which makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.best import BestSearch
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.overflow import search_overflow
from rankfold.mapping.region import Region
from rankfold.mapping.stored import CHANNELS, StoredMatrix
from rankfold.mapping.tetris import TetrisSearch
from rankfold.mapping.tile import Tile
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import ConvShape, Pair

METHODS = ("im2col", "sdk", "vw-sdk", "tetris-sdk", "best")
ONE_WINDOW, SPACED = "one-window", "spaced"


@dataclass(frozen=True)
class Mapping:
    """A convolution on an array: regions of its output plane, each with windows and tiles.

    Attributes:
        shape: the convolution.
        array: the array.
        method: one of `METHODS`, or `one-window` for a stage of a low-rank pair.
        regions: for each block of channels, rectangles that cover the output plane exactly once; the main one first.
        weights: how many weights the layer keeps; None: all that its support keeps.
    """

    shape: ConvShape
    array: ArraySpec
    method: str
    regions: tuple[Region, ...]
    weights: int | None = None

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
        """Columns converted by ADCs per image: one for each column in use, each time its tile is activated."""
        return sum(stored.columns_read * times for stored, times in self.loads)

    @property
    def window(self) -> Pair:
        """(a, b) output pixels of the main window."""
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
        """Each stored matrix and the activations of each of its tiles per image; several regions may use the same one."""
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
        footprints = {region.footprint for region in self.regions}
        if any(footprint.mask is None for footprint in footprints):
            return None
        used = np.logical_or.reduce([footprint.support for footprint in footprints])
        return used.reshape(self.shape.in_channels, -1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image with the weights that are stored."""
        if self.weights is None:
            return self.regions[0].footprint.macs
        return self.weights * self.shape.output[0] * self.shape.output[1]

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


def map_layer(shape: ConvShape, array: ArraySpec, method: str, support: np.ndarray | None = None) -> Mapping:
    """Map a convolution onto an array.

    Args:
        shape: any convolution; the padding counts as part of the input.
        array: R x C, columns counted in weights.
        method: `im2col` (one pixel at a time), `sdk` (square windows, Zhang et al. 2020), `vw-sdk` (any window, whole
            channels per tile, Rhe et al. 2022), `tetris-sdk` (windows of their own for margins and left-over channels,
            Dong et al. 2024) or `best` (the search of docs/mapping.md, never worse than the others).
        support: (C_in, kh*kw) booleans, the kernel positions of each input channel that any output uses; None: all. An
            input that no used position of a window reads takes no row.

    Raises:
        InputError: unknown method, or a support that does not fit the layer.
    """
    if method not in METHODS:
        raise InputError(f"mapping (={method}) must be one of {', '.join(METHODS)}")
    return _map(shape, array, method, support)


def map_one_window(shape: ConvShape, array: ArraySpec, support: np.ndarray | None = None) -> Mapping:
    """Map a convolution with the one window, the same on the whole plane, that needs the fewest cycles.

    Tiles are cut element by element. Arguments and errors as `map_layer`.
    """
    return _map(shape, array, ONE_WINDOW, support)


def map_with_window(shape: ConvShape, array: ArraySpec, window: Pair, support: np.ndarray | None = None) -> Mapping:
    """Map a convolution with a given window, the same on the whole plane, with tiles cut element by element.

    Raises:
        InputError: the window is larger than the output plane or has more than C pixels, or the support does not fit the layer.
    """
    inside = all(1 <= pixels <= size for pixels, size in zip(window, shape.output, strict=True))
    if not inside or window[0] * window[1] > array.columns:
        raise InputError(
            f"layer {shape.name}: window (={window[0]}x{window[1]}) must lie within {shape.output[0]}x{shape.output[1]} outputs "
            f"and have at most {array.columns} pixels, one for each column"
        )
    return Mapping(shape, array, ONE_WINDOW, (_cover(Footprint.of(shape, support), array, window),))


def _map(shape: ConvShape, array: ArraySpec, method: str, support: np.ndarray | None) -> Mapping:
    # A name does not change a mapping: layers of equal shape share one cache entry.
    footprint = Footprint.of(shape, support)
    footprint = Footprint(shape.anonymous, footprint.mask)
    return Mapping(shape, array, method, _regions(footprint, array, method))


def clear_cache() -> None:
    """Forget all mappings found so far, as benchmarks need."""
    _regions.cache_clear()


@lru_cache(maxsize=8192)
def _regions(footprint: Footprint, array: ArraySpec, method: str) -> tuple[Region, ...]:
    if method == "im2col":
        return (_cover(footprint, array, (1, 1)),)
    if method == "sdk":
        return (_cover(footprint, array, _square(footprint, array)),)
    if method == "best":
        return _best(Windows.every(footprint, array))
    if method == "tetris-sdk":
        return _whole_channels(Windows.every(footprint, array), method)
    if method == SPACED:
        return _spaced(footprint, array)
    windows = Windows.minimal(footprint, array)
    if method == ONE_WINDOW:
        cycles = windows.count(*footprint.shape.output) * windows.tiles(Block.whole(footprint))
        index = int(cycles.argmin())
        return (_cover(footprint, array, (int(windows.a[index]), int(windows.b[index]))),)
    return _whole_channels(windows, method)


def _cover(footprint: Footprint, array: ArraySpec, window: Pair) -> Region:
    return Region(footprint, array, Block.whole(footprint), (0, 0), footprint.shape.output, window)


def _square(footprint: Footprint, array: ArraySpec) -> Pair:
    """SDK: the largest square window that needs no more row tiles, column tiles and tiles in all than im2col does.

    The third follows from the other two without groups; with groups, larger blocks could share fewer arrays.
    """
    sides = np.arange(1, min(footprint.shape.output) + 1)
    sides = sides[sides**2 <= array.columns]
    windows = Windows(footprint, array, sides, sides)
    block = Block.whole(footprint)
    within = np.ones(len(sides), bool)
    for count in (*windows.grid(block), windows.tiles(block)):
        within &= count <= count[0]
    side = int(sides[within][-1])
    return side, side


def _whole_channels(windows: Windows, method: str) -> tuple[Region, ...]:
    """VW-SDK or Tetris-SDK. Where no window saves cycles, the layer stays im2col, as in the published algorithm."""
    footprint, array = windows.footprint, windows.array
    im2col = _regions(footprint, array, "im2col")
    whole = WholeChannels.of(windows)
    if not len(whole.windows):
        return im2col
    if method == "tetris-sdk":
        cycles, regions = TetrisSearch(whole).solve()
    else:
        block, size = Block.whole(footprint), footprint.shape.output
        each = whole.windows.count(*size) * whole.tiles(block)
        index = int(each.argmin())
        window = int(whole.windows.a[index]), int(whole.windows.b[index])
        cycles, regions = int(each[index]), [Region(footprint, array, block, (0, 0), size, window, CHANNELS)]
    return tuple(regions) if cycles < im2col[0].cycles else im2col


def _best(windows: Windows) -> tuple[Region, ...]:
    """The search, or one of the published mappings where that should need fewer cycles."""
    footprint, array = windows.footprint, windows.array
    enough = -(-footprint.macs // array.cells)
    cycles, found = BestSearch(windows, enough).solve()
    chosen = tuple(found)
    shared = search_overflow(windows) if cycles > enough else None
    if shared is not None and shared.cycles < cycles:
        cover = _cover(footprint, array, shared.window)
        chosen, cycles = (replace(cover, overflow=shared.full), replace(cover, overflow=shared.shared)), shared.cycles
    spaced = () if footprint.spacing == (1, 1) else (SPACED,)
    for method in (*METHODS[:-1], *spaced):
        if cycles <= enough:
            break
        other = _regions(footprint, array, method)
        if sum(region.cycles for region in other) < cycles:
            chosen, cycles = other, sum(region.cycles for region in other)
    return chosen


def _spaced(footprint: Footprint, array: ArraySpec) -> tuple[Region, ...]:
    """A dilated convolution as interleaved ones, whose windows share inputs as those of dilation 1 do, each at its best."""
    spacing, output = footprint.spacing, footprint.shape.output
    found: list[Region] = []
    for phase in product(range(min(spacing[0], output[0])), range(min(spacing[1], output[1]))):
        down, right = (-(-(size - first) // step) for size, first, step in zip(output, phase, spacing, strict=True))
        dense = _regions(footprint.spaced((down, right)), array, "best")
        found.extend(replace(region, footprint=footprint, phase=phase) for region in dense)
    return tuple(found)
