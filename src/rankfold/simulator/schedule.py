"""The activations of a mapping as index tables: what drives each row when, and where each sum goes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankfold.mapping import Mapping, Region, StoredMatrix, Tile

Array = np.ndarray
Member = tuple[Tile, int]  # a tile, and the number of the placement of its sums


@dataclass(frozen=True, eq=False)
class Strip:
    """Tiles of one region that are driven by the same rows, side by side.

    Attributes:
        offset: (r,) place of each row's input in the padded feature map (C_in, Hp, Wp) laid out flat, from
            the window's first.
        slot: (r,) which of the windows served at once it belongs to; None where there is one.
        weight_index: (r, c) index into the weight (m, C_in/G, kh, kw) laid out flat, -1 where the cell holds
            zero.
        widths: columns of each tile, c in all.
        sums: for each tile, which of the region's lists of sums its columns add to.
        first_row: of the array; not 0 where earlier rows of the same tiles are driven before these.
    """

    offset: Array
    slot: Array | None
    weight_index: Array
    widths: tuple[int, ...]
    sums: tuple[int, ...]
    first_row: int = 0

    def turns(self, rows_driven: int | None) -> tuple[Strip, ...]:
        """The strips that are driven one after another, where no more rows than these are driven at once."""
        rows = len(self.offset)
        if rows_driven is None or rows <= rows_driven:
            return (self,)
        parts = []
        for first in range(0, rows, rows_driven):
            some = slice(first, first + rows_driven)
            slot = None
            if self.slot is not None:
                slot = self.slot[some]
            part = replace(
                self,
                offset=self.offset[some],
                slot=slot,
                weight_index=self.weight_index[some],
                first_row=first,
            )
            parts.append(part)
        return tuple(parts)

    @property
    def starts(self) -> tuple[int, ...]:
        """First column of each tile."""
        starts = [0]
        for width in self.widths[:-1]:
            starts.append(starts[-1] + width)
        return tuple(starts)


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
        base: (activations, slots) place of each window's first input in one channel of the padded feature
            map.
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
        rows: the most rows that a tile is driven with at once.
    """

    padding: tuple[int, int, int, int]
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    phases: tuple[Phase, ...]
    rows: int

    @property
    def cycles(self) -> int:
        """Activations of tiles for one image: the mapping's cycles, if all rows are driven at once."""
        total = 0
        for phase in self.phases:
            activations = len(phase.base)
            for strip in phase.strips:
                total += activations * len(strip.widths)
        return total


def schedule_mapping(mapping: Mapping) -> Schedule:
    """The activations of `mapping`, with as many rows at once as its array drives."""
    shape = mapping.shape
    numbers: dict[StoredMatrix, int] = {}
    phases: list[Phase] = []
    rows = 0
    for region in mapping.regions:
        stored = numbers.setdefault(region.stored, len(numbers))
        phase = _phase(region, stored, mapping.array.rows_driven)
        phases.append(phase)
        for strip in phase.strips:
            rows = max(rows, len(strip.offset))
    return Schedule(
        shape.padding,
        (shape.in_channels, *shape.input),
        (shape.m, *shape.output),
        tuple(phases),
        rows,
    )


def _phase(region: Region, stored: int, rows_driven: int | None) -> Phase:
    _, width = region.footprint.shape.padded_input
    stride_y, stride_x = region.footprint.shape.stride
    origins = region.origins()  # (activations, slots, 2), in output pixels
    first_y = origins[..., 0] * stride_y
    first_x = origins[..., 1] * stride_x
    base = first_y * width + first_x  # (activations, slots)
    # Tiles that read the same outputs share their sums; tiles that are driven alike run side by side.
    sums: dict[bytes, int] = {}
    placements: list[Placement] = []
    strips: dict[bytes, list[Member]] = {}
    for tile in region.tiles():
        columns = _key(tile.col_channel, tile.col_y, tile.col_x, tile.col_slot)
        if columns not in sums:
            sums[columns] = len(placements)
            placements.append(_placement(region, tile, origins))
        rows = _key(tile.row_channel, tile.row_y, tile.row_x, tile.row_slot)
        members = strips.setdefault(rows, [])
        members.append((tile, sums[columns]))
    joined: list[Strip] = []
    for members in strips.values():
        joined += _strip(region, members).turns(rows_driven)
    return Phase(
        stored,
        base,
        tuple(joined),
        tuple(placements),
    )


def _strip(region: Region, members: list[Member]) -> Strip:
    """Tiles, each with the number of its sums, that are driven by the same rows."""
    height, width = region.footprint.shape.padded_input
    first, _ = members[0]
    slot = None
    if region.slots > 1:
        slot = first.row_slot
    weight_index = [tile.weight_index for tile, _ in members]
    line = first.row_channel * height + first.row_y
    return Strip(
        line * width + first.row_x,
        slot,
        np.concatenate(weight_index, axis=1),
        tuple(tile.columns for tile, _ in members),
        tuple(number for _, number in members),
    )


def _placement(region: Region, tile: Tile, origins: Array) -> Placement:
    """Where the sums of a tile's columns belong; windows that overlap compute some pixels more than once."""
    height, width = region.footprint.shape.output
    of_columns = origins[:, tile.col_slot]  # (activations, c, 2)
    y = of_columns[..., 0] + tile.col_y
    x = of_columns[..., 1] + tile.col_x
    line = tile.col_channel * height + y
    pixel = (line * width + x).reshape(-1)  # (activations * c,)
    source = np.flatnonzero(region.kept(tile))
    # By rising pixel, so that whole runs of them can be recognised.
    order = np.argsort(pixel[source], kind="stable")
    source = source[order]
    return Placement(tile.columns, source, pixel[source])


def _key(*lines: Array) -> bytes:
    return b"".join(line.tobytes() for line in lines)
