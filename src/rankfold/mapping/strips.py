"""Packing of diagonal blocks into arrays: laid end to end and cut, tile by tile, as late as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

Array = np.ndarray
Piece = tuple[int, int, int]  # block, first line, line after the last


def ceil(value: Array | int, divisor: Array | int) -> Array:
    """ceil(value / divisor), element by element."""
    return np.asarray((value + (divisor - 1)) // divisor)


def strip_pieces(
    lengths: Iterable[int],
    capacity: int,
    limit: int,
) -> Iterator[list[Piece]]:
    """Cut blocks laid end to end into tiles of at most `capacity` lines from at most `limit` blocks.

    Filling every tile as far as it goes is optimal: whatever another cutting has covered after t tiles, this
    has too.

    Args:
        lengths: lines of each block, each at least 1.
        capacity: lines of a tile.
        limit: blocks a tile may touch, at least 1.
    """
    tile: list[Piece] = []
    free = capacity
    for block, length in enumerate(lengths):
        start = 0
        while start < length:
            at_limit = start == 0 and len(tile) == limit
            if free == 0 or at_limit:
                yield tile
                tile = []
                free = capacity
            stop = min(length, start + free)
            tile.append((block, start, stop))
            free -= stop - start
            start = stop
    if tile:
        yield tile


def strip_count(
    lengths: Iterable[int],
    capacity: int,
    limit: int,
) -> int:
    """Tiles of `strip_pieces`."""
    tiles = 0
    free = 0  # lines of the last tile
    touched = 0  # blocks in it
    for length in lengths:
        if tiles == 0 or free == 0 or touched == limit:
            tiles += 1
            free = capacity
            touched = 0
        touched += 1
        if length > free:
            # The block alone fills further tiles, and only the last of them has room for the next block.
            more = -(-(length - free) // capacity)
            tiles += more
            free += more * capacity
            touched = 1
        free -= length
    return tiles


def equal_strips(
    blocks: Array,
    length: Array,
    capacity: int,
    limit: Array,
) -> Array:
    """Tiles of `strip_pieces` for equal blocks, for many cases at once.

    Args:
        blocks: blocks of each case.
        length: lines of each of its blocks, at least 1.
        capacity: lines of a tile.
        limit: blocks a tile may touch; a case with limit 0 counts no tile.
    """
    blocks, length, limit = np.broadcast_arrays(blocks, length, limit)
    touched = np.maximum(limit, 1)
    reach = touched * length  # lines up to which the limit lets a tile go
    by_limit = ceil(blocks, touched)
    by_capacity = ceil(blocks * length, capacity)
    # Whole blocks only, where the limit binds first; otherwise every tile can be full, but for the last.
    tiles = np.where(
        reach <= capacity,
        by_limit,
        by_capacity,
    )
    # Blocks that share no tile are cut one by one.
    apart = (touched == 1) & (length > capacity)
    one_by_one = blocks * ceil(length, capacity)
    tiles = np.where(apart, one_by_one, tiles)
    # The limit matters where a full tile could touch more blocks than it allows, and more blocks are there.
    most_in_full = ceil(capacity - 1, length) + 1
    met = touched < np.minimum(most_in_full, blocks)
    either = (touched > 1) & (reach > capacity)
    mixed = np.flatnonzero(either & met)
    if len(mixed):
        tiles.flat[mixed] = _mixed_strips(
            blocks.flat[mixed],
            length.flat[mixed],
            capacity,
            touched.flat[mixed],
        )
    return np.where(limit > 0, tiles, 0)


# Full tiles alternate with tiles that the limit ends. B blocks of L lines each are laid end to end; a tile
# holds at most Q lines (the capacity) and touches at most k blocks (the limit), with Q < k*L.
#
# A tile that starts o lines after a border of blocks, 0 <= o < L, reaches k*L - o lines further before it
# would touch a block too many. So it is full if o <= k*L - Q, the slack, and otherwise it ends at a border.
# From a border on, tile t = 0, 1, ... starts at o_t = t*Q mod L as long as all before it were full. Let f be
# the first t with o_t > slack. Then tiles 0 ... f end at a border, after f*Q + k*L - o_f lines: the period of
#
#     p = (f*Q + k*L - o_f) / L  blocks, in f + 1 tiles,
#
# after which all repeats. B blocks are floor(B/p) periods and r = B mod p further blocks, whose tiles are
# full up to the f-th: min(ceil(r*L/Q), f + 1) of them. Where o_t comes back to 0 first, or t*Q reaches B*L,
# no tile meets the limit, and ceil(B*L/Q) are enough. Both are exact, as filling tiles as far as they go is
# optimal (`strip_pieces`).
def _mixed_strips(
    blocks: Array,
    length: Array,
    capacity: int,
    limit: Array,
) -> Array:
    """Tiles where the limit ends some tiles and the capacity others, for arrays of cases (K,)."""
    full = np.zeros_like(length)  # f
    offset = np.zeros_like(length)  # o_f
    slack = limit * length - capacity
    running = np.ones(len(length), bool)
    while running.any():
        running &= offset <= slack
        full[running] += 1
        stop = offset[running] + capacity
        offset[running] = stop % length[running]
        # Back at a border without ever meeting the limit, or past the last block: all tiles are full.
        inside = full * capacity < blocks * length
        running &= (offset > 0) & inside
    limited = offset > slack
    lines = full * capacity + limit * length - offset
    period = np.where(
        limited,
        lines // length,
        blocks,
    )
    periods = blocks // period
    rest = blocks % period
    per_period = full + 1
    last = np.minimum(
        ceil(rest * length, capacity),
        per_period,
    )
    return np.where(
        limited,
        periods * per_period + last,
        ceil(blocks * length, capacity),
    )
