"""A pruned convolution on an array: rows without a weight are skipped, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.layer import map_layer, map_one_window
from rankfold.mapping.mapping import Mapping
from rankfold.mapping.region import Region
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import ConvShape, Pair

PRUNED_METHODS = ("im2col", "sdk", "best")

Array = np.ndarray


def map_pruned(
    shape: ConvShape,
    array: ArraySpec,
    mask: Array,
    method: str = "sdk",
) -> Mapping:
    """Map a convolution of which only some weights are kept.

    A row is driven for a tile only where a kept weight stands in it: input (y, x) of a channel takes no row
    of a tile whose output channels have all dropped every kernel position that any of the window's pixels
    lays on it. Nothing is steered: all columns of a tile still see the same inputs. Two ways of cutting are
    compared for every window, and the cheaper one is taken: column tiles of C columns, for which a row counts
    if any output channel of the layer uses it; and column tiles of floor(C/N) whole output channels, each of
    which skips its own rows.

    Args:
        shape: the convolution.
        array: R x C, columns counted in weights.
        mask: (m, C_in/G, kh, kw) booleans, the weights kept.
        method: `im2col` (one pixel at a time), `sdk` (the one window that needs the fewest cycles) or `best`
            (as `sdk`, or the search of `map_layer` over the kernel positions that any output channel uses, or
            over all, if that needs fewer).

    Raises:
        InputError: unknown method, or a mask that does not fit the layer or keeps nothing.
    """
    _check(shape, mask, method)
    weights = int(mask.sum())
    kept = mask.astype(np.uint8).tobytes()
    regions = _one_window(
        shape.anonymous,
        array,
        kept,
        method == "im2col",
    )
    mapping = Mapping(shape, array, method, regions, weights)
    if method != "best":
        return mapping
    # This takes the mapping without a support where storing zeros is cheaper than skipping rows.
    union = _support(shape, mask, _outputs(shape))
    searched = map_layer(shape, array, "best", union)
    if searched.cycles < mapping.cycles:
        return replace(mapping, regions=searched.regions)
    return mapping


def map_steered(
    shape: ConvShape,
    array: ArraySpec,
    mask: Array,
    method: str = "sdk",
) -> Mapping:
    """The mapping if every column of an array could be given inputs of its own: ideal steering.

    The weights that an output keeps then move together: max kept rows instead of all (ceil(e*C_in/R) row
    tiles for e positions in each kernel). No such array exists; the mapping says what an input-steering
    circuit could gain at most. It counts, and does not run: its layer is the fully connected one that stores
    as much, once for each window.

    Args:
        shape: the convolution.
        array: R x C, columns counted in weights.
        mask: (m, C_in/G, kh, kw) booleans, the weights kept.
        method: `im2col` (one pixel at a time), or `sdk` and `best` (the one window that needs the fewest
            cycles).

    Raises:
        InputError: as `map_pruned`.
    """
    _check(shape, mask, method)
    kept_by_output = mask.reshape(shape.m, -1).sum(axis=1)  # (m,)
    rows = int(kept_by_output.max())
    windows = _windows(
        shape.anonymous,
        array,
        method == "im2col",
    )
    cycles = windows.positions.copy()  # (W,), times the tiles of each
    for pixels in np.unique(windows.pixels).tolist():
        # What a window costs depends on its pixels alone.
        one = _steered(
            shape,
            array,
            rows,
            pixels,
            (1, 1),
        )
        cycles[windows.pixels == pixels] *= one.cycles
    a, b = windows.window(int(cycles.argmin()))
    down = -(-shape.output[0] // a)
    across = -(-shape.output[1] // b)
    mapping = _steered(
        shape,
        array,
        rows,
        a * b,
        (down, across),
    )
    weights = a * b * int(mask.sum())
    return replace(mapping, weights=weights)


def steered_cycles(
    shape: ConvShape,
    array: ArraySpec,
    mask: Array,
    method: str = "sdk",
) -> int:
    """Cycles of `map_steered`. Arguments and errors as there."""
    return map_steered(shape, array, mask, method).cycles


def _check(
    shape: ConvShape,
    mask: Array,
    method: str,
) -> None:
    if method not in PRUNED_METHODS:
        raise InputError(f"mapping of a pruned layer (={method}) must be one of {', '.join(PRUNED_METHODS)}")
    inputs_per_group = shape.in_channels // shape.groups
    wanted = (shape.m, inputs_per_group, *shape.kernel)
    if mask.shape != wanted or mask.dtype != np.bool_:
        raise InputError(
            f"layer {shape.name}: mask (={mask.dtype} {mask.shape}) must be boolean, "
            f"(m, C_in/G, kh, kw) = {wanted}"
        )
    if not mask.any():
        raise InputError(f"layer {shape.name}: mask must keep at least one weight; drop the layer instead")


def _steered(
    shape: ConvShape,
    array: ArraySpec,
    rows: int,
    pixels: int,
    plane: Pair,
) -> Mapping:
    """Windows of so many pixels, each of which reads the same rows in each group.

    They are as one pixel of a fully connected layer with N times the outputs.

    Args:
        shape: the convolution.
        array: R x C.
        rows: that a group's outputs read.
        pixels: N.
        plane: positions of the window, down and across.
    """
    layer = ConvShape(
        shape.name,
        shape.groups * rows,
        pixels * shape.m,
        (1, 1),
        plane,
        groups=shape.groups,
    )
    return map_layer(layer, array, "im2col")


def _windows(
    shape: ConvShape,
    array: ArraySpec,
    single: bool,
) -> Windows:
    """The windows to try: a single pixel, or all that are worth it."""
    footprint = Footprint(shape)
    if single:
        return Windows.single(footprint, array, (1, 1))
    return Windows.minimal(footprint, array)


def _outputs(shape: ConvShape) -> Pair:
    """All output channels (start, stop) of a group."""
    return 0, shape.m // shape.groups


def _support(
    shape: ConvShape,
    mask: Array,
    outputs: Pair,
) -> Array:
    """(C_in, kh*kw) booleans: the positions that any of some output channels of a group uses."""
    first, last = outputs
    outputs_per_group = shape.m // shape.groups
    by_group = mask.reshape(shape.groups, outputs_per_group, -1)  # (G, m/G, n)
    kept = by_group[:, first:last].any(axis=1)  # (G, n)
    return kept.reshape(shape.in_channels, -1)


@lru_cache(maxsize=4096)
def _one_window(
    shape: ConvShape,
    array: ArraySpec,
    kept: bytes,
    single: bool,
) -> tuple[Region, ...]:
    """The window of the fewest cycles, or a single pixel, under both ways of cutting.

    Args:
        shape: the convolution.
        array: R x C.
        kept: the mask as bytes, one for each weight.
        single: only windows of one pixel.
    """
    mask = np.frombuffer(kept, np.uint8).astype(bool)
    mask = mask.reshape(shape.m, -1, *shape.kernel)  # (m, C_in/G, kh, kw)
    union = _support(shape, mask, _outputs(shape))
    if single:
        whole = map_layer(shape, array, "im2col", union)
    else:
        whole = map_one_window(shape, array, union)
    by_group = union.reshape(shape.groups, -1)  # (G, n)
    by_output = np.repeat(by_group, shape.m // shape.groups, axis=0)  # (m, n)
    if (by_output == mask.reshape(shape.m, -1)).all():
        # Every output reads the same rows, so that cutting at any column loses nothing.
        return whole.regions
    windows = _windows(shape, array, single)
    cheaper = _cheapest_cut(
        shape,
        mask,
        windows,
        whole.cycles,
    )
    if cheaper is None:
        return whole.regions
    regions = []
    for block, footprint in _parts(shape, mask, cheaper.outputs):
        region = Region(
            footprint,
            array,
            block,
            (0, 0),
            shape.output,
            cheaper.window,
        )
        regions.append(region)
    return tuple(regions)


@dataclass(frozen=True)
class _Cut:
    """Column tiles of whole output channels.

    Attributes:
        cycles: what they need.
        window: (a, b).
        outputs: output channels of each tile.
    """

    cycles: int
    window: Pair
    outputs: int


def _cheapest_cut(
    shape: ConvShape,
    mask: Array,
    windows: Windows,
    most: int,
) -> _Cut | None:
    """The best window with column tiles of whole output channels, if it needs fewer than `most` cycles."""
    count = windows.positions  # (W,)
    per_tile = windows.array.columns // windows.pixels  # (W,) whole output channels in a tile
    several = per_tile < shape.m // shape.groups  # where the output channels fill more than one tile
    best: _Cut | None = None
    for outputs in sorted(set(per_tile[several].tolist()), reverse=True):
        # Each column tile that keeps anything costs a cycle in each position of the window.
        parts = list(_parts(shape, mask, outputs))
        at_least = count * len(parts)
        promising = (per_tile == outputs) & (at_least < most)
        index = np.flatnonzero(promising)
        if not len(index):
            continue
        a = windows.a[index]
        b = windows.b[index]
        tiles = np.zeros(len(index), int)
        for block, footprint in parts:
            part = Windows(
                footprint,
                windows.array,
                a,
                b,
            )
            tiles += part.tiles(block)
        cycles = count[index] * tiles  # of the promising windows
        chosen = int(cycles.argmin())
        if cycles[chosen] < most:
            most = int(cycles[chosen])
            window = windows.window(int(index[chosen]))
            best = _Cut(most, window, outputs)
    return best


def _parts(
    shape: ConvShape,
    mask: Array,
    outputs: int,
) -> Iterator[tuple[Block, Footprint]]:
    """Blocks of so many output channels with what they read; those that keep no weight are omitted."""
    channels = 0, shape.in_channels // shape.groups
    _, all_outputs = _outputs(shape)
    for first in range(0, all_outputs, outputs):
        last = min(first + outputs, all_outputs)
        support = _support(shape, mask, (first, last))
        if support.any():
            block = Block(channels, (first, last))
            yield block, Footprint.of(shape, support)
