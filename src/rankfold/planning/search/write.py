"""The front that a search measured, as files."""

from __future__ import annotations

from pathlib import Path

from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.planning.exact import ARRAYS, total
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.search.problem_search import PlanSearch
from rankfold.records.csv_table import write_csv

COLUMNS = ("cycles", "arrays", "accuracy", "exact_planner", "plan", "hardware")


def write_search(
    folder: Path, problem: PlanningProblem, search: PlanSearch, hardware: Hardware = DEFAULT_HARDWARE
) -> tuple[Path, ...]:
    """Write the measured front as `measured.csv`, and each of its plans as `plan-CYCLES.json`.

    Args:
        folder: where to write.
        problem: that was searched.
        search: what was found.
        hardware: what was searched for, which the table names.

    Returns:
        The files, the table first.

    Raises:
        InputError: the folder cannot be written.
    """
    rows = []
    plans = []
    for plan in search.result.front:
        # No two plans of a front have the same cycles.
        path = folder / f"plan-{plan.cycles}.json"
        problem.plan(plan.chosen).save(path)
        plans.append(path)
        arrays = round(total(plan.chosen, ARRAYS))
        is_start = plan in search.result.starts
        measured = repr(plan.accuracy) if search.metric else f"{plan.accuracy:.6f}"
        rows.append([plan.cycles, arrays, measured, is_start, path.name, hardware.name])
    table = folder / "measured.csv"
    header = list(COLUMNS)
    if search.metric:
        header[header.index("accuracy")] = search.metric
    write_csv(table, header, rows)
    return table, *plans
