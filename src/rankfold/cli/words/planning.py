"""A plan and what it was chosen from, in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankfold.planning import Planning
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    LOSS,
    QUANTITIES,
    Candidate,
    in_units,
    total,
)
from rankfold.planning.search.problem_search import PlanSearch
from rankfold.records.text_table import format_table

LEGEND = (
    "\ng: low-rank groups, r: rank of each, e: kernel positions that all outputs share, "
    "*: and all input channels; w2x2 r64: windows of 2x2 output pixels from 64 inputs, q: by way of so many "
    "values"
)


def layer_table(planning: Planning) -> str:
    """What every layer becomes."""
    headers = [
        "layer",
        "becomes",
        "mapping",
        "cycles",
        "arrays",
        "predicted loss",
        "candidates",
        "why it stays",
    ]
    rows = []
    for layer, chosen in zip(planning.choices, planning.solution.chosen, strict=True):
        rows.append(
            [
                layer.name,
                chosen.entry.kind.short(),
                chosen.entry.mapping,
                f"{layer.dense.cycles:,} -> {chosen.cycles:,}",
                f"{layer.dense.arrays:,} -> {chosen.arrays:,}",
                f"{chosen.loss:.4f}",
                str(len(layer.candidates)),
                layer.why_dense or "-",
            ]
        )
    return format_table(headers, rows) + LEGEND


def totals(planning: Planning) -> str:
    """What the network costs, dense and as planned, and what it is foreseen to lose."""
    solution = planning.solution
    lines = []
    for quantity in QUANTITIES:
        budget = planning.budgets.get(quantity)
        # Energy is only counted where it has a budget.
        if quantity == ENERGY and budget is None:
            continue
        before, after = total(planning.dense, quantity), solution.total(quantity)
        share = f"{after / before:.1%}"
        if budget is not None:
            share += f", budget {in_units(quantity, budget)}"
        lines.append(f"{in_units(quantity, before)} dense -> {in_units(quantity, after)} ({share})")
    proof = f"within {solution.gap:.2%} of the best possible"
    # A bound that the plan reaches proves it; else the gap is what a better one could still win.
    if solution.gap == 0:
        proof = "proven optimal"
    lines.append(f"predicted loss +{solution.total(LOSS):.4f} nats before fine-tuning; {proof}")
    drop = planning.drop
    if drop is not None:
        lines.append(
            f"measured before fine-tuning, on held-out training images: {drop.planned:.2%}, dense "
            f"{drop.dense:.2%}, {100 * drop.amount:.2f} points lost"
        )
    return "\n".join(lines)


def planning_to_json(planning: Planning) -> dict[str, Any]:
    """The stable interface of `--json`."""
    solution = planning.solution
    counted = [CYCLES, ARRAYS]
    if ENERGY in planning.budgets:
        counted.append(ENERGY)
    measured = None
    if planning.drop is not None:
        measured = {"dense": planning.drop.dense, "planned": planning.drop.planned}
    return {
        **planning.plan.to_json(),
        "total": {
            "dense": {quantity: _amount(planning.dense, quantity) for quantity in counted},
            "planned": {quantity: _amount(solution.chosen, quantity) for quantity in counted},
            "budgets": dict(planning.budgets),
            "predicted_loss": solution.total(LOSS),
            "goal": solution.goal,
            "bound": solution.bound,
            "gap": solution.gap,
        },
        "measured": measured,
    }


def _amount(chosen: Sequence[Candidate], quantity: str) -> float:
    """pJ, or a whole number of cycles or arrays."""
    amount = total(chosen, quantity)
    if quantity == ENERGY:
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
        rows.append([f"{plan.cycles:,}", f"{plan.accuracy:.2%}", origin])
    return format_table(["cycles", "accuracy before fine-tuning", "found by"], rows)


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
            "dense": search.dense,
            "chosen": chosen,
            "front": front,
            "trials": search.result.trials,
            "plans": search.result.measured,
        },
        "files": [str(file) for file in files],
    }
