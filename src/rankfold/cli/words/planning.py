"""A plan and what it was chosen from, in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankfold.calibration.outputs import SCORES
from rankfold.planning import Planning
from rankfold.planning.exact import ARRAYS, CYCLES, LOSS, QUANTITIES, Candidate, in_units, total
from rankfold.planning.exact.candidate import bits_in_letters
from rankfold.planning.exact.quantities import KNOWN, spoken
from rankfold.planning.explain import why_it_stays
from rankfold.planning.search.problem_search import PlanSearch
from rankfold.records.text_table import format_table
from rankfold.training.metric import in_words, lost_in_words

LEGEND = (
    "\ng: low-rank groups, r: rank of each, G: blocks of channels, e: kernel positions that all outputs "
    "share, *: and all input channels; w2x2 r64: windows of 2x2 output pixels from 64 inputs, q: by way of "
    "so many values"
)


def layer_table(planning: Planning) -> str:
    """What every layer becomes."""
    told = told_quantities(planning)
    titles = [KNOWN[quantity].title for quantity in told]
    headers = ["layer", "becomes", "mapping", *titles, "predicted loss", "candidates", "why it stays"]
    rows = []
    for layer, chosen in zip(planning.choices, planning.solution.chosen, strict=True):
        rows.append(
            [
                layer.name,
                chosen.entry.kind.short(),
                chosen.entry.mapping,
                *(_change(quantity, layer.dense, chosen) for quantity in told),
                f"{chosen.loss:.4f}",
                str(len(layer.candidates)),
                why_it_stays(layer, chosen) or "-",
            ]
        )
    legend = LEGEND
    if any(layer.offers_bits for layer in planning.choices):
        headers.insert(2, "bits")
        for row, layer, chosen in zip(rows, planning.choices, planning.solution.chosen, strict=True):
            row.insert(2, f"{bits_in_letters(layer.dense)} -> {bits_in_letters(chosen)}")
        legend += "; bits: of weights/inputs"
    return format_table(headers, rows) + legend


def told_quantities(planning: Planning) -> list[str]:
    """What is told of a plan: its cycles and arrays, and all that has a budget or was made small."""
    told = {CYCLES, ARRAYS, planning.solution.goal, *planning.budgets}
    return [quantity for quantity in QUANTITIES if quantity in told]


def _change(quantity: str, dense: Candidate, chosen: Candidate) -> str:
    """What a layer costs dense, and as planned."""
    known = KNOWN[quantity]
    before, after = (known.shown(one.cost(quantity)) for one in (dense, chosen))
    return f"{before:,.{known.digits}f} -> {after:,.{known.digits}f}"


def totals(planning: Planning) -> str:
    """What the network costs, dense and as planned, and what it is foreseen to lose."""
    solution = planning.solution
    lines = []
    for quantity in told_quantities(planning):
        budget = planning.budgets.get(quantity)
        before, after = total(planning.dense, quantity), solution.total(quantity)
        words = []
        if before:
            words.append(f"{after / before:.1%}")
        if budget is not None:
            words.append(f"budget {in_units(quantity, budget)}")
        what = _which(quantity)
        lines.append(
            f"{what}{in_units(quantity, before)} dense -> {in_units(quantity, after)} ({', '.join(words)})"
        )
    lost = f"predicted loss +{solution.total(LOSS):.4f} {planning.unit} before fine-tuning"
    if LOSS in planning.budgets:
        lost += f" (at most {planning.budgets[LOSS]:g})"
    lines.append(f"{lost}; {_proof(planning)}")
    if planning.outputs != SCORES:
        lines.append(f"outputs were taken for {planning.outputs}")
    drop = planning.drop
    if drop is not None:
        planned, dense = in_words(drop.planned, drop.metric), in_words(drop.dense, drop.metric)
        lost = lost_in_words(drop.amount, drop.metric)
        lines.append(
            f"measured before fine-tuning, on held-out training images: {planned}, dense {dense}, {lost} lost"
        )
    return "\n".join(lines)


def _which(quantity: str) -> str:
    """What an amount is of, where its unit does not say so."""
    if KNOWN[quantity].counted:
        return ""
    return f"{quantity} "


def _proof(planning: Planning) -> str:
    """How sure it is that no other plan is better."""
    solution = planning.solution
    what = ""
    if solution.goal != LOSS:
        what = f" in {spoken(solution.goal)}"
    # The search over measured drops promises no optimum (see `planning.drop`).
    if _is_measured(planning):
        return f"the cheapest{what} of the plans measured"
    # A bound that the plan reaches proves it; else the gap is what a better one could still win.
    if solution.gap == 0:
        return f"proven optimal{what}"
    return f"within {solution.gap:.2%} of the best possible{what}"


def _is_measured(planning: Planning) -> bool:
    """Whether the plan is the cheapest of those measured, and not of all there are."""
    return planning.drop is not None and planning.solution.goal != LOSS


def planning_to_json(planning: Planning) -> dict[str, Any]:
    """The stable interface of `--json`."""
    solution = planning.solution
    counted = told_quantities(planning)
    measured: dict[str, Any] | None = None
    if planning.drop is not None:
        measured = {"dense": planning.drop.dense, "planned": planning.drop.planned}
        # Only where there is one: top-1 accuracy needs no name.
        if planning.drop.metric:
            measured["metric"] = planning.drop.metric
    return {
        **planning.plan.to_json(),
        "total": {
            "dense": {quantity: _amount(planning.dense, quantity) for quantity in counted},
            "planned": {quantity: _amount(solution.chosen, quantity) for quantity in counted},
            "budgets": dict(planning.budgets),
            "predicted_loss": solution.total(LOSS),
            "loss_unit": planning.unit,
            "outputs": planning.outputs,
            "goal": solution.goal,
            "bound": None if _is_measured(planning) else solution.bound,
            "gap": None if _is_measured(planning) else solution.gap,
        },
        "measured": measured,
    }


def _amount(chosen: Sequence[Candidate], quantity: str) -> float:
    """In the base unit; a whole number of what is counted."""
    amount = total(chosen, quantity)
    if not KNOWN[quantity].counted:
        return amount
    # Sums are floats for all quantities, and cycles and arrays are whole.
    return round(amount)


def search_table(search: PlanSearch) -> str:
    """The measured front."""
    rows = []
    for plan in search.result.front:
        origin = "search"
        # The search begins with the exact planner's plans, so that it shows what measuring adds.
        if plan in search.result.starts:
            origin = "exact planner"
        rows.append([f"{plan.cycles:,}", in_words(plan.accuracy, search.metric), origin])
    measured = search.metric or "accuracy"
    return format_table(["cycles", f"{measured} before fine-tuning", "found by"], rows)


def search_to_json(search: PlanSearch, plan: dict[str, Any] | None, files: Sequence[Path]) -> dict[str, Any]:
    """The stable interface of `--search --json`."""
    chosen = None
    if search.chosen is not None:
        chosen = {"cycles": search.chosen.cycles, "accuracy": search.chosen.accuracy}
    front = []
    for one in search.result.front:
        start = one in search.result.starts
        front.append({"cycles": one.cycles, "accuracy": one.accuracy, "exact_planner": start})
    return {
        "plan": plan,
        "measured": {
            "metric": search.metric or "accuracy",
            "dense": search.dense,
            "chosen": chosen,
            "front": front,
            "trials": search.result.trials,
            "plans": search.result.measured,
        },
        "files": [str(file) for file in files],
    }
