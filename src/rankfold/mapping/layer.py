"""`map_layer`: a convolution on an array under one of the methods."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from rankfold.arguments import Wanted, takes
from rankfold.errors import InputError
from rankfold.mapping.array import ARRAY, ArraySpec
from rankfold.mapping.best import BestSearch
from rankfold.mapping.diagonal_blocks import CHANNELS, ELEMENTS
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.mapping import Mapping
from rankfold.mapping.names import fitted_window, windows_named
from rankfold.mapping.overflow import search_overflow
from rankfold.mapping.region import Region
from rankfold.mapping.tetris import TetrisSearch
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import ConvShape, Pair

MAPPINGS = ("im2col", "sdk", "vw-sdk", "tetris-sdk", "best")
ONE_WINDOW, SPACED = "one-window", "spaced"


@takes(
    shape=Wanted("a ConvShape", ConvShape),
    array=ARRAY,
    support=Wanted("an array of booleans (C_in, kh*kw)", np.ndarray, optional=True),
)
def map_layer(
    shape: ConvShape,
    array: ArraySpec,
    method: str,
    support: np.ndarray | None = None,
) -> Mapping:
    """Map a convolution onto an array.

    Args:
        shape: any convolution; the padding counts as part of the input.
        array: R x C, columns counted in weights.
        method: `im2col` (one pixel at a time), `sdk` (square windows, Zhang et al. 2020), `vw-sdk` (any
            window, whole channels per tile, Rhe et al. 2022), `tetris-sdk` (windows of their own for margins
            and left-over channels, Dong et al. 2024), `best` (the search of docs/mapping.md, never worse
            than the others), or a window such as `4x8`, the same on the whole plane, cut element by element:
            as much of it as the plane has and the array has columns for.
        support: (C_in, kh*kw) booleans, the kernel positions of each input channel that any output uses;
            None: all. An input that no used position of a window reads takes no row. A support never costs
            cycles: where the method needs fewer for the layer without it, that mapping is taken, and zeros
            are stored.

    Raises:
        InputError: unknown method, or a support that does not fit the layer.
    """
    if method not in MAPPINGS and len(windows_named(method)) != 1:
        raise InputError(f"mapping (={method}) must be one of {', '.join(MAPPINGS)}, or a window such as 4x8")
    return _map(shape, array, method, support)


def map_one_window(
    shape: ConvShape,
    array: ArraySpec,
    support: np.ndarray | None = None,
) -> Mapping:
    """Map a convolution with the one window, the same on the whole plane, that needs the fewest cycles.

    Tiles are cut element by element. Arguments and errors as `map_layer`.
    """
    return _map(shape, array, ONE_WINDOW, support)


def map_with_window(
    shape: ConvShape,
    array: ArraySpec,
    window: Pair,
    support: np.ndarray | None = None,
) -> Mapping:
    """Map a convolution with a given window, the same on the whole plane, with tiles cut element by element.

    Raises:
        InputError: the window is larger than the output plane or has more than C pixels, or the support does
            not fit the layer.
    """
    a, b = window
    height, width = shape.output
    inside = 1 <= a <= height and 1 <= b <= width
    if not inside or a * b > array.columns:
        raise InputError(
            f"layer {shape.name}: window (={a}x{b}) must lie within "
            f"{height}x{width} outputs and have at most {array.columns} pixels, one for each column"
        )
    footprint = Footprint.of(shape, support)
    region = _cover(footprint, array, window)
    return Mapping(shape, array, ONE_WINDOW, (region,), weights=_less_zeros(shape, support))


def clear_cache() -> None:
    """Forget all mappings found so far, as benchmarks need."""
    _regions.cache_clear()


def _map(
    shape: ConvShape,
    array: ArraySpec,
    method: str,
    support: np.ndarray | None,
) -> Mapping:
    # A name does not change a mapping: layers of equal shape share one entry of the cache.
    mask = Footprint.of(shape, support).mask
    whole = Footprint(shape.anonymous)
    if mask is None:
        plain = _regions(whole, array, method)
        return Mapping(shape, array, method, plain, weights=_less_zeros(shape))
    kept = Footprint(shape.anonymous, mask)
    regions = _regions(kept, array, method)
    # Some ways to save cycles are open only where no position is missing: an overflow that windows share,
    # cuts through the channels in Tetris-SDK, larger squares in SDK where im2col fills more row tiles.
    cycles = _cycles(regions)
    if cycles > _least_cycles(whole, array):
        plain = _regions(whole, array, method)
        if _cycles(plain) < cycles:
            return Mapping(shape, array, method, plain, kept=kept)
    return Mapping(shape, array, method, regions)


def _less_zeros(shape: ConvShape, support: np.ndarray | None = None) -> int | None:
    """The weights that are not zero whatever is learnt; None: all that the support keeps."""
    if support is not None or not shape.zeros:
        return None
    return shape.parameters


def _cycles(regions: tuple[Region, ...]) -> int:
    return sum(region.cycles for region in regions)


def _least_cycles(footprint: Footprint, array: ArraySpec) -> int:
    """Cycles that no mapping can beat: every cell of the array busy in each of them."""
    return -(-footprint.macs // array.cells)


# A network is gone through several times, with ten entries for each of its layers: five methods, with and
# without cells. Beyond the limit every pass would begin anew.
@lru_cache(maxsize=1 << 15)
def _regions(
    footprint: Footprint,
    array: ArraySpec,
    method: str,
) -> tuple[Region, ...]:
    if method == "im2col":
        return (_cover(footprint, array, (1, 1)),)
    if method == "sdk":
        window = _square(footprint, array)
        return (_cover(footprint, array, window),)
    if method == ONE_WINDOW:
        window = _cheapest_window(footprint, array)
        return (_cover(footprint, array, window),)
    if method == "vw-sdk":
        return _vw_sdk(footprint, array)
    if method == "tetris-sdk":
        return _tetris_sdk(footprint, array)
    if method == SPACED:
        return _spaced(footprint, array)
    if windows := windows_named(method):
        window = fitted_window(windows[0], footprint.shape.output, array.columns)
        return (_cover(footprint, array, window),)
    return _best(footprint, array)


def _cover(
    footprint: Footprint,
    array: ArraySpec,
    window: Pair,
    layout: str = ELEMENTS,
) -> Region:
    """One window on the whole plane, for all channels."""
    return Region(
        footprint,
        array,
        Block.whole(footprint),
        (0, 0),
        footprint.shape.output,
        window,
        layout=layout,
    )


def _square(footprint: Footprint, array: ArraySpec) -> Pair:
    """SDK: the largest square window that needs no more row tiles, column tiles and tiles than im2col.

    On a plane of one row or column, such as a sequence of tokens, squares are single pixels; there it is the
    longest line. The third condition follows from the other two where pixels share inputs and there are no
    groups; else larger blocks could share fewer arrays.
    """
    a, b = _squares(footprint.shape.output, array.columns)
    windows = Windows(footprint, array, a, b)
    block = Block.whole(footprint)
    within = np.ones(len(a), bool)
    for count in (*windows.grid(block), windows.tiles(block)):
        within &= count <= count[0]  # the first square is im2col's single pixel
    return windows.window(int(np.flatnonzero(within)[-1]))


def _squares(output: Pair, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) of all squares of at most so many pixels on a plane, or of all lines where it is one."""
    height, width = output
    sides = np.arange(1, min(height, width) + 1)
    if len(sides) > 1:
        sides = sides[sides**2 <= most]
        return sides, sides
    lengths = np.arange(1, min(max(height, width), most) + 1)
    ones = np.ones_like(lengths)
    if height > width:
        return lengths, ones
    return ones, lengths


