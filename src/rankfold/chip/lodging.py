"""Rows that wait longer than arrays need them, in buffers of other cores where their own has no room.

Of the R rows of a source that a reader has a place for, W are those that a bundle reads and those that come
next; the others only wait, such as rows that are added behind a whole block of layers. Where a core would
hold too much, a share of every such row goes on to the nearest cores with room, and comes back before it is
read. A share s of rows of b bits gives back s (R - W) b bits of room, and sends s b bits there and back for
each row of an image; so the readings that give back most for what they send go first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankfold.chip.graph import Reading, TaskGraph
from rankfold.chip.placement import Placement
from rankfold.machine import ChipSpec

ROUNDING = 1e-12  # of a share, what sums of shares lose
Rows = Sequence[Sequence[int]]  # of each task, for each of its readings, rows that have a place at once


@dataclass(frozen=True)
class Lodging:
    """What one core keeps for another.

    Attributes:
        reader: the task that reads it, and
        number: which of its readings it is.
        core: where it is read, and
        host: where it waits.
        share: of each row of the source.
    """

    reader: int
    number: int
    core: int
    host: int
    share: float


def bytes_held(
    graph: TaskGraph, placement: Placement, rows: Rows, lodgings: Sequence[Lodging] = ()
) -> dict[int, float]:
    """Bytes that each core has to hold: of every row the share that it needs, and what it keeps for others.

    Args:
        graph: the network.
        placement: where it is.
        rows: that have a place at once.
        lodgings: what waits elsewhere.
    """
    held: dict[int, float] = defaultdict(float)
    for index, task in enumerate(graph.tasks):
        waiting = sum(
            number * reading.row_bits for reading, number in zip(task.reads, rows[index], strict=True)
        )
        for part in placement.parts[index]:
            held[part.core] += part.needs * waiting / 8
    for one in lodgings:
        room = one.share * _only_waiting(graph, one.reader, one.number, rows)
        held[one.core] -= room
        held[one.host] += room
    return dict(held)


def lodged(graph: TaskGraph, placement: Placement, rows: Rows, chip: ChipSpec) -> tuple[Lodging, ...] | None:
    """Where rows wait so that no buffer has to hold more than it can; None: there is no room for all.

    Args:
        graph: the network.
        placement: where it is.
        rows: that have a place at once.
        chip: the chip.
    """
    held = bytes_held(graph, placement, rows)
    room = {core: chip.buffer.size - held.get(core, 0.0) for core in range(chip.cores.count)}
    found: list[Lodging] = []
    for core in sorted(room, key=room.__getitem__):
        if room[core] >= 0:
            break
        moved = _moved(graph, placement, rows, core, -room[core])
        if moved is None:
            return None
        hosts = sorted(room, key=lambda other: (chip.hops(core, other), other))
        for reader, number, share in moved:
            each = _only_waiting(graph, reader, number, rows)
            for host in hosts:
                here = min(share, max(room[host], 0.0) / each)
                if here > 0:
                    found.append(Lodging(reader, number, core, host, here))
                    room[host] -= here * each
                    share -= here
            if share > ROUNDING:
                return None
    return tuple(found)


def _moved(
    graph: TaskGraph, placement: Placement, rows: Rows, core: int, excess: float
) -> list[tuple[int, int, float]] | None:
    """(reader, number of its reading, share of each row) that wait elsewhere; None: not enough can."""
    offers = []
    for index, task in enumerate(graph.tasks):
        for part in placement.parts[index]:
            if part.core != core:
                continue
            for number, reading in enumerate(task.reads):
                saved = _only_waiting(graph, index, number, rows)
                if saved > 0:
                    offers.append((saved / reading.bits, index, number, part.needs, saved))
    moved = []
    for _, index, number, needs, saved in sorted(offers, reverse=True):
        share = min(needs, excess / saved)
        moved.append((index, number, share))
        excess -= share * saved
        if excess <= 1e-9:
            return moved
    return None


def _only_waiting(graph: TaskGraph, reader: int, number: int, rows: Rows) -> float:
    """Bytes of whole rows that have a place, and are neither read nor the next to be."""
    reading = graph.tasks[reader].reads[number]
    return max(rows[reader][number] - _in_use(graph, reading), 0) * reading.row_bits / 8


def _in_use(graph: TaskGraph, reading: Reading) -> int:
    """Rows that a bundle of the reader reads, and those of the source's bundle that comes next."""
    before = (0, *reading.frees[:-1])
    most = max(need - freed for need, freed in zip(reading.needs, before, strict=True))
    return most + graph.tasks[reading.source].window


def by_reading(lodgings: Sequence[Lodging]) -> Mapping[tuple[int, int], tuple[Lodging, ...]]:
    """Lodgings by reader and number of its reading."""
    found: dict[tuple[int, int], list[Lodging]] = defaultdict(list)
    for one in lodgings:
        found[one.reader, one.number].append(one)
    return {at: tuple(those) for at, those in found.items()}
