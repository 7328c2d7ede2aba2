"""Packing of diagonal blocks into arrays: blocks are laid end to end and cut, tile by tile, as late as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

Array = np.ndarray
Piece = tuple[int, int, int]  # block, first line, line after the last


def ceil(value: Array | int, divisor: Array | int) -> Array:
    """ceil(value / divisor), element by element."""
    return np.asarray((value + (divisor - 1)) // divisor)


def strip_pieces(lengths: Iterable[int], capacity: int, limit: int) -> Iterator[list[Piece]]:
    """Cut blocks laid end to end into tiles of at most `capacity` lines from at most `limit` blocks.

    Filling every tile as far as it goes is optimal: whatever another cutting has covered after t tiles, this has too.

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
            if free == 0 or (start == 0 and len(tile) == limit):
                yield tile
                tile, free = [], capacity
            stop = min(length, start + free)
            tile.append((block, start, stop))
            free -= stop - start
            start = stop
    if tile:
        yield tile


def strip_count(lengths: Iterable[int], capacity: int, limit: int) -> int:
    """Tiles of `strip_pieces`."""
    tiles, free, touched = 0, 0, 0
    for length in lengths:
        if tiles == 0 or free == 0 or touched == limit:
            tiles, free, touched = tiles + 1, capacity, 0
        touched += 1
        if length > free:
            more = -(-(length - free) // capacity)
            tiles, free, touched = tiles + more, free + more * capacity, 1
        free -= length
    return tiles


def equal_strips(blocks: Array, length: Array, capacity: int, limit: Array) -> Array:
    """Tiles of `strip_pieces` for equal blocks, for many cases at once.

    Args:
        blocks: blocks of each case.
        length: lines of each of its blocks, at least 1.
        capacity: lines of a tile.
        limit: blocks a tile may touch; a case with limit 0 counts no tile.
    """
    blocks, length, limit = np.broadcast_arrays(blocks, length, limit)
    safe = np.maximum(limit, 1)
    # Whole blocks only, where the limit binds first; otherwise every tile can be full, but for the last one.
    tiles = np.where(safe * length <= capacity, ceil(blocks, safe), ceil(blocks * length, capacity))
    tiles = np.where((safe == 1) & (length > capacity), blocks * ceil(length, capacity), tiles)
    most = ceil(capacity - 1, length) + 1  # blocks that a full tile may touch
    mixed = np.flatnonzero((safe > 1) & (safe * length > capacity) & (safe < np.minimum(most, blocks)))
    if len(mixed):
        tiles.flat[mixed] = _mixed_strips(blocks.flat[mixed], length.flat[mixed], capacity, safe.flat[mixed])
    return np.where(limit > 0, tiles, 0)


def _mixed_strips(blocks: Array, length: Array, capacity: int, limit: Array) -> Array:
    """Where full tiles alternate with tiles that the limit ends at the border of a block, after which all repeats."""
    full = np.zeros_like(length)
    offset = np.zeros_like(length)
    slack = limit * length - capacity
    running = np.ones(len(length), bool)
    while running.any():
        running &= offset <= slack
        full[running] += 1
        offset[running] = (offset[running] + capacity) % length[running]
        # Back at a border without ever meeting the limit, or past the last block: all tiles are full.
        running &= (offset > 0) & (full * capacity < blocks * length)
    period = np.where(offset > slack, (full * capacity + limit * length - offset) // length, blocks)
    whole, rest = blocks // period, blocks % period
    return np.where(
        offset > slack,
        whole * (full + 1) + np.minimum(ceil(rest * length, capacity), full + 1),
        ceil(blocks * length, capacity),
    )
