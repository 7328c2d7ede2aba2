"""What the cells of an array hold: the kernel copies that weights belong to, and the blocks of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from rankfold.mapping import Mapping, Region, Tile
from rankfold.mapping.window_matrix import WindowMatrix
from rankfold.report.arrays.colours import (
    UNUSED_CELL,
    ZERO_CELL,
    copy_colours,
    paler,
    rgb,
)
from rankfold.workload.shape import Pair

Array = np.ndarray
# What cells without a weight hold: a zero between weights, or nothing.
ZERO, UNUSED = -1, -2
# How far the free weights of a window layer are on the way to white.
FREE = 0.55
# Tiles looked at to find one of each group: wide layers on small arrays have very many.
SEARCHED = 4096


def spacing(region: Region) -> Pair:
    """Output pixels from one pixel of the region's window to the next.

    More than 1 only for interleaved, dilated convolutions.
    """
    if region.phase is None:
        return (1, 1)
    return region.footprint.spacing


def cell_copies(region: Region, tile: Tile, matrix: WindowMatrix | None = None) -> Array:
    """The number of the kernel copy that each cell's weight is of.

    Copies are numbered as the output pixels of the window, row by row. In a window layer, whose weights are
    those of no kernel, it is the number of the pixel.

    Args:
        region: where the tile is used.
        tile: what the array holds.
        matrix: of a window layer.

    Returns:
        (R, C) of the whole array: `ZERO` in used rows and columns without a weight, `UNUSED` in the others.
    """
    down, right = spacing(region)
    _, width = region.window
    # A column adds up one output pixel, so that all its weights are of the same copy.
    column_copies = tile.col_y // down * width + tile.col_x // right  # (columns,)
    if matrix is not None:
        column_copies = matrix.pixel_of_output[tile.col_channel]
    held = np.where(tile.weight_index >= 0, column_copies, ZERO)  # (rows, columns)
    # The tile lies in the upper left corner of its array.
    copies = np.full((region.array.rows, region.array.columns), UNUSED)
    copies[: tile.rows, : tile.columns] = held
    return copies


def cell_colours(
    region: Region,
    tile: Tile,
    second: bool = False,
    matrix: WindowMatrix | None = None,
) -> Array:
    """(R, C, 3) uint8 colours of the cells; in a window layer those that no copy of its kernel had are pale.

    Args:
        region: where the tile is used.
        tile: what the array holds.
        second: whether it is the second stage of a pair.
        matrix: of a window layer.
    """
    window = region.window
    if matrix is not None:
        window = matrix.window
    bright = copy_colours(window, second).reshape(-1, 3)  # (copies, 3)
    # In this order, as the negative numbers of empty cells count from the end: UNUSED is -2, ZERO is -1.
    greys = np.stack([rgb(UNUSED_CELL), rgb(ZERO_CELL)])
    copies = cell_copies(region, tile, matrix)
    colours = np.concatenate((bright, greys))[copies]
    if matrix is not None:
        pale = np.concatenate((paler(bright, FREE), greys))[copies]
        colours = np.where(_free_cells(tile, matrix, copies.shape)[..., None], pale, colours)
    return colours


def _free_cells(tile: Tile, matrix: WindowMatrix, shape: tuple[int, ...]) -> Array:
    """(R, C) booleans: cells of a window layer that hold a weight which its kernel's copies did not have."""
    read = matrix.copied(tile.row_channel, tile.row_y, tile.row_x)  # (a*b, rows)
    free = np.zeros(shape, bool)
    free[: tile.rows, : tile.columns] = ~read[matrix.pixel_of_output[tile.col_channel]].T
    return free


@dataclass(frozen=True)
class Block:
    """The cells of one group.

    Attributes:
        group: its number, from 0.
        slot: which window they belong to, where a tile serves several at once.
        rows: (start, stop).
        columns: (start, stop).
    """

    group: int
    slot: int
    rows: Pair
    columns: Pair


