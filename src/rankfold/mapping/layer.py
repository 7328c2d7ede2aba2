"""One stored matrix on one array: the window, the tiles and the cycles of a convolution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.workload.shape import ConvShape, Pair

METHODS = ("im2col", "sdk", "vw-sdk", "best")

Counts = np.ndarray  # int64, one entry per window tried


@dataclass(frozen=True)
class Mapping:
    """A convolution on an array.

    Attributes:
        shape: the convolution.
        array: the array.
        method: how the window was chosen, one of `METHODS`.
        window: (a, b) output pixels that one activation of all tiles yields.
        windows: positions of the window on the feature map, ceil(OH/a) * ceil(OW/b).
        row_tiles: tiles along the rows of one block of the stored matrix.
        column_tiles: tiles along its columns.
        tile_count: tiles that hold at least one weight. Blocks of a block-diagonal matrix share tiles where they fit.
    """

    shape: ConvShape
    array: ArraySpec
    method: str
    window: Pair
    windows: int
    row_tiles: int
    column_tiles: int
    tile_count: int

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image."""
        return self.windows * self.tile_count

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping can beat, ceil(multiply-accumulates / (R * C))."""
        return -(-self.shape.macs // self.array.cells)

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates over cells times cycles, 0 to 1."""
        return self.shape.macs / (self.array.cells * self.cycles)


def map_layer(shape: ConvShape, array: ArraySpec, method: str) -> Mapping:
    """Map a convolution onto an array.

    Args:
        shape: any convolution; the padding counts as part of the input.
        array: R x C.
        method: `im2col` (one pixel at a time), `sdk` (square windows, Zhang et al. 2020), `vw-sdk` (any window, whole
            channels per tile, Rhe et al. 2022) or `best` (any window, element-wise tiles, empty tiles free).

    Raises:
        InputError: unknown method.
    """
    if method not in METHODS:
        raise InputError(f"mapping (={method}) must be one of {', '.join(METHODS)}")
    # A name does not change a mapping: layers of equal shape share one cache entry.
    mapping = _map_cached(replace(shape, name="", weight="-"), array, method)
    return replace(mapping, shape=shape)


@lru_cache(maxsize=8192)
def _map_cached(shape: ConvShape, array: ArraySpec, method: str) -> Mapping:
    if method == "im2col":
        return _choose(shape, array, method, np.array([1]), np.array([1]))
    if method == "sdk":
        return _square(shape, array)
    height, width = shape.output
    a, b = (axis.ravel() for axis in np.meshgrid(np.arange(1, height + 1), np.arange(1, width + 1), indexing="ij"))
    if method == "vw-sdk":
        return _variable(shape, array, a, b)
    return _choose(shape, array, method, a, b)


def _square(shape: ConvShape, array: ArraySpec) -> Mapping:
    """SDK: the largest square window that needs no more row tiles and no more column tiles than im2col does."""
    sides = np.arange(1, min(shape.output) + 1)
    rows, columns, _ = _tiles(shape, array, sides, sides)
    within = sides[(rows <= rows[0]) & (columns <= columns[0])]
    return _choose(shape, array, "sdk", within[-1:], within[-1:])


def _variable(shape: ConvShape, array: ArraySpec, a: Counts, b: Counts) -> Mapping:
    """VW-SDK: floor(R/(ph*pw)) whole input channels in a row tile, floor(C/N) whole outputs in a column tile.

    Without a window that beats im2col, or where not even one channel of a window fits, the layer stays im2col, as in
    the published algorithm.
    """
    im2col = _map_cached(shape, array, "im2col")
    inputs = _span(shape, a, b)
    fits = (inputs <= array.rows) & (a * b <= array.columns)
    a, b, inputs = a[fits], b[fits], inputs[fits]
    windows = _windows(shape, a, b)
    rows = _ceil(shape.in_channels // shape.groups, array.rows // inputs)
    columns = _ceil(shape.m // shape.groups, array.columns // (a * b))
    tiles = _packed(
        shape.groups, shape.in_channels // shape.groups * inputs, a * b * (shape.m // shape.groups), rows, columns, array
    )
    cycles = windows * tiles
    if not len(cycles) or cycles.min() >= im2col.cycles:
        return replace(im2col, method="vw-sdk")
    return _mapping(shape, array, "vw-sdk", int(cycles.argmin()), a, b, windows, rows, columns, tiles)


def _choose(shape: ConvShape, array: ArraySpec, method: str, a: Counts, b: Counts) -> Mapping:
    """The window with the fewest cycles among the given ones, with element-wise tiles; ties go to the first."""
    rows, columns, tiles = _tiles(shape, array, a, b)
    windows = _windows(shape, a, b)
    return _mapping(shape, array, method, int((windows * tiles).argmin()), a, b, windows, rows, columns, tiles)


def _mapping(
    shape: ConvShape, array: ArraySpec, method: str, index: int, a: Counts, b: Counts,
    windows: Counts, rows: Counts, columns: Counts, tiles: Counts,
) -> Mapping:  # fmt: skip
    window = int(a[index]), int(b[index])
    return Mapping(shape, array, method, window, int(windows[index]), int(rows[index]), int(columns[index]), int(tiles[index]))


def _tiles(shape: ConvShape, array: ArraySpec, a: Counts, b: Counts) -> tuple[Counts, Counts, Counts]:
    """Row tiles and column tiles of one block, and all tiles, for every window a x b.

    The stored matrix is block-diagonal: a block for each group of the convolution, and, where the kernels of
    neighbouring pixels do not overlap (1x1 kernels above all), a block for each pixel too, I_N (x) L of Theorem 2 in
    Jeon et al. (2025). Rows are tiled element by element, since partial sums are added digitally either way.
    """
    outputs, groups = shape.m // shape.groups, np.full_like(a, shape.groups)
    width = a * b * outputs
    if shape.stride[0] >= shape.extent[0] and shape.stride[1] >= shape.extent[1]:
        height = a * b * shape.n
        levels = [(groups * a * b, height // (a * b), width // (a * b)), (groups, height, width)]
    else:
        height = shape.in_channels // shape.groups * _span(shape, a, b)
        levels = [(groups, height, width)]
    # Tiling larger blocks, up to the whole matrix, lets a tile straddle the smaller ones; that wins where those are
    # little more than an array.
    levels.append((np.ones_like(a), groups * height, groups * width))
    counts = np.stack([_packed(*level, _ceil(level[1], array.rows), _ceil(level[2], array.columns), array) for level in levels])
    _, height, width = levels[0]
    return _ceil(height, array.rows), _ceil(width, array.columns), counts.min(axis=0)


def _packed(blocks: Counts | int, height: Counts, width: Counts, rows: Counts, columns: Counts, array: ArraySpec) -> Counts:
    """Tiles of equal blocks: as many diagonally in one array as fit, else each in row x column tiles of its own."""
    side_by_side = np.maximum(np.minimum(array.rows // height, array.columns // width), 1)
    return np.where(rows * columns == 1, _ceil(blocks, side_by_side), blocks * rows * columns)


def _span(shape: ConvShape, a: Counts, b: Counts) -> Counts:
    """ph * pw: inputs of one channel under an a x b window."""
    height = (a - 1) * shape.stride[0] + shape.extent[0]
    width = (b - 1) * shape.stride[1] + shape.extent[1]
    return np.asarray(height * width)


def _windows(shape: ConvShape, a: Counts, b: Counts) -> Counts:
    return _ceil(shape.output[0], a) * _ceil(shape.output[1], b)


def _ceil(value: Counts | int, divisor: Counts | int) -> Counts:
    return np.asarray(-(-value // divisor))
