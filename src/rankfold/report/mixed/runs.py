"""Finished runs among other things."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.cost.energy import NOT_SIMULATED
from rankfold.report.mixed.section import Row, Section
from rankfold.report.numbers import count, nanojoules, percent, size
from rankfold.report.run_page.headline import headline
from rankfold.report.run_page.page import runs_in_page
from rankfold.report.runs import Run


def runs_section(runs: Sequence[Run]) -> Section:
    """Runs that can be compared, as on a page of their own."""
    names = ", ".join(run.label for run in runs)
    return Section(names, headline(runs), html=runs_in_page(runs))


def run_row(run: Run) -> Row:
    """A run in the table on top."""
    result = run.result
    row = {
        "accuracy": percent(result.accuracy.final),
        "cycles": count(result.planned_cycles),
    }
    energy = result.energy
    if energy is not None:
        row |= {
            "energy": f"{nanojoules(energy.energy):,.0f}",
            "latency": f"{energy.latency:,.1f}",
            "area": f"{energy.area:.2f}",
            "on_arrays": NOT_SIMULATED,
        }
        if energy.accuracy_on_arrays is not None:
            row["on_arrays"] = percent(energy.accuracy_on_arrays.accuracy, 1) + energy.accuracy_on_arrays.note
    return Row(name=run.label, sort="run", network=result.model, arrays=size(result.array), **row)
