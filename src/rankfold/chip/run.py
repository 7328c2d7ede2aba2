"""`ChipRun`: what a network really does on a described chip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rankfold.chip.energy import (
    ARRAYS,
    BUFFERS,
    FJ,
    INTERCONNECT,
    LEAKAGE,
    MEMORY,
    UNITS,
    WRITING,
    array_energy,
    buffer_bits,
    chip_area,
    chip_leakage,
    unit_energy,
)
from rankfold.chip.graph import TaskGraph
from rankfold.chip.kept import best_plan, laid_out, mappings_of, placed_on, priced
from rankfold.chip.layer_by_layer import LayerByLayer, run_layer_by_layer
from rankfold.chip.lodging import lodged
from rankfold.chip.placement import Placement, place_copies
from rankfold.chip.timing import Timing, timing
from rankfold.chip.traffic import Traffic, traffic, with_lodgings
from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.energy.accuracy import accuracy_to_json
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.pricing import precise_plan
from rankfold.cost.energy.zigzag import hardware_table
from rankfold.cost.planned import Masks
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import Plan
from rankfold.plan.on_chip import OnChip
from rankfold.workload import Network

NS = 1e-3  # in us
ROUNDS = 6  # in which the schedule and what waits elsewhere settle
ROUNDING = 1e-9  # of what sums of shares lose
PIPELINED = "weights stay, and all layers work at once"
STAYS = "weights stay, and one layer works after another"
WRITTEN = "weights are written for each image, for one layer after another"


@dataclass(frozen=True)
class Pipeline:
    """A network whose weights stay on the chip, and whose tasks work on successive images at once.

    Attributes:
        placement: copies and cores.
        traffic: what is sent.
        timing: when everything happens.
    """

    placement: Placement
    traffic: Traffic
    timing: Timing

    @property
    def lodging_in_words(self) -> str:
        """Which cores have no room for what only waits there; empty: all have."""
        crowded = sorted({one.core for one in self.traffic.lodgings})
        if not crowded:
            return ""
        hosts = len({one.host for one in self.traffic.lodgings})
        which = ", ".join(map(str, crowded[:5])) + (", ..." if len(crowded) > 5 else "")
        return (
            f"rows that only wait, of cores without room for them ({which}), lie in the buffers of {hosts} "
            "others"
        )


@dataclass(frozen=True, kw_only=True)
class ChipRun:
    """A network under a plan on a described chip.

    Attributes:
        network: its name.
        chip: the chip.
        plan: the plan, on the chip's arrays.
        graph: its tasks.
        placed: its layers on their arrays.
        activity: what these arrays do, and cost.
        read_time: ns of an activation of an array.
        pipeline: how it runs where its weights stay; None: they do not.
        layer_by_layer: how it runs where they are written for each image; None: they stay.
        why_not_pipelined: why they do not stay, in words; empty where they do.
        not_counted: layers and products of computed values that no array computes, in words.
        least_interval: ns between images that no copies, placement or traffic of this plan on this chip can
            beat; 0: not known.
    """

    network: str
    chip: ChipSpec
    plan: Plan
    graph: TaskGraph
    placed: NetworkCycles
    activity: NetworkEnergy
    read_time: float
    pipeline: Pipeline | None = None
    layer_by_layer: LayerByLayer | None = None
    why_not_pipelined: str = ""
    not_counted: tuple[str, ...] = ()
    least_interval: float = 0.0

    @property
    def mode(self) -> str:
        """How weights are held, in words."""
        if self.pipeline is not None:
            return PIPELINED
        if self.layer_by_layer is not None and not self.layer_by_layer.way.written:
            return STAYS
        return WRITTEN

    @property
    def interval(self) -> float:
        """us between images."""
        if self.pipeline is not None:
            return NS * self.pipeline.timing.interval
        assert self.layer_by_layer is not None
        return NS * self.layer_by_layer.latency

    @property
    def latency(self) -> float:
        """us from an image's coming to its result."""
        if self.pipeline is not None:
            return NS * self.pipeline.timing.latency
        assert self.layer_by_layer is not None
        return NS * self.layer_by_layer.latency

    @property
    def images_per_second(self) -> float:
        """Throughput."""
        return 1e6 / self.interval

    @property
    def limit(self) -> str:
        """What sets the interval, in words."""
        if self.pipeline is not None:
            work = self.pipeline.timing.limit
            return f"{work.part} ({work.where})"
        assert self.layer_by_layer is not None
        return self.layer_by_layer.limit

    @cached_property
    def energy(self) -> dict[str, float]:
        """pJ of an image by part of the chip."""
        interconnect = buffers = memory = writing = 0.0
        if self.pipeline is not None:
            buffers = buffer_bits(self.graph, self.pipeline.placement, self.pipeline.traffic.lodgings)
            interconnect = self.pipeline.traffic.total
            if self.chip.memory is not None:
                memory = float(self.graph.tasks[0].made_bits)
        elif self.layer_by_layer is not None:
            buffers = buffer_bits(self.graph, None)
            interconnect, memory = self.layer_by_layer.sent_bits, self.layer_by_layer.memory_bits
            writing = self.layer_by_layer.writing_energy
        off_chip = 0.0
        if self.chip.memory is not None:
            off_chip = FJ * memory * self.chip.memory.energy
        return {
            ARRAYS: sum(array_energy(self.activity).values()),
            UNITS: unit_energy(self.graph, self.chip),
            BUFFERS: FJ * buffers * self.chip.buffer.energy,
            INTERCONNECT: FJ * interconnect * self.chip.interconnect.energy,
            MEMORY: off_chip,
            WRITING: writing,
            # uW times us are pJ.
            LEAKAGE: chip_leakage(self.activity, self.chip) * self.interval,
        }

    @property
    def total_energy(self) -> float:
        """pJ of an image."""
        return sum(self.energy.values())

    @property
    def area(self) -> dict[str, float]:
        """mm2 by part of the chip."""
        return chip_area(self.activity, self.chip)

    @property
    def arrays_used(self) -> int:
        """Arrays that hold weights."""
        if self.pipeline is not None:
            return self.pipeline.placement.used
        return self.chip.arrays

    @property
    def on_chip(self) -> OnChip | None:
        """The copies of each layer, as plans keep them; None where weights do not stay."""
        if self.pipeline is None:
            return None
        copies: dict[str, tuple[tuple[int, ...], ...]] = {}
        for task, own in zip(self.graph.tasks, self.pipeline.placement.copies, strict=True):
            if task.layer is not None:
                name = self.placed.layers[task.layer].shape.name
                copies[name] = (*copies.get(name, ()), own)
        return OnChip(self.chip.name, copies)

    @property
    def utilisation(self) -> float:
        """Share of all arrays' time in which they are read."""
        reads = self.activity.reads
        return reads * self.read_time * NS / (self.chip.arrays * self.interval)

    def to_json(self) -> dict[str, Any]:
        """The stable interface of `--json`."""
        content: dict[str, Any] = {
            "network": self.network,
            "chip": self.chip.name,
            "mode": self.mode,
            "arrays": self.chip.arrays,
            "tiles": sum(task.tiles for task in self._stored_once()),
            "arrays_used": self.arrays_used,
            "read_time_ns": self.read_time,
            "interval_us": self.interval,
            "images_per_second": self.images_per_second,
            "latency_us": self.latency,
            "limit": self.limit,
            "interval_at_least_us": NS * self.least_interval,
            "energy_pj": self.total_energy,
            "energy_by_part_pj": self.energy,
            "accuracy_on_arrays": accuracy_to_json(self.activity.accuracy),
            "energy_of_arrays_pj": array_energy(self.activity),
            "area_mm2": sum(self.area.values()),
            "area_by_part_mm2": self.area,
            "array_utilisation": self.utilisation,
            "assumed": list(self.activity.assumed),
            "not_counted": list(self.not_counted),
            "reads_assumed": self.graph.assumed_chain,
            "warnings": list(self.chip.warnings),
        }
        if self.pipeline is not None:
            content |= _pipeline_to_json(self.graph, self.pipeline, self.chip)
        if self.layer_by_layer is not None:
            content["why_not_pipelined"] = self.why_not_pipelined
            content["layer_by_layer"] = self.layer_by_layer.to_json()
        return content

    def _stored_once(self) -> list[Any]:
        return [self.graph.tasks[tasks[0]] for tasks in self.graph.on_arrays.values()]