def _cheapest_window(footprint: Footprint, array: ArraySpec) -> Pair:
    """The window that needs the fewest cycles alone."""
    windows = Windows.minimal(footprint, array)
    cycles = windows.positions * windows.tiles(Block.whole(footprint))  # (W,)
    return windows.window(int(cycles.argmin()))


def _vw_sdk(footprint: Footprint, array: ArraySpec) -> tuple[Region, ...]:
    """VW-SDK. Where no window saves cycles, the layer stays im2col, as in the published algorithm."""
    im2col = _regions(footprint, array, "im2col")
    whole = WholeChannels.of(Windows.minimal(footprint, array))
    if not len(whole.windows):
        return im2col
    tiles = whole.tiles(Block.whole(footprint))  # (W,)
    cycles = whole.windows.positions * tiles
    index = int(cycles.argmin())
    if cycles[index] >= _cycles(im2col):
        return im2col
    window = whole.windows.window(index)
    return (_cover(footprint, array, window, CHANNELS),)


def _tetris_sdk(footprint: Footprint, array: ArraySpec) -> tuple[Region, ...]:
    """Tetris-SDK; im2col as in VW-SDK."""
    im2col = _regions(footprint, array, "im2col")
    whole = WholeChannels.of(Windows.every(footprint, array))
    if not len(whole.windows):
        return im2col  # not even one pixel's channel fits into R rows
    cycles, regions = TetrisSearch(whole).solve()
    if cycles >= _cycles(im2col):
        return im2col
    return tuple(regions)


def _best(footprint: Footprint, array: ArraySpec) -> tuple[Region, ...]:
    """The search, or one of the published mappings where that should need fewer cycles."""
    windows = Windows.every(footprint, array)
    enough = _least_cycles(footprint, array)
    cycles, searched = BestSearch(windows, enough).solve()
    chosen = tuple(searched)
    if cycles > enough:
        plan = search_overflow(windows)
        if plan is not None and plan.cycles < cycles:
            cover = _cover(footprint, array, plan.window)
            full = replace(cover, overflow=plan.full)
            shared = replace(cover, overflow=plan.shared)
            chosen = full, shared
            cycles = plan.cycles
    others = list(MAPPINGS[:-1])
    if footprint.spacing != (1, 1):
        others.append(SPACED)
    for method in others:
        if cycles <= enough:
            break
        other = _regions(footprint, array, method)
        if _cycles(other) < cycles:
            chosen = other
            cycles = _cycles(other)
    return chosen


def _spaced(footprint: Footprint, array: ArraySpec) -> tuple[Region, ...]:
    """A dilated convolution as interleaved ones, whose windows share inputs as those of dilation 1 do.

    Each is mapped at its best.
    """
    spacing, output = footprint.spacing, footprint.shape.output
    regions: list[Region] = []
    for y in range(min(spacing[0], output[0])):
        for x in range(min(spacing[1], output[1])):
            # The phase of every spacing-th pixel from (y, x) on.
            down = len(range(y, output[0], spacing[0]))
            right = len(range(x, output[1], spacing[1]))
            dense = footprint.spaced((down, right))
            for region in _regions(dense, array, "best"):
                of_layer = replace(region, footprint=footprint, phase=(y, x))
                regions.append(of_layer)
    return tuple(regions)
