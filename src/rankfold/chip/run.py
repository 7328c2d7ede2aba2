"""`ChipRun`: what a network really does on a described chip."""

from __future__ import annotations

from dataclasses import dataclass
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
from rankfold.chip.layer_by_layer import LayerByLayer
from rankfold.chip.placement import Placement
from rankfold.chip.timing import Timing
from rankfold.chip.traffic import Traffic
from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.energy.accuracy import accuracy_to_json
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.machine import ChipSpec
from rankfold.plan import Plan
from rankfold.plan.on_chip import OnChip

NS = 1e-3  # in us
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
            beat, with activations as long as in this run; 0: not known. Of a component table of one's own
            whose time of a read depends on what a mapping drives, other mappings may have shorter ones; no
            table of the package has such a time.
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
        """Arrays that hold weights; where layers take turns, all that they may have copies on."""
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
