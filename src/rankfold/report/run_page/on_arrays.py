"""The table of what the arrays of several runs take and keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.numbers import DASH, count, nanojoules, percent
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from rankfold.runs.energy_record import EnergyRecord

MICROSECONDS = 1e6  # in a second
HEADERS = (
    "network",
    "accuracy on the arrays",
    "arrays",
    "area, mm²",
    "energy, nJ",
    "latency, µs",
    "images per second",
)
PRICED_FOR = "priced for"


def on_arrays(runs: Sequence[Run]) -> tuple[list[str], list[list[str]], str]:
    """The table of what the arrays of several runs take and keep.

    Returns:
        The titles of its columns; its rows, none for a single run or where no run has energy; and what all
        rows are priced for, empty where they differ and have a column for it.
    """
    headers = list(HEADERS)
    priced_for = [run.result.energy.conditions for run in runs if run.result.energy is not None]
    if len(runs) == 1 or not priced_for:
        return headers, [], ""
    rows = [[run.label, *_cells(run.result.energy)] for run in runs]
    machines = set(priced_for)
    if len(machines) == 1:
        return headers, rows, machines.pop()
    # Figures of different machines stand in one table: each row says whose they are.
    for row, run in zip(rows, runs, strict=True):
        conditions = DASH
        if run.result.energy is not None:
            conditions = run.result.energy.conditions
        row.append(conditions)
    return [*headers, PRICED_FOR], rows, ""


def images_per_second(energy: EnergyRecord) -> int:
    """Images that come out in a second, with layers pipelined."""
    return int(MICROSECONDS / energy.interval)


def _cells(energy: EnergyRecord | None) -> list[str]:
    if energy is None:
        return [DASH] * (len(HEADERS) - 1)
    return [
        _kept(energy),
        count(energy.arrays),
        f"{energy.area:.2f}",
        f"{nanojoules(energy.energy):,.0f}",
        f"{energy.latency:,.0f}",
        count(images_per_second(energy)),
    ]


def _kept(energy: EnergyRecord) -> str:
    # Here, not above: it brings NumPy, which `import rankfold.report` does without.
    from rankfold.cost.energy import NOT_SIMULATED

    if energy.accuracy_on_arrays is None:
        return NOT_SIMULATED
    return percent(energy.accuracy_on_arrays.accuracy, 1) + energy.accuracy_on_arrays.note
