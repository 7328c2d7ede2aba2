"""What an image costs on a described chip, part by part."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.chip.graph import TaskGraph
from rankfold.chip.lodging import Lodging
from rankfold.chip.placement import Placement
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.machine import ChipSpec

ARRAYS, UNITS, BUFFERS, INTERCONNECT = "arrays", "digital units", "buffers", "interconnect"
MEMORY, WRITING, LEAKAGE = "off-chip memory", "writing", "leakage"
# Events of component tables that stand for what a chip describes itself: digital units, buffers, buses.
DESCRIBED = ("addition", "input bit", "output bit", "bus bit")
FJ = 1e-3  # in pJ
UM2 = 1e-6  # in mm2


def array_energy(energy: NetworkEnergy) -> dict[str, float]:
    """pJ by component of the arrays alone: without what the chip describes."""
    described = {part.name for part in energy.table.components if part.per in DESCRIBED}
    return {name: value for name, value in energy.components.items() if name not in described}


def unit_energy(graph: TaskGraph, chip: ChipSpec) -> float:
    """pJ of digital units."""
    return FJ * chip.cores.energy * sum(task.operations for task in graph.tasks)


def buffer_bits(graph: TaskGraph, placement: Placement | None, lodgings: Sequence[Lodging] = ()) -> float:
    """Bits that are written to buffers and read from them for an image.

    Args:
        graph: the network.
        placement: where its tasks are, each core of which has a copy of what is read; None: there is one
            copy.
        lodgings: rows that wait in other cores: written there and read again.
    """
    bits = sum(2 * one.share * graph.tasks[one.reader].reads[one.number].bits for one in lodgings)
    for index, task in enumerate(graph.tasks):
        copies = 1.0
        if placement is not None:
            copies = sum(part.needs for part in placement.parts[index])
        bits += copies * sum(reading.bits for reading in task.reads) + task.driven
    return bits


def chip_area(energy: NetworkEnergy, chip: ChipSpec) -> dict[str, float]:
    """mm2 by part; each array is as large as those of the network are on average."""
    return {
        ARRAYS: energy.area / energy.arrays * chip.arrays,
        UNITS: chip.cores.count * chip.cores.area,
        BUFFERS: chip.cores.count * chip.buffer.area,
        INTERCONNECT: chip.interconnect.area,
    }


def chip_leakage(energy: NetworkEnergy, chip: ChipSpec) -> float:
    """uW of the whole chip."""
    arrays = energy.leakage / energy.arrays * chip.arrays
    return arrays + chip.cores.count * (chip.cores.leakage + chip.buffer.leakage)
