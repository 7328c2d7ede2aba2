"""A network that does not fit a chip: one layer after another, and what does not fit comes from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.chip.energy import ARRAYS, FJ, INTERCONNECT, MEMORY, WRITING, buffer_bits
from rankfold.chip.graph import TaskGraph
from rankfold.cost.chip import copies_of_tiles
from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.energy.engine import variables
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.rewriting import Rewriting, rewriting
from rankfold.cost.stored import StoredStage, reference_columns, stages_of, stored_stage
from rankfold.machine import ChipSpec
from rankfold.machine.chip import BUS, Writing

DIGITAL = "digital units and buffers"  # what takes time, beside parts that take energy, too


@dataclass(frozen=True, kw_only=True)
class LayerByLayer:
    """What an image takes.

    Arrays compute and are written while nothing is sent, and nothing is computed while weights and feature
    maps are sent: an upper bound, as real chips overlap some of it. What is sent goes over the interconnect
    and, from outside, through memory at the same time.

    Attributes:
        way: how arrays are written, see `cost.rewriting`; where all tiles have arrays, none are.
        arrays_time: ns in which arrays compute, and
        writing_time: are written.
        digital_time: ns in which digital units and buffers work, shared out among all cores.
        sent_bits: over the interconnect, each bit once for each link that it passes.
        sending_time: ns of the busiest link, or of the bus.
        memory_bits: that pass between chip and memory.
        memory_time: ns of that.
        writing_energy: pJ; 0 where the component table does not say.
        live_bits: of the feature maps that have to be kept at once, at most.
        images_endured: images until the cells are worn out; None: no end is known.
    """

    way: Rewriting
    arrays_time: float
    writing_time: float
    digital_time: float
    sent_bits: float
    sending_time: float
    memory_bits: float
    memory_time: float
    writing_energy: float
    live_bits: int
    images_endured: float | None

    @property
    def parts(self) -> dict[str, float]:
        """ns of each part, one after another but for the last two, which work at the same time."""
        return {
            ARRAYS: self.arrays_time,
            WRITING: self.writing_time,
            DIGITAL: self.digital_time,
            INTERCONNECT: self.sending_time,
            MEMORY: self.memory_time,
        }

    @property
    def latency(self) -> float:
        """ns of an image."""
        working = self.arrays_time + self.writing_time + self.digital_time
        return working + max(self.sending_time, self.memory_time)

    @property
    def limit(self) -> str:
        """What takes most of the time."""
        return max(self.parts, key=self.parts.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "tiles_kept": self.way.kept,
            "tiles_written": self.way.written,
            "cells_written": self.way.cells,
            "arrays_us": 1e-3 * self.arrays_time,
            "writing_us": 1e-3 * self.writing_time,
            "digital_us": 1e-3 * self.digital_time,
            "interconnect_us": 1e-3 * self.sending_time,
            "memory_us": 1e-3 * self.memory_time,
            "memory_bits": self.memory_bits,
            "live_bits": self.live_bits,
            "images_endured": self.images_endured,
        }


def run_layer_by_layer(
    graph: TaskGraph, placed: NetworkCycles, activity: NetworkEnergy, chip: ChipSpec, read_time: float
) -> LayerByLayer:
    """Run a network layer by layer; arguments as `ChipRun` has them, for a chip with memory."""
    assert chip.memory is not None  # checked before
    row, cell, endurance = _writing(activity, chip.writing)
    array = activity.array
    stages = stages_of(placed)
    way = _staying(stages, chip.arrays)
    if way is None:
        way = rewriting(stages, chip.arrays, row / read_time, reference_columns(array))
    weights = way.cells * _bits_of_cell(placed, activity)
    maps = sum(reading.bits for task in graph.tasks for reading in task.reads)
    live = live_bits(graph)
    memory_bits = weights + graph.tasks[0].made_bits
    if live > 8 * chip.buffer.size * chip.cores.count:
        # Every feature map but the image is written to memory, and comes back to each that reads it.
        memory_bits += sum(reading.bits for task in graph.tasks for reading in task.reads if reading.source)
        memory_bits += sum(_sent(graph, index) for index in range(1, len(graph.tasks)))
    rate = chip.interconnect.rate
    links = 1
    if chip.cores.count == 1:
        links, rate = 0, math.inf  # nothing is sent within a core
    elif chip.interconnect.kind != BUS:
        links = chip.cores.count - 1  # a tree that reaches every core
    endured = None
    if endurance is not None and way.written:
        endured = endurance * (chip.arrays - way.kept) / way.written
    return LayerByLayer(
        way=way,
        arrays_time=(way.latency - way.writing) * read_time,
        writing_time=way.writing * read_time,
        digital_time=_digital_time(graph, chip),
        # Weights go to one core each, feature maps to all.
        sent_bits=weights * _hops(chip) + maps * links,
        sending_time=(weights + maps) / rate,
        memory_bits=memory_bits,
        memory_time=memory_bits / chip.memory.rate,
        writing_energy=FJ * cell * way.cells,
        live_bits=live,
        images_endured=endured,
    )


def _staying(stages: Sequence[StoredStage], arrays: int) -> Rewriting | None:
    """How long stages take, one after another, where all tiles have arrays; None: they have not."""
    loads = [stage.loads for stage in stages]
    tiles = sum(number for load in loads for number, _ in load)
    if tiles > arrays:
        return None
    latency = 0
    for load, copies in zip(loads, copies_of_tiles(loads, arrays), strict=True):
        latency += max(-(-times // number) for (_, times), number in zip(load, copies, strict=True))
    return Rewriting(latency, writing=0, kept=tiles, written=0, cells=0)


def _digital_time(graph: TaskGraph, chip: ChipSpec) -> float:
    """ns of the units and buffers of all cores."""
    operations = sum(task.operations for task in graph.tasks)
    units = operations / chip.cores.rate
    buffers = buffer_bits(graph, None) / chip.buffer.rate
    return (units + buffers) / chip.cores.count


def _bits_of_cell(placed: NetworkCycles, activity: NetworkEnergy) -> float:
    """Bits of a weight over the cells that hold it, over all cells that are written."""
    bits = cells = 0.0
    for layer, priced in zip(placed.layers, activity.layers, strict=True):
        for stage, counted in zip(layer.executed.stages, priced.stages, strict=True):
            stored = stored_stage(stage, placed.array, counted.activity.slices, layer.columns_per_weight)
            own = sum(
                rows * columns * number for tiles in stored.tiles for (rows, columns), number in tiles.sizes
            )
            cells += own
            bits += own * counted.activity.weight_bits / layer.columns_per_weight
    return bits / max(cells, 1)


def _sent(graph: TaskGraph, index: int) -> int:
    """Bits of a feature map, as those that read it do."""
    return max((graph.tasks[reader].reads[number].bits for reader, number in graph.readers[index]), default=0)


def live_bits(graph: TaskGraph) -> int:
    """The most bits of feature maps that must be kept at once, where tasks run one after another."""
    last = [0] * len(graph.tasks)
    for index, task in enumerate(graph.tasks):
        for reading in task.reads:
            last[reading.source] = index
    sent = [_sent(graph, index) for index in range(len(graph.tasks))]
    most = 0
    for now in range(len(graph.tasks)):
        # What was made up to now and is read now or later.
        most = max(most, sum(sent[made] for made in range(now + 1) if last[made] >= now))
    return most


def _writing(activity: NetworkEnergy, stated: Writing) -> tuple[float, float, float | None]:
    """(ns of a row, fJ of a cell, writes that a cell lasts) as the chip states, else by the component table;
    0: neither says.
    """
    row = cell = 0.0
    endurance = None
    write = activity.table.write
    if write is not None:
        known = [
            variables(activity.table, activity.array, stage.activity)
            for layer in activity.layers
            for stage in layer.stages
        ]
        row = max(write.time.value(values) for values in known)
        cell = max(write.energy.value(values) for values in known)
        endurance = write.endurance
    if stated.write_time is not None:
        row = stated.write_time
    if stated.write_energy is not None:
        cell = stated.write_energy
    return row, cell, stated.endurance or endurance


def _hops(chip: ChipSpec) -> float:
    """Links from the first core, where memory is, to a core, on average."""
    if chip.interconnect.kind == BUS:
        return 1.0
    places = [chip.place(core) for core in range(chip.cores.count)]
    return sum(row + column for row, column in places) / len(places)