def blocks(tile: Tile) -> list[Block]:
    """The diagonal blocks of a tile, by slot and group."""
    shape = tile.footprint.shape
    row_group = tile.row_channel // (shape.in_channels // shape.groups)  # (rows,)
    column_group = _column_groups(tile)
    # Outputs of a group read its own inputs alone: all weights lie where both are of one group.
    pairs = set(zip(tile.col_slot.tolist(), column_group.tolist(), strict=True))
    diagonal = []
    for slot, group in sorted(pairs):
        own_rows = (row_group == group) & (tile.row_slot == slot)
        own_columns = (column_group == group) & (tile.col_slot == slot)
        rows = np.flatnonzero(own_rows)
        columns = np.flatnonzero(own_columns)
        if len(rows) and len(columns):
            diagonal.append(Block(group, slot, _extent(rows), _extent(columns)))
    return diagonal


def groups_of(tile: Tile) -> tuple[int, ...]:
    """Groups of the convolution that the tile computes."""
    return tuple(np.unique(_column_groups(tile)).tolist())


def _column_groups(tile: Tile) -> Array:
    """(columns,) the group of the output channel that each column computes."""
    shape = tile.footprint.shape
    return tile.col_channel // (shape.m // shape.groups)


def _extent(lines: Array) -> Pair:
    """(start, stop) of rows or columns that lie side by side."""
    first, last = int(lines[0]), int(lines[-1])
    return first, last + 1


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
    shared = _shared_tiles(mapping)
    wanted = most - len(shared)
    new_groups: list[Shown] = []
    others: list[Shown] = []
    seen: set[int] = set()
    searched = islice(main.tiles(), SEARCHED)
    for number, tile in enumerate(searched, 1):
        # Nothing better comes when all groups were seen and there are enough tiles, or enough new ones.
        complete = len(seen) == mapping.shape.groups
        enough = complete and len(new_groups) + len(others) >= wanted
        if enough or len(new_groups) == wanted:
            break
        groups = set(groups_of(tile))
        shown = Shown(main, number, tile)
        if groups <= seen:
            others.append(shown)
        else:
            new_groups.append(shown)
        seen |= groups
    # Tiles of groups that are shown already fill what is left.
    chosen = (new_groups + others)[:wanted]
    return [*_by_number(chosen), *shared]


def _shared_tiles(mapping: Mapping) -> list[Shown]:
    """The first tile of each array that several windows share."""
    main, *others = mapping.regions
    if main.overflow is None:
        return []
    shared = []
    # They are counted after all arrays of the main region.
    number = main.tile_count + 1
    for region in others:
        if region.overflow is not None:
            first = next(region.tiles())
            shared.append(Shown(region, number, first))
    return shared


def _by_number(shown: Sequence[Shown]) -> list[Shown]:
    return sorted(shown, key=lambda item: item.number)


def resampled(image: Array, height: int, width: int) -> Array:
    """An image at another size, each pixel the mean of what it covers: no cell is lost where cells are tiny.

    Args:
        image: (h, w, 3) uint8.
        height: of the result.
        width: of the result.

    Returns:
        (height, width, 3) uint8.
    """
    down = _overlap(image.shape[0], height)  # (height, h)
    right = _overlap(image.shape[1], width)  # (width, w)
    rows = np.tensordot(down, image.astype(float), axes=(1, 0))  # (height, w, 3)
    pixels = np.tensordot(right, rows, axes=(1, 1))  # (width, height, 3)
    # Rounded, as to cut off fractions would darken the picture.
    rounded = np.rint(pixels.transpose(1, 0, 2))
    return rounded.astype(np.uint8)


def _overlap(before: int, after: int) -> Array:
    """(after, before) share of each old pixel in each new one."""
    # All in old pixels: new pixel i reaches from edge i to edge i + 1, an old one from its number to the next
    # one. What both cover is the part between the later start and the earlier stop, if that is any.
    edges = np.arange(after + 1) * (before / after)  # (after + 1,)
    old = np.arange(before)  # (before,)
    start = np.maximum(edges[:-1, None], old)  # (after, before)
    stop = np.minimum(edges[1:, None], old + 1)
    covered = np.clip(stop - start, 0, None)
    # A new pixel is before / after old ones wide; its shares add up to 1.
    return covered * (after / before)
