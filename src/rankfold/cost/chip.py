"""A chip of P arrays: whether a network's weights stay on it, and what it then takes to run an image."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.cost.arrays import Packing, pack_tiles
from rankfold.cost.cycles import NetworkCycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping
from rankfold.workload.shape import Pair

Load = tuple[int, int]  # tiles, activations of each per image


@dataclass(frozen=True)
class Chip:
    """P arrays of one size, each of which is activated at most once a cycle.

    Attributes:
        array: R x C.
        arrays: P.
    """

    array: ArraySpec
    arrays: int

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, int) or not 1 <= self.arrays <= 1 << 20:
            raise InputError(f"arrays (={self.arrays}) must be a whole number from 1 to {1 << 20}")


@dataclass(frozen=True)
class ChipSchedule:
    """How a chip runs a network. A stage is one stored convolution: a layer, or one of the two stages of a low-rank pair.

    Cycles are activations; the time to write arrays is not in them. Where the weights stay on the chip, in the first way
    that fits:

    - `copies`: every tile has an array of its own. Spare arrays hold copies of tiles, among which the windows are divided, as
      in ISAAC (Shafiee et al., ISCA 2016), such that the slowest stage is as fast as can be; what is left then shortens other
      stages. Stages work on successive images at the same time.
    - `shared`: tiles share arrays diagonally, and tiles of one array take turns.

    Weights can also be rewritten, and must be where neither fits (`rewrite`): one stage after another runs on all arrays. A
    stage with fewer tiles than there are arrays has copies; one with more writes each tile once and lets it do all its
    activations there.

    Attributes:
        chip: the chip.
        case: `copies`, `shared` or `rewrite`.
        tiles: tiles of all stages.
        packing: the fewest arrays found that hold all tiles at once.
        interval: cycles between two images with weights that stay; None where they do not fit.
        latency: cycles from an image's first activation to its last with weights that stay, stage after stage; or None.
        rewriting_latency: cycles of an image where every stage has all arrays.
        rewrites: tiles written for each image (or batch) then, copies not counted.
        rewrites_at_least: tiles that every schedule has to write that holds one tile an array and repeats for each image.
        copies: of each stage's tiles, one number for each of its stored matrices; empty unless `case` is `copies`.
    """

    chip: Chip
    case: str
    tiles: int
    packing: Packing
    interval: int | None
    latency: int | None
    rewriting_latency: int
    rewrites: int
    rewrites_at_least: int
    copies: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The chip's entry in the `--json` output."""
        return {
            "arrays": self.chip.arrays,
            "case": self.case,
            "tiles": self.tiles,
            "arrays_needed": self.packing.arrays,
            "arrays_needed_at_least": self.packing.lower_bound,
            "interval": self.interval,
            "latency": self.latency,
            "rewriting_latency": self.rewriting_latency,
            "rewrites": self.rewrites,
            "rewrites_at_least": self.rewrites_at_least,
            "copies": [list(copies) for copies in self.copies],
        }


def schedule(costs: NetworkCycles, arrays: int) -> ChipSchedule:
    """Run the chosen mappings of a network on a chip.

    Args:
        costs: the network on its array.
        arrays: P.

    Raises:
        InputError: P is not a whole number from 1 to 2^20.
    """
    return schedule_stages([stage for layer in costs.layers for stage in layer.stages], Chip(costs.array, arrays))


def schedule_stages(stages: Sequence[Mapping], chip: Chip) -> ChipSchedule:
    """Run mapped convolutions, one after another, on a chip. Errors and sources: see `ChipSchedule`."""
    loads = [[(stored.tile_count, times) for stored, times in stage.loads] for stage in stages]
    extents: Counter[Pair] = Counter()
    for stage in stages:
        for stored, _ in stage.loads:
            extents.update(stored.extents())
    tiles = extents.total()
    packing = pack_tiles(extents, chip.array)
    rewriting = sum(_makespan(stage, chip.arrays) for stage in loads)
    if tiles <= chip.arrays:
        copies = _copies(loads, chip.arrays)
        times = [_time(stage, each) for stage, each in zip(loads, copies, strict=True)]
        chosen = tuple(tuple(each) for each in copies)
        return ChipSchedule(chip, "copies", tiles, packing, max(times), sum(times), rewriting, tiles, 0, chosen)
    # An array that is written at all during an image is written again for the next one, so at most P - 1 arrays keep theirs.
    least = tiles - (chip.arrays - 1)
    if packing.arrays <= chip.arrays:
        return ChipSchedule(chip, "shared", tiles, packing, *_in_turns(stages, packing), rewriting, tiles, least)
    return ChipSchedule(chip, "rewrite", tiles, packing, None, None, rewriting, tiles, least)


