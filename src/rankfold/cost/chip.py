"""A chip of P arrays: whether a network's weights stay on it, and what it then takes to run an image."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from rankfold.arguments import WHOLE, plain_numbers_
from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.makespan import Load, least_makespan, least_time
from rankfold.cost.packing import Packing, pack_tiles
from rankfold.cost.rewriting import Rewriting, rewriting
from rankfold.cost.stored import StoredStage, reference_columns, stages_of, stored_stage
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping
from rankfold.workload.shape import Pair


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
        plain_numbers_(self)
        if not WHOLE.fits(self.arrays) or not 1 <= self.arrays <= 1 << 20:
            raise InputError(f"arrays (={self.arrays}) must be a whole number from 1 to {1 << 20}")


@dataclass(frozen=True)
class ChipSchedule:
    """How a chip runs a network, stage by stage.

    A stage is one stored convolution: a layer, or one of the two stages of a low-rank pair.

    Cycles are activations, each of one tile: with a whole vector, or where the network was placed on arrays
    as they are built, with one slice of the inputs. A tile of w activations on k arrays takes ceil(w/k)
    cycles. Tiles of a stage work side by side, so that it takes as long as the
    slowest. Where the weights stay on the chip, in the first way that fits:

    - `copies`: every tile has an array of its own. Spare arrays hold copies of tiles, among which the windows
      are divided, as in ISAAC (Shafiee et al., ISCA 2016), such that the slowest stage is as fast as can be;
      what is left then shortens other stages. Stages work on successive images at the same time.
    - `shared`: tiles share arrays diagonally, and tiles of one array take turns. The interval is the busiest
      array's work, which images that overlap reach; the latency is that of an image alone.

    Weights can also be rewritten, and must be where neither fits (`rewrite`): one stage after another runs on
    all arrays. A stage with fewer tiles than there are arrays has copies; one with more writes each tile once
    and lets it do all its activations there, the longest first, each on the array that is free first: at most
    4/3 of the least time (Graham, 1969). Where writing takes time, a tile has only the copies that save more
    than they take to be written, and most tiles may stay while the others take turns; see `rewriting`.

    Attributes:
        chip: the chip.
        case: `copies`, `shared` or `rewrite`.
        tiles: tiles of all stages.
        packing: the fewest arrays found that hold all tiles at once.
        interval: cycles between two images with weights that stay; None where they do not fit.
        latency: cycles from an image's first activation to its last with weights that stay, stage after
            stage; or None.
        rewriting: how weights that do not stay are rewritten.
        rewriting_latency_at_least: cycles that no way to share the arrays out among the tiles of each such
            stage can beat, even if writing took none.
        rewrites_at_least: tiles that every schedule has to write that holds one tile an array and repeats for
            each image. In it an array that is written during an image is written again during the next, so
            that of more than P tiles at most P - 1 keep an array, and each other one is written for each
            image.
        interval_at_least: activations per array, rounded up: no schedule that activates one tile of an array
            at a time is faster.
        copies: of each stage's tiles, one number for each of its stored matrices; empty unless `case` is
            `copies`.
    """

    chip: Chip
    case: str
    tiles: int
    packing: Packing
    interval: int | None
    latency: int | None
    _: KW_ONLY
    rewriting: Rewriting
    rewriting_latency_at_least: int
    rewrites_at_least: int
    interval_at_least: int
    copies: tuple[tuple[int, ...], ...] = ()

    @property
    def rewriting_latency(self) -> int:
        """Cycles of an image whose weights are rewritten, with writing."""
        return self.rewriting.latency

    @property
    def rewrites(self) -> int:
        """Tiles written for each image (or batch) then, copies not counted."""
        return self.tiles - self.rewriting.kept

    def to_json(self) -> dict[str, Any]:
        """The chip's entry in the `--json` output."""
        return {
            "arrays": self.chip.arrays,
            "case": self.case,
            "tiles": self.tiles,
            "arrays_needed": self.packing.arrays,
            "arrays_needed_at_least": self.packing.lower_bound,
            "interval": self.interval,
            "interval_at_least": self.interval_at_least,
            "latency": self.latency,
            "rewriting_latency": self.rewriting_latency,
            "rewriting_latency_at_least": self.rewriting_latency_at_least,
            "rewrites": self.rewrites,
            "rewrites_at_least": self.rewrites_at_least,
            "copies": [list(copies) for copies in self.copies],
        }


def schedule(costs: NetworkCycles, arrays: int, row_write: float = 0.0) -> ChipSchedule:
    """Run the chosen mappings of a network on a chip.

    Args:
        costs: the network: with a weight in a cell (`network_cycles`), or on arrays as they are built
            (`placed_cycles`).
        arrays: P.
        row_write: cycles that writing a row of an array takes.

    Raises:
        InputError: P is not a whole number from 1 to 2^20.
    """
    placed = any(layer.placed for layer in costs.layers)
    array = costs.array
    # With a weight in a cell there is nothing for a reference to be taken from.
    if not placed:
        array = replace(array, cell_bits=None)
    return _schedule(stages_of(costs), Chip(array, arrays), row_write)


def schedule_stages(stages: Sequence[Mapping], chip: Chip) -> ChipSchedule:
    """Run mapped convolutions, one after another, on a chip. Sources: see `ChipSchedule`.

    Args:
        stages: the stored convolutions of a network, in the order in which they run.
        chip: the chip.

    Raises:
        InputError: there is no stage, or one is mapped onto other arrays than the chip's.
    """
    if not stages:
        raise InputError("stages must hold at least one mapped convolution")
    for stage in stages:
        if stage.array != chip.array:
            raise InputError(
                f"layer {stage.shape.name}: mapped onto arrays of {stage.array}, but the chip has "
                f"{chip.array}"
            )
    return _schedule([stored_stage(stage, chip.array) for stage in stages], chip, 0.0)


