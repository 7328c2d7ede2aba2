"""The activations of a mapping as index tables: which input drives which row when, and where each column's sum goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.mapping import Mapping, Region, StoredMatrix, Tile

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Strip:
    """Tiles of one region that are driven by the same rows, side by side.

    Attributes:
        offset: (r,) place of each row's input in the padded feature map (C_in, Hp, Wp) laid out flat, from the window's first.
        slot: (r,) which of the windows served at once it belongs to; None where there is one.
        weight_index: (r, c) index into the weight (m, C_in/G, kh, kw) laid out flat, -1 where the cell holds zero.
        widths: columns of each tile, c in all.
        sums: for each tile, which of the region's lists of sums its columns add to.
    """

    offset: Array
    slot: Array | None
    weight_index: Array
    widths: tuple[int, ...]
    sums: tuple[int, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """First column of each tile."""
        return tuple(int(start) for start in np.cumsum((0, *self.widths[:-1])))


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the sums of some columns belong, added up over row tiles.

    Attributes:
        columns: c.
        source: (P,) number of the sum (activation * c + column) that each pixel takes.
        pixel: (P,) place of the pixel in the output (m, OH, OW) laid out flat.
    """

    columns: int
    source: Array
    pixel: Array


@dataclass(frozen=True, eq=False)
class Phase:
    """The activations of one region.

    Attributes:
        stored: number of the stored matrix; regions with the same one use the same arrays.
        base: (activations, slots) place of each window's first input in one channel of the padded feature map.
        strips: the tiles.
        placements: what becomes of their sums.
    """

    stored: int
    base: Array
    strips: tuple[Strip, ...]
    placements: tuple[Placement, ...]


@dataclass(frozen=True, eq=False)
class Schedule:
    """All activations of a mapping.

    Attributes:
        padding: (top, bottom, left, right).
        input: (C_in, H, W).
        output: (m, OH, OW).
        phases: one for each region.
        rows: rows of the fullest tile.
    """

    padding: tuple[int, int, int, int]
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    phases: tuple[Phase, ...]
    rows: int

    @property
    def cycles(self) -> int:
        """Activations of tiles for one image, which are the mapping's cycles."""
        return sum(
            len(phase.base) * sum(len(strip.widths) for strip in phase.strips) for phase in self.phases
        )


def schedule_mapping(mapping: Mapping) -> Schedule:
    """The activations of `mapping`."""
    shape = mapping.shape
    numbers: dict[StoredMatrix, int] = {}
    phases = tuple(
        _phase(region, numbers.setdefault(region.stored, len(numbers))) for region in mapping.regions
    )
    rows = max(len(strip.offset) for phase in phases for strip in phase.strips)
    return Schedule(shape.padding, (shape.in_channels, *shape.input), (shape.m, *shape.output), phases, rows)


def _phase(region: Region, stored: int) -> Phase:
    shape = region.footprint.shape
    height, width = shape.padded_input
    origins = region.origins()  # (activations, slots, 2)
    base = origins[..., 0] * shape.stride[0] * width + origins[..., 1] * shape.stride[1]
    sums: dict[bytes, int] = {}
    placements: list[Placement] = []
    strips: dict[bytes, list[tuple[Tile, int]]] = {}
    for tile in region.tiles():
        columns = _key(tile.col_channel, tile.col_y, tile.col_x, tile.col_slot)
        if columns not in sums:
            sums[columns] = len(placements)
            placements.append(_placement(region, tile, origins))
        rows = _key(tile.row_channel, tile.row_y, tile.row_x, tile.row_slot)
        strips.setdefault(rows, []).append((tile, sums[columns]))
    found = []
    for members in strips.values():
        first = members[0][0]
        found.append(
            Strip(
                (first.row_channel * height + first.row_y) * width + first.row_x,
                first.row_slot if region.slots > 1 else None,
                np.concatenate([tile.weight_index for tile, _ in members], axis=1),
                tuple(tile.columns for tile, _ in members),
                tuple(number for _, number in members),
            )
        )
    return Phase(stored, base, tuple(found), tuple(placements))


def _placement(region: Region, tile: Tile, origins: Array) -> Placement:
    height, width = region.footprint.shape.output
    y = origins[:, tile.col_slot, 0] + tile.col_y  # (activations, c)
    x = origins[:, tile.col_slot, 1] + tile.col_x
    pixel = ((tile.col_channel * height + y) * width + x).reshape(-1)
    source = np.flatnonzero(region.kept(tile))
    order = np.argsort(pixel[source], kind="stable")
    return Placement(tile.columns, source[order], pixel[source][order])


def _key(*lines: Array) -> bytes:
    return b"".join(line.tobytes() for line in lines)
