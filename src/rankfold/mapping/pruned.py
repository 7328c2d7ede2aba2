"""A pruned convolution on an array: rows without a weight are skipped, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.layer import Mapping, map_layer, map_one_window
from rankfold.mapping.region import Region
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import ConvShape, Pair

PRUNED_METHODS = ("im2col", "sdk", "best")

Array = np.ndarray


def map_pruned(shape: ConvShape, array: ArraySpec, mask: Array, method: str = "sdk") -> Mapping:
    """Map a convolution of which only some weights are kept.

    A row is driven for a tile only where a kept weight stands in it: input (y, x) of a channel takes no row of a tile whose
    output channels have all dropped every kernel position that any of the window's pixels lays on it. Nothing is steered:
    all columns of a tile still see the same inputs. Two ways of cutting are compared for every window, and the cheaper one
    is taken: column tiles of C columns, for which a row counts if any output channel of the layer uses it; and column tiles
    of floor(C/N) whole output channels, each of which skips its own rows.

    Args:
        shape: the convolution.
        array: R x C, columns counted in weights.
        mask: (m, C_in/G, kh, kw) booleans, the weights kept.
        method: `im2col` (one pixel at a time), `sdk` (the one window that needs the fewest cycles) or `best` (as `sdk`, or
            the search of `map_layer` over the kernel positions that any output channel uses, or over all, if that needs fewer).

    Raises:
        InputError: unknown method, or a mask that does not fit the layer or keeps nothing.
    """
    _check(shape, mask, method)
    regions = _one_window(shape.anonymous, array, mask.astype(np.uint8).tobytes(), method == "im2col")
    if method == "best":
        # The search knows more ways where no position is missing, so that storing zeros can be cheaper than skipping rows.
        for support in (_support(shape, mask, (0, shape.m // shape.groups)), None):
            other = map_layer(shape, array, "best", support)
            if other.cycles < sum(region.cycles for region in regions):
                regions = other.regions
    return Mapping(shape, array, method, regions, int(mask.sum()))


def map_steered(shape: ConvShape, array: ArraySpec, mask: Array, method: str = "sdk") -> Mapping:
    """The mapping if every column of an array could be given inputs of its own: ideal steering.

    The weights that an output keeps then move together: max kept rows instead of all (ceil(e*C_in/R) row tiles for e
    positions in each kernel). No such array exists; the mapping says what an input-steering circuit could gain at most. It
    counts, and does not run: its layer is the fully connected one that stores as much, once for each window.

    Args:
        shape: the convolution.
        array: R x C, columns counted in weights.
        mask: (m, C_in/G, kh, kw) booleans, the weights kept.
        method: `im2col` (one pixel at a time), or `sdk` and `best` (the one window that needs the fewest cycles).

    Raises:
        InputError: as `map_pruned`.
    """
    _check(shape, mask, method)
    rows = int(mask.reshape(shape.m, -1).sum(axis=1).max())
    bare = Footprint(shape.anonymous)
    windows = Windows.single(bare, array, (1, 1)) if method == "im2col" else Windows.minimal(bare, array)

    def packed(pixels: int, plane: Pair) -> Mapping:
        # All pixels of a window read the same rows: as one pixel of a fully connected layer with N times the outputs.
        layer = ConvShape(shape.name, shape.groups * rows, pixels * shape.m, (1, 1), plane, groups=shape.groups)
        return map_layer(layer, array, "im2col")

    tiles = {pixels: packed(pixels, (1, 1)).cycles for pixels in np.unique(windows.pixels).tolist()}
    cycles = windows.count(*shape.output) * np.array([tiles[pixels] for pixels in windows.pixels.tolist()])
    best = int(cycles.argmin())
    height, width = (-(-size // int(side[best])) for size, side in zip(shape.output, (windows.a, windows.b), strict=True))
    return replace(packed(int(windows.pixels[best]), (height, width)), weights=int(windows.pixels[best]) * int(mask.sum()))


def steered_cycles(shape: ConvShape, array: ArraySpec, mask: Array, method: str = "sdk") -> int:
    """Cycles of `map_steered`. Arguments and errors as there."""
    return map_steered(shape, array, mask, method).cycles


def _check(shape: ConvShape, mask: Array, method: str) -> None:
    if method not in PRUNED_METHODS:
        raise InputError(f"mapping of a pruned layer (={method}) must be one of {', '.join(PRUNED_METHODS)}")
    wanted = (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    if mask.shape != wanted or mask.dtype != np.bool_:
        raise InputError(f"layer {shape.name}: mask (={mask.dtype} {mask.shape}) must be boolean, (m, C_in/G, kh, kw) = {wanted}")
    if not mask.any():
        raise InputError(f"layer {shape.name}: mask must keep at least one weight; drop the layer instead")


def _support(shape: ConvShape, mask: Array, outputs: Pair) -> Array:
    """(C_in, kh*kw) booleans: the positions that any of some output channels of a group uses."""
    kept = mask.reshape(shape.groups, shape.m // shape.groups, -1)[:, outputs[0] : outputs[1]].any(axis=1)
    return kept.reshape(shape.in_channels, shape.kernel[0] * shape.kernel[1])


@lru_cache(maxsize=4096)
def _one_window(shape: ConvShape, array: ArraySpec, kept: bytes, single: bool) -> tuple[Region, ...]:
    """The window of the fewest cycles, or a single pixel, under both ways of cutting."""
    mask = np.frombuffer(kept, np.uint8).astype(bool).reshape(shape.m, -1, *shape.kernel)
    union = _support(shape, mask, (0, shape.m // shape.groups))
    whole = map_layer(shape, array, "im2col", union) if single else map_one_window(shape, array, union)
    shared = np.repeat(union.reshape(shape.groups, -1), shape.m // shape.groups, axis=0)
    if (shared == mask.reshape(shape.m, -1)).all():
        return whole.regions  # every output reads the same rows, so that cutting at any column loses nothing
    bare = Footprint(shape)
    windows = Windows.single(bare, array, (1, 1)) if single else Windows.minimal(bare, array)
    return _by_outputs(shape, mask, windows, whole.cycles) or whole.regions


def _by_outputs(shape: ConvShape, mask: Array, windows: Windows, most: int) -> tuple[Region, ...] | None:
    """The best window with column tiles of whole output channels, if it needs fewer than `most` cycles."""
    outputs = shape.m // shape.groups
    count = windows.count(*shape.output)
    per_tile = windows.array.columns // windows.pixels
    best: tuple[Pair, int] | None = None
    for size in sorted(set(per_tile[per_tile < outputs].tolist()), reverse=True):
        # Each column tile that keeps anything costs a cycle in each position of the window.
        parts = list(_parts(shape, mask, size))
        index = np.flatnonzero((per_tile == size) & (count * len(parts) < most))
        if not len(index):
            continue
        tiles = np.zeros(len(index), int)
        for block, footprint in parts:
            tiles += Windows(footprint, windows.array, windows.a[index], windows.b[index]).tiles(block)
        cycles = count[index] * tiles
        if cycles.min() < most:
            at = index[int(cycles.argmin())]
            most, best = int(cycles.min()), ((int(windows.a[at]), int(windows.b[at])), size)
    if best is None:
        return None
    window, size = best
    return tuple(
        Region(footprint, windows.array, block, (0, 0), shape.output, window) for block, footprint in _parts(shape, mask, size)
    )


def _parts(shape: ConvShape, mask: Array, size: int) -> Iterator[tuple[Block, Footprint]]:
    """Blocks of `size` output channels with what they read; those that keep no weight are left out."""
    outputs = shape.m // shape.groups
    for part in range(int(ceil(outputs, size))):
        span = part * size, min((part + 1) * size, outputs)
        support = _support(shape, mask, span)
        if support.any():
            yield Block((0, shape.in_channels // shape.groups), span), Footprint.of(shape, support)