def _schedule(stages: Sequence[StoredStage], chip: Chip, row_write: float) -> ChipSchedule:
    # Of each stage, (tiles, activations of each tile) of its stored matrices.
    loads = [stage.loads for stage in stages]
    # Tiles by (rows, columns): whether they fit one array depends on nothing else.
    extents: Counter[Pair] = Counter()
    for stage in stages:
        for alike in stage.tiles:
            extents.update(dict(alike.sizes))
    # Tiles of one array share the column that their offset is read from: only one of them works at a time.
    reference = reference_columns(chip.array)
    room = replace(chip.array, columns=chip.array.columns - reference)
    arrays, tiles = chip.arrays, extents.total()
    packing = pack_tiles(extents, room)
    interval: int | None = None
    latency: int | None = None
    copies: list[list[int]] = []
    # Tried in this order: a tile with an array of its own never waits for another.
    if tiles <= arrays:
        case, copies = "copies", copies_of_tiles(loads, arrays)
        times = [_time(stage, each) for stage, each in zip(loads, copies, strict=True)]
        # Images overlap, so the slowest stage sets the pace; a single image goes through all stages.
        interval, latency = max(times), sum(times)
    elif packing.arrays <= arrays:
        case = "shared"
        interval, latency = _in_turns(stages, packing)
    else:
        case = "rewrite"
    # Of more tiles than arrays at most P - 1 keep an array.
    rewrites = 0
    if tiles > arrays:
        rewrites = tiles - (arrays - 1)
    return ChipSchedule(
        chip,
        case,
        tiles,
        packing,
        interval,
        latency,
        rewriting=rewriting(stages, arrays, row_write, reference),
        rewriting_latency_at_least=sum(least_makespan(stage, arrays) for stage in loads),
        rewrites_at_least=rewrites,
        interval_at_least=-(-sum(number * times for stage in loads for number, times in stage) // arrays),
        copies=tuple(tuple(each) for each in copies),
    )


def _time(stage: Sequence[Load], copies: Sequence[int]) -> int:
    # -(-a // b) is a / b rounded up. Copies divide a tile's windows; the stage waits for the slowest tile.
    return max(-(-times // number) for (_, times), number in zip(stage, copies, strict=True))


def copies_of_tiles(stages: Sequence[Sequence[Load]], arrays: int) -> list[list[int]]:
    """Copies of each stage's tiles: the fewest for the shortest interval; the rest, greedily, where they save
    most cycles.

    Args:
        stages: of each stage, (tiles, activations of each) of its stored matrices.
        arrays: at least as many as there are tiles.
    """
    # One time for the tiles of all stages at once, since the slowest stage is the interval.
    interval = least_time([load for stage in stages for load in stage], arrays)
    # The fewest copies with which each tile keeps up.
    copies = [[-(-times // interval) for _, times in stage] for stage in stages]
    spare = arrays - sum(_held(stage, each) for stage, each in zip(stages, copies, strict=True))

    def offer(index: int) -> tuple[float, int, int, list[int]]:
        """(cycles saved for an array, negated; stage; arrays; copies): the fewest more arrays that make the
        stage faster.
        """
        stage, each = stages[index], copies[index]
        time = _time(stage, each)
        # One cycle less is the least gain; tiles that are fast enough for it keep their copies.
        more = [max(number, -(-times // (time - 1))) for (_, times), number in zip(stage, each, strict=True)]
        price = _held(stage, more) - _held(stage, each)
        # Negative, as a heap gives its smallest first; a cycle saved with fewer arrays is worth more.
        gain = _time(stage, more) - time
        return gain / price, index, price, more

    # A stage of one cycle cannot get faster, and has nothing to offer.
    offers = [offer(index) for index in range(len(stages)) if _time(stages[index], copies[index]) > 1]
    heapq.heapify(offers)
    while offers:
        _, index, price, more = heapq.heappop(offers)
        # Any faster time of this stage takes at least as many arrays.
        if price > spare:
            continue
        copies[index] = more
        spare -= price
        if _time(stages[index], more) > 1:
            heapq.heappush(offers, offer(index))
    return copies


def _held(stage: Sequence[Load], copies: Sequence[int]) -> int:
    """Arrays that hold a stage's tiles and their copies."""
    return sum(tiles * number for (tiles, _), number in zip(stage, copies, strict=True))


def _in_turns(stages: Sequence[StoredStage], packing: Packing) -> tuple[int, int]:
    """(interval, latency) where tiles share arrays: the busiest array over all stages, and over each, added
    up.
    """
    # Tiles of one size may stand for each other, so an array of that size is taken off a list.
    places: dict[Pair, list[int]] = {}
    first = 0
    for contents, count in packing.bins:
        for size, number in contents:
            # Neighbours in this list are different arrays, so that the tiles of a stage meet as seldom as
            # possible.
            places.setdefault(size, []).extend(list(range(first, first + count)) * number)
        first += count
    busy: Counter[int] = Counter()
    latency = 0
    for stage in stages:
        turns: Counter[int] = Counter()
        for alike in stage.tiles:
            for size, number in alike.sizes:
                for _ in range(number):
                    turns[places[size].pop()] += alike.times
        # Images overlap: an array serves every stage that has a tile in it.
        busy.update(turns)
        # An image alone is in one stage at a time, and waits for that stage's busiest array only.
        latency += max(turns.values())
    return max(busy.values()), latency
