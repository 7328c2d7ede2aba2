"""What the cells of an array hold: for each the kernel copy its weight belongs to, and the blocks that groups form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.mapping import Mapping, Region, Tile
from rankfold.report.arrays.colours import UNUSED_CELL, ZERO_CELL, copy_colours, rgb
from rankfold.workload.shape import Pair

Array = np.ndarray
ZERO, UNUSED = -1, -2
SEARCHED = 4096  # tiles looked at to find one of each group


def spacing(region: Region) -> Pair:
    """Output pixels from one pixel of the region's window to the next: 1 but for interleaved, dilated convolutions."""
    return (1, 1) if region.phase is None else region.footprint.spacing


def cell_copies(region: Region, tile: Tile) -> Array:
    """(R, C) of the whole array: number of the kernel copy (output pixel of the window, row-major) a cell's weight is of.

    `ZERO` in used rows and columns without a weight, `UNUSED` in the others.
    """
    down, right = spacing(region)
    copies = tile.col_y // down * region.window[1] + tile.col_x // right
    found = np.full((region.array.rows, region.array.columns), UNUSED)
    found[: tile.rows, : tile.columns] = np.where(tile.weight_index >= 0, copies, ZERO)
    return found


def cell_colours(region: Region, tile: Tile, second: bool = False) -> Array:
    """(R, C, 3) uint8 colours of the cells."""
    greys = np.stack([rgb(UNUSED_CELL), rgb(ZERO_CELL)])
    colours = np.concatenate((copy_colours(region.window, second).reshape(-1, 3), greys))
    return colours[cell_copies(region, tile)]


@dataclass(frozen=True)
class Block:
    """The cells of one group (and one window, where a tile serves several at once), rows and columns as (start, stop)."""

    group: int
    slot: int
    rows: Pair
    columns: Pair


def blocks(tile: Tile) -> list[Block]:
    """The diagonal blocks of a tile, by slot and group."""
    shape = tile.footprint.shape
    row_group = tile.row_channel // (shape.in_channels // shape.groups)
    column_group = tile.col_channel // (shape.m // shape.groups)
    found = []
    for slot, group in sorted(set(zip(tile.col_slot.tolist(), column_group.tolist(), strict=True))):
        rows = np.flatnonzero((row_group == group) & (tile.row_slot == slot))
        columns = np.flatnonzero((column_group == group) & (tile.col_slot == slot))
        if len(rows) and len(columns):
            found.append(Block(group, slot, (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)))
    return found


def groups_of(tile: Tile) -> tuple[int, ...]:
    """Groups of the convolution that the tile computes."""
    shape = tile.footprint.shape
    return tuple(np.unique(tile.col_channel // (shape.m // shape.groups)).tolist())


@dataclass(frozen=True)
class Shown:
    """A tile that is drawn: its region, its number in the mapping, from 1, and what it holds."""

    region: Region
    number: int
    tile: Tile


def shown_tiles(mapping: Mapping, most: int) -> list[Shown]:
    """At most `most` tiles of the main region: the first ones, or the first ones of each group.

    Where windows share an array for rows that overflow, its first tile comes last.
    """
    main = mapping.regions[0]
    shared = [region for region in mapping.regions[1:] if region.overflow is not None and main.overflow is not None]
    most -= len(shared)
    chosen: list[Shown] = []
    spare: list[Shown] = []
    seen: set[int] = set()
    for number, tile in enumerate(main.tiles(), 1):
        enough = len(seen) == mapping.shape.groups and len(chosen) + len(spare) >= most
        if number > SEARCHED or len(chosen) == most or enough:
            break
        groups = set(groups_of(tile))
        (spare if groups <= seen else chosen).append(Shown(main, number, tile))
        seen |= groups
    first = sorted((chosen + spare)[:most], key=lambda item: item.number)
    return first + [Shown(region, main.tile_count + 1, next(region.tiles())) for region in shared]


def resampled(image: Array, height: int, width: int) -> Array:
    """An (h, w, 3) image at another size, each pixel the mean of what it covers: no cell is lost where cells are tiny."""
    down, right = _overlap(image.shape[0], height), _overlap(image.shape[1], width)
    rows = np.tensordot(down, image.astype(float), axes=(1, 0))
    return np.rint(np.tensordot(right, rows, axes=(1, 1)).transpose(1, 0, 2)).astype(np.uint8)


def _overlap(before: int, after: int) -> Array:
    """(after, before) share of each old pixel in each new one."""
    edges = np.arange(after + 1) * (before / after)
    old = np.arange(before)
    start, stop = np.maximum(edges[:-1, None], old), np.minimum(edges[1:, None], old + 1)
    return np.clip(stop - start, 0, None) * (after / before)