def _pipeline_to_json(graph: TaskGraph, pipeline: Pipeline, chip: ChipSpec) -> dict[str, Any]:
    timing = pipeline.timing
    tasks = []
    for index, task in enumerate(graph.tasks):
        times = timing.tasks[index]
        tasks.append(
            {
                "name": task.name,
                "tiles": task.tiles,
                "copies": list(pipeline.placement.copies[index]),
                "cores": list(pipeline.placement.cores(index)),
                "reads": [graph.tasks[reading.source].name for reading in task.reads],
                "rows_buffered": list(timing.rows[index]),
                "begins_us": NS * float(times.begins[0]),
                "ends_us": NS * float(times.ends[-1]),
            }
        )
    return {
        "waiting_elsewhere": len(pipeline.traffic.lodgings),
        "work_us": {work.part: {"where": work.where, "time": NS * work.time} for work in timing.work},
        "sent_bits": pipeline.traffic.bits,
        "buffer_bytes": {
            "largest": max(timing.buffers.values(), default=0.0),
            "of_each_core": chip.buffer.size,
        },
        "tasks": tasks,
    }


class ChipStudy:
    """A network under a plan on a described chip, for any number of its arrays.

    Args:
        network: the network; all its convolutions and fully connected layers are run on arrays.
        plan: what its layers become.
        chip: the chip, whose arrays go before those of the plan.
        masks: the weights that pattern-pruned layers keep; None: those of the plan.
        choose_mappings: whether layers get the mappings of the shortest interval instead of the plan's.

    Raises:
        InputError: an array of the chip holds no weight of a layer.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        chip: ChipSpec,
        masks: Masks | None = None,
        *,
        choose_mappings: bool = False,
    ) -> None:
        self.network, self.chip = network, chip
        self._table = hardware_table(chip.hardware)
        try:
            self._plan, self._assumed = precise_plan(network, plan.on(chip.hardware), self._table)
            self._masks = self._plan.masks if masks is None else masks
            self.mappings = mappings_of(network, self._plan, self._masks, free=choose_mappings)
        except InputError as error:
            # Its arrays hold no weight, or not this plan's.
            raise InputError(f"chip {chip.name}: hardware: {error}") from None

    def staying(self, arrays: int) -> ChipRun:
        """The network with weights that stay, on so many arrays.

        Raises:
            InputError: it needs more, or more room in buffers.
        """
        run = self._run(best_plan(self.mappings, arrays))
        placement, sent = placed_on(run.graph, self.chip, arrays)
        return replace(run, pipeline=_pipeline(run, placement, sent))

    def frugal(self, interval: int) -> ChipRun:
        """The network with weights that stay, its mappings of few conversions for an interval of so many
        activations.

        Raises:
            InputError: buffers have no room.
        """
        plan, arrays = self.mappings.frugal(self.chip.arrays, interval)
        run = self._run(plan)
        placement, sent = placed_on(run.graph, self.chip, arrays)
        return replace(run, pipeline=_pipeline(run, placement, sent))

    def with_copies(self, on_chip: OnChip) -> ChipRun:
        """The network with the mappings and the copies that its plan says.

        Args:
            on_chip: what it says.

        Raises:
            InputError: these are not the copies of its layers, the chip has fewer arrays, or its buffers no
                room.
        """
        run = self._run(self._plan)
        copies = []
        for tasks in run.graph.on_arrays.values():
            task = run.graph.tasks[tasks[0]]
            assert task.layer is not None  # it runs on arrays
            name = run.placed.layers[task.layer].shape.name
            stage = sum(other.layer == task.layer for other in run.graph.tasks[: tasks[0]])
            stages = on_chip.copies.get(name, ())
            if stage >= len(stages) or len(stages[stage]) != len(task.matrices):
                raise InputError(
                    f"the plan's copies are not those of layer {name} as it is mapped (chip/copies/{name}); "
                    "omit chip from the plan, and copies are chosen anew"
                )
            copies.append(stages[stage])
        placement = place_copies(run.graph, self.chip, copies)
        if placement.used > self.chip.arrays:
            raise InputError(
                f"the plan's copies need {placement.used:,} arrays, and {self.chip.name} has "
                f"{self.chip.arrays:,}; omit chip from the plan, and copies are chosen anew"
            )
        return replace(run, pipeline=_pipeline(run, placement, traffic(run.graph, placement, self.chip)))

    def layer_by_layer(self, why: str) -> ChipRun:
        """The network with weights that are written for each image.

        Args:
            why: they do not stay, in words.

        Raises:
            InputError: the chip has no memory from which they could be written.
        """
        if self.chip.memory is None:
            raise InputError(
                f"{why}; {self.chip.name} has no memory beside it from which they could be written"
            )
        run = self._run(self._plan)
        layers = run_layer_by_layer(run.graph, run.placed, run.activity, self.chip, run.read_time)
        return replace(run, layer_by_layer=layers, why_not_pipelined=why)

    def _run(self, plan: Plan) -> ChipRun:
        laid = laid_out(self.network, plan, self._masks)
        activity, read_time = priced(laid, self._table)
        return ChipRun(
            network=self.network.name,
            chip=self.chip,
            # What was kept may be of a plan for other hardware.
            plan=replace(self._plan, layers=plan.layers),
            graph=laid.graph(activity),
            placed=laid.placed,
            activity=replace(activity, assumed=self._assumed),
            read_time=self.chip.read_time or read_time,
            not_counted=tuple(f"{other.name}: {other.what}" for other in self.network.untouched),
        )


def _pipeline(run: ChipRun, placement: Placement, sent: Traffic) -> Pipeline:
    """The schedule of tasks in their places, with rows in other cores where their own has no room.

    What waits elsewhere is sent there and back, which may make more rows wait: a few rounds settle that.

    Args:
        run: the network, before its schedule is known.
        placement: where it is.
        sent: what it sends where every core has room.

    Raises:
        InputError: there is no room for what waits.
    """
    graph, chip = run.graph, run.chip
    for _ in range(ROUNDS):
        times = timing(graph, placement, sent, chip, run.read_time)
        core = max(times.buffers, key=times.buffers.__getitem__)
        if times.buffers[core] <= chip.buffer.size * (1 + ROUNDING):
            return Pipeline(placement, sent, times)
        lodgings = lodged(graph, placement, times.rows, chip)
        if lodgings is None:
            break
        sent = with_lodgings(sent, graph, chip, lodgings)
    raise InputError(
        f"the buffer of core {core} would have to hold {times.buffers[core]:,.0f} bytes, those of "
        f"{chip.name} hold {chip.buffer.size:,} (buffer/size), and other cores have no room for what only "
        "waits"
    )