def _time(stage: Sequence[Load], copies: Sequence[int]) -> int:
    return max(-(-times // number) for (_, times), number in zip(stage, copies, strict=True))


def _least_time(stage: Sequence[Load], arrays: int) -> int:
    """The smallest t with sum over tiles of ceil(activations / t) <= arrays: exact, since that many copies are needed for t."""
    low, high = 1, max(times for _, times in stage)
    while low < high:
        middle = (low + high) // 2
        if sum(tiles * -(-times // middle) for tiles, times in stage) <= arrays:
            high = middle
        else:
            low = middle + 1
    return low


def _copies(stages: Sequence[Sequence[Load]], arrays: int) -> list[list[int]]:
    """Copies of each stage's tiles: the fewest for the shortest interval; the rest, greedily, where they save most cycles."""
    interval = _least_time([load for stage in stages for load in stage], arrays)
    copies = [[-(-times // interval) for _, times in stage] for stage in stages]
    spare = arrays - sum(
        tiles * number for stage, each in zip(stages, copies, strict=True) for (tiles, _), number in zip(stage, each, strict=True)
    )

    def offer(index: int) -> tuple[float, int, int]:
        """(cycles saved for an array, negated; stage; arrays) of one more copy of the stage's slowest tiles."""
        stage, each = stages[index], copies[index]
        time = _time(stage, each)
        slow = [-(-times // number) == time for (_, times), number in zip(stage, each, strict=True)]
        price = sum(tiles for (tiles, _), late in zip(stage, slow, strict=True) if late)
        after = _time(stage, [number + late for number, late in zip(each, slow, strict=True)])
        return (after - time) / price, index, price

    offers = [offer(index) for index in range(len(stages))]
    heapq.heapify(offers)
    while offers:
        saved, index, price = heapq.heappop(offers)
        if saved == 0 or price > spare:
            continue
        time = _time(stages[index], copies[index])
        copies[index] = [
            number + (-(-times // number) == time) for (_, times), number in zip(stages[index], copies[index], strict=True)
        ]
        spare -= price
        heapq.heappush(offers, offer(index))
    return copies


def _makespan(stage: Sequence[Load], arrays: int) -> int:
    """Cycles of one stage with all arrays: copies where there are arrays to spare, else several tiles an array, longest first.

    Longest-processing-time-first is within 4/3 of the optimum (Graham 1969), and exact where all tiles take equally long.
    """
    if sum(tiles for tiles, _ in stage) <= arrays:
        return _least_time(stage, arrays)
    busy = [0] * arrays
    everywhere = 0
    for tiles, times in sorted(stage, key=lambda load: load[1], reverse=True):
        everywhere += tiles // arrays * times
        for _ in range(tiles % arrays):
            heapq.heapreplace(busy, busy[0] + times)
    return everywhere + max(busy)


def _in_turns(stages: Sequence[Mapping], packing: Packing) -> tuple[int, int]:
    """(interval, latency) where tiles share arrays: the busiest array over all stages, and over each, added up."""
    places: dict[Pair, list[int]] = {}
    first = 0
    for contents, count in packing.bins:
        for size, number in contents:
            # Neighbours in this list are different arrays, so that the tiles of a stage meet as seldom as possible.
            places.setdefault(size, []).extend(list(range(first, first + count)) * number)
        first += count
    busy: Counter[int] = Counter()
    latency = 0
    for stage in stages:
        turns: Counter[int] = Counter()
        for stored, times in stage.loads:
            for size, number in stored.extents().items():
                for _ in range(number):
                    turns[places[size].pop()] += times
        busy.update(turns)
        latency += max(turns.values())
    return max(busy.values()), latency
