"""A search over everything that the planner knows of a network, on arrays as they are described."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rankfold.calibration.outputs import OutputModel
from rankfold.cost.energy.chosen_table import array_with_cells
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import COLUMNS
from rankfold.plan import Plan
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy, agreement
from rankfold.planning.exact import CYCLES, Candidate, LayerChoices, solve
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.search.result import MeasuredPlan, SearchResult
from rankfold.planning.search.search import front_starts, search_plans
from rankfold.planning.search.settings import SearchSettings
from rankfold.progress import Progress
from rankfold.training.metric import in_words

# Of `ArraySpec`, what every search of version 0.1 named.
KNOWN_ARRAY = ("rows", "columns", "cell_bits", "coding", "dac_bits")


@dataclass(frozen=True)
class PlanSearch:
    """What a search for a plan found.

    Attributes:
        result: the measured plans.
        dense: accuracy of the dense network, measured alike.
        chosen: the plan that the budgets ask for; None where there are none.
        metric: what was measured; empty: top-1 accuracy.
    """

    result: SearchResult
    dense: float
    chosen: MeasuredPlan | None
    metric: str = ""


def search_problem(
    problem: PlanningProblem,
    settings: SearchSettings,
    measure: MeasureSettings,
    *,
    progress: Progress | None = None,
) -> PlanSearch:
    """Search from the exact planner's front, and choose within the problem's budget of cycles and its drop.

    With a drop and no budget of cycles, the plan of fewest cycles; else the most accurate one, whose drop
    is checked.

    Args:
        problem: the network, with its budgets.
        settings: how to search.
        measure: how plans are measured.
        progress: hears how far the search is.

    Raises:
        InputError: see `search_plans`; there are other budgets, or no measured plan keeps them.
        MissingDependencyError: optuna is not installed.
    """
    others = [quantity for quantity in problem.budgets if quantity != CYCLES]
    if others:
        raise InputError(
            f"a search trades accuracy for cycles, and keeps no budget of {others[0]}; "
            "give a budget of cycles"
        )
    problem = replace(problem, choices=tuple(by_itself(layer) for layer in problem.choices))
    solve(problem.candidates, problem.budgets)  # refuses what no plan can keep, before any is measured
    measured = problem.accuracy.under(measure)
    if measured.metric is None and not measured.data.is_labelled:
        # As without labels for a drop; asked here, since a problem alone does not know that it is searched.
        by = agreement(problem.model, measured.data, OutputModel.parse(problem.outputs), measure.seed)
        measured = measured.under(measure, metric=by)

    def accuracy(chosen: Sequence[Candidate]) -> float:
        return measured(problem.plan(chosen))

    # What drops are measured against: on the same arrays, at the same bits.
    dense = accuracy(problem.dense)
    result = search_plans(
        problem.choices,
        accuracy,
        front_starts(problem.front(progress)),
        settings,
        progress=progress,
        identity=_identity(problem, measured),
        metric=measured.measured,
    )
    return PlanSearch(result, dense, _within_budgets(problem, result, dense), measured.measured)


def by_itself(layer: LayerChoices) -> LayerChoices:
    """Without what needs another layer to read fewer channels: layers are picked one by one.

    What reads fewer channels stays: it needs nothing, and others that it beats are gone already.
    """
    left = [one for one in layer.candidates if not (one.needs and one.needs.most)]
    return replace(layer, candidates=tuple(left))


def chosen_plan(problem: PlanningProblem, search: PlanSearch) -> Plan | None:
    """The plan file of what was chosen."""
    if search.chosen is None:
        return None
    return problem.plan(search.chosen.chosen)


def _identity(problem: PlanningProblem, measured: PlanAccuracy) -> dict[str, Any]:
    """What the accuracies depend on beside the layers."""
    identity = measured.identity
    identity["model"] = problem.network.name
    array = asdict(problem.array)
    # What version 0.1 did not know of arrays, only where it is named: its searches go on.
    plain = asdict(ArraySpec(problem.array.rows, problem.array.columns, converts=COLUMNS))
    if problem.array.cell_bits is None:
        # How cells are read means nothing without them; this is what version 0.1 wrote then.
        array |= {"coding": "offset", "converts": COLUMNS}
    for name, value in plain.items():
        if name not in KNOWN_ARRAY and array[name] == value:
            del array[name]
    identity["array"] = array
    # Likewise only where levels are left out, which earlier searches knew nothing of.
    dense = problem.plan(problem.dense)
    dense = dense.with_levels_for(measured.array or array_with_cells(dense.machine))
    narrow = [layer.name for layer in dense.layers if layer.narrow_weights]
    if narrow:
        identity["narrow weights"] = narrow
    return identity


def _within_budgets(problem: PlanningProblem, result: SearchResult, dense: float) -> MeasuredPlan | None:
    """The plan that the budgets ask for.

    Raises:
        InputError: none of those measured keeps them.
    """
    cycles, drop = problem.budgets.get(CYCLES), problem.max_drop
    if cycles is None and drop is None:
        return None
    least = -math.inf  # accuracy that a plan must have
    if drop is not None:
        least = dense - drop
    # A drop alone asks for few cycles; under a budget of cycles the best accuracy is wanted, and the drop
    # checked.
    if cycles is None:
        plan = result.fewest_cycles(least)
        nearest: MeasuredPlan | None = result.front[-1]
    else:
        plan = result.most_accurate(cycles)
        nearest = plan
    if plan is not None and plan.accuracy >= least:
        return plan
    metric = problem.accuracy.measured
    if nearest is None:
        fewest = result.front[0].cycles
        known = f"the fewest are {fewest:,} cycles"
    else:
        known = (
            f"the best one of {nearest.cycles:,} cycles has {in_words(nearest.accuracy, metric)}, the dense "
            f"network {in_words(dense, metric)}"
        )
    raise InputError(
        f"none of the {result.measured:,} measured plans is within the budgets: {known}; "
        "allow more, or more trials"
    )
