"""A search over everything that the planner knows of a network, on arrays as they are described."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.plan import Plan
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.exact import ARRAYS, CYCLES, solve, total
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.search.outcome import MeasuredPlan, SearchProgress, SearchResult, SearchSettings
from rankfold.planning.search.search import front_starts, search_plans


@dataclass(frozen=True)
class PlanSearch:
    """What a search for a plan found.

    Attributes:
        result: the measured plans.
        dense: accuracy of the dense network, measured alike.
        chosen: the plan that the budgets ask for; None where there are none.
    """

    result: SearchResult
    dense: float
    chosen: MeasuredPlan | None


def search_problem(
    problem: PlanningProblem, settings: SearchSettings, measure: MeasureSettings, progress: SearchProgress | None = None
) -> PlanSearch:
    """Search from the exact planner's front, and choose within the budget of cycles and the drop that the problem has.

    With a drop and no budget of cycles, the plan of fewest cycles; else the most accurate one, whose drop is checked.

    Raises:
        InputError: see `search_plans`; there are other budgets, or no measured plan keeps them.
        MissingDependencyError: optuna is not installed.
    """
    others = [quantity for quantity in problem.budgets if quantity != CYCLES]
    if others:
        raise InputError(f"a search trades accuracy for cycles, and keeps no budget of {others[0]}; give --max-cycles")
    solve(problem.candidates, problem.budgets)  # refuses what no plan can keep, before any is measured
    measured = problem.accuracy.under(measure)
    dense = measured(problem.plan([layer.dense for layer in problem.choices]))
    identity = {**measured.identity, "model": problem.network.name, "array": asdict(problem.array)}
    result = search_plans(
        problem.choices,
        lambda chosen: measured(problem.plan(chosen)),
        front_starts(problem.front()),
        settings,
        progress,
        identity,
    )
    return PlanSearch(result, dense, _within(problem, result, dense))


def _within(problem: PlanningProblem, result: SearchResult, dense: float) -> MeasuredPlan | None:
    cycles, drop = problem.budgets.get(CYCLES), problem.max_drop
    if cycles is None and drop is None:
        return None
    least = 0.0 if drop is None else dense - drop
    found = result.fewest_cycles(least) if cycles is None else result.most_accurate(cycles)
    if found is None or found.accuracy < least:
        best = result.front[-1] if cycles is None else found
        known = f"the fewest are {result.front[0].cycles:,} cycles" if best is None else (
            f"the most accurate one of {best.cycles:,} cycles has {best.accuracy:.2%}, the dense network {dense:.2%}"
        )  # fmt: skip
        raise InputError(
            f"none of the {result.measured:,} measured plans is within the budgets: {known}; allow more, or more trials"
        )
    return found


def write_search(folder: Path, problem: PlanningProblem, found: PlanSearch) -> tuple[Path, ...]:
    """Write the measured front as `measured.csv`, and each of its plans as `plan-CYCLES.json`; returns the table's path first.

    Raises:
        InputError: the folder cannot be written.
    """
    rows, paths = [], []
    for plan in found.result.front:
        path = folder / f"plan-{plan.cycles}.json"
        problem.plan(plan.chosen).save(path)
        rows.append(
            [plan.cycles, round(total(plan.chosen, ARRAYS)), f"{plan.accuracy:.6f}", plan in found.result.starts, path.name]
        )
        paths.append(path)
    table = folder / "measured.csv"
    write_text(table, _csv(["cycles", "arrays", "accuracy", "exact_planner", "plan"], rows))
    return table, *paths


def chosen_plan(problem: PlanningProblem, found: PlanSearch) -> Plan | None:
    """The plan file of what was chosen."""
    return None if found.chosen is None else problem.plan(found.chosen.chosen)


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
