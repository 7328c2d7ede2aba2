"""What an image costs on a described chip, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from rankfold.chip.graph import TaskGraph
from rankfold.chip.lodging import Lodging
from rankfold.chip.placement import Placement
from rankfold.cost.energy.chosen_table import hardware_table
from rankfold.cost.energy.formula import Formula
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.table import Component, ComponentTable
from rankfold.machine import ChipSpec

ARRAYS, UNITS, BUFFERS, INTERCONNECT = "arrays", "digital units", "buffers", "interconnect"
MEMORY, WRITING, LEAKAGE = "off-chip memory", "writing", "leakage"
# Events of component tables that stand for what a chip describes itself: digital units, buffers, buses.
DESCRIBED = ("addition", "input bit", "output bit", "bus bit")
FJ = 1e-3  # in pJ


def array_energy(energy: NetworkEnergy) -> dict[str, float]:
    """pJ by component of the arrays alone: without what the chip describes."""
    described = {part.name for part in energy.table.components if part.per in DESCRIBED}
    return {name: value for name, value in energy.components.items() if name not in described}


@cache
def chip_table(chip: ChipSpec) -> ComponentTable:
    """The component table of a chip's arrays, with the chip's own figures for what it describes itself: the
    additions of partial sums, values that pass activation, and inputs read from buffers.

    What layers cost by it adds up to a part of what `ChipRun.energy` counts, and is counted by arrays alone.
    """
    table = hardware_table(chip.hardware)
    own = (
        # An event is a bit of an output, which has as many bits as inputs.
        ("addition", f"{chip.cores.energy!r}"),
        ("output bit", f"{chip.cores.energy!r} / input_bits"),
        ("input bit", f"{chip.buffer.energy!r}"),
    )
    kept = [part for part in table.components if part.per not in DESCRIBED]
    kept += [Component(f"{chip.name}: {per}", per, Formula(text)) for per, text in own]
    return replace(table, components=tuple(kept))


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
