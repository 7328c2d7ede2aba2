"""`PricedChip`: a network on a chip of P arrays as they are built, in microseconds, nanojoules and mm2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankfold.cost.chip import ChipSchedule, schedule
from rankfold.cost.energy.engine import read_time, variables
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.on_arrays import OnArrays
from rankfold.errors import InputError

NS, FJ = 1e-3, 1e-3  # in us, in pJ
SECOND = 1e6  # us


@dataclass(frozen=True)
class PricedChip:
    """A chip that runs a network, with the time and energy of reading and of writing its arrays.

    Attributes:
        schedule: what the chip does; a cycle is an activation of arrays with one slice of the inputs.
        energy: the network on its arrays.
        cycle: us of a cycle, that of the slowest stage.
        cell_write: pJ to write a cell; None: the component table does not say, and writing takes no time.
        endurance: writes that a cell lasts; None: without end, or not known.
    """

    schedule: ChipSchedule
    energy: NetworkEnergy
    cycle: float
    cell_write: float | None = None
    endurance: float | None = None

    @property
    def arrays(self) -> int:
        """P."""
        return self.schedule.chip.arrays

    @property
    def area(self) -> float:
        """mm2 of all P arrays, each as large as those of the network are on average."""
        return self.energy.area / self.energy.arrays * self.arrays

    @property
    def leakage(self) -> float:
        """uW of all P arrays."""
        return self.energy.leakage / self.energy.arrays * self.arrays

    @property
    def interval(self) -> float | None:
        """us between images where weights stay; None where they do not fit."""
        if self.schedule.interval is None:
            return None
        return self.schedule.interval * self.cycle

    @property
    def latency(self) -> float | None:
        """us of an image where weights stay; None where they do not fit."""
        if self.schedule.latency is None:
            return None
        return self.schedule.latency * self.cycle

    @property
    def staying_energy(self) -> float | None:
        """pJ of an image where weights stay, with what leaks until the next; None where they do not fit."""
        if self.interval is None:
            return None
        return self.energy.energy + self.leakage * self.interval

    @property
    def rewriting_latency(self) -> float:
        """us of an image whose weights are rewritten, with writing."""
        return self.schedule.rewriting.latency * self.cycle

    @property
    def writing_time(self) -> float:
        """us of these that writing takes."""
        return self.schedule.rewriting.writing * self.cycle

    @property
    def writing_energy(self) -> float | None:
        """pJ of writing for an image whose weights are rewritten; None: not known."""
        if self.cell_write is None:
            return None
        return self.schedule.rewriting.cells * self.cell_write

    @property
    def rewriting_energy(self) -> float:
        """pJ of an image whose weights are rewritten, with writing where it is known, and with leakage."""
        leaked = self.leakage * self.rewriting_latency
        return self.energy.energy + leaked + (self.writing_energy or 0.0)

    @property
    def images_endured(self) -> float | None:
        """Images until the cells that are rewritten are worn out, if all of them wear alike; None: no end."""
        way = self.schedule.rewriting
        if self.endurance is None or not way.written:
            return None
        return self.endurance * (self.arrays - way.kept) / way.written

    @property
    def sharing_batch(self) -> int:
        """Images of a batch, going through layer by layer, of which writing takes no more than half the
        time.
        """
        way = self.schedule.rewriting
        return max(1, -(-way.writing // max(1, way.latency - way.writing)))

    def to_json(self) -> dict[str, Any]:
        """The chip's entry in the `--json` output: cycles, and what they come to."""
        images = None
        if self.interval is not None:
            images = SECOND / self.interval
        way = self.schedule.rewriting
        return {
            **self.schedule.to_json(),
            "cycle_us": self.cycle,
            "interval_us": self.interval,
            "images_per_second": images,
            "latency_us": self.latency,
            "energy_pj": self.staying_energy,
            "area_mm2": self.area,
            "leakage_uw": self.leakage,
            "rewriting": {
                "tiles_kept": way.kept,
                "tiles_written": way.written,
                "cells_written": way.cells,
                "latency_us": self.rewriting_latency,
                "writing_us": self.writing_time,
                "energy_pj": self.rewriting_energy,
                "writing_pj": self.writing_energy,
                "images_endured": self.images_endured,
            },
        }


def priced_chip(arrays: OnArrays, count: int) -> PricedChip:
    """Run a network on a chip of so many arrays.

    Args:
        arrays: the network on the arrays that it is priced on.
        count: P.

    Raises:
        InputError: P is not a whole number from 1 to 2^20, nothing lies on arrays, or a formula cannot be
            computed for these arrays.
    """
    table, energy = arrays.energy.table, arrays.energy
    known = []
    for layer in energy.layers:
        known += [variables(table, energy.array, stage.activity) for stage in layer.stages]
    if not known:
        raise InputError("the plan leaves no layer on arrays, so that there is nothing to divide them among")
    # One clock for all arrays, and one way to write them.
    cycle = max(read_time(table, values) for values in known)
    if table.write is None:
        return PricedChip(schedule(arrays.placed, count), energy, NS * cycle)
    row = max(table.write.time.value(values) for values in known)
    cell = max(table.write.energy.value(values) for values in known)
    planned = schedule(arrays.placed, count, row / cycle)
    return PricedChip(planned, energy, NS * cycle, FJ * cell, table.write.endurance)
