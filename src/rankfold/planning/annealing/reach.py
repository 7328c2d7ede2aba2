"""Budgets that no data could make a plan for, refused by costs alone."""

from __future__ import annotations

from dataclasses import replace

from rankfold.errors import InputError
from rankfold.planning.annealing.steps import StepPlanning
from rankfold.planning.exact import Candidate, in_units, total
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import LayerSlot, layer_slots
from rankfold.planning.exact.units import SLACK
from rankfold.planning.kinds import layer_entries, uses_bypasses, uses_supports
from rankfold.runs.state import RunState


def check_reach(state: RunState, planning: StepPlanning) -> None:
    """Refuse budgets that the layers exceed whatever data say, before anything is trained or measured.

    Each budget by itself, against the least of every layer whose choices are known by then. Layers that may
    lie on supports, or be skipped, wait for data and count as nothing.

    Args:
        state: the run, with the plan of the dense network.
        planning: what its plans are made for.

    Raises:
        InputError: there is such a budget.
    """
    array = state.plan.array
    chosen = None if planning.kinds is None else frozenset(planning.kinds)
    slots = layer_slots(state.network, array, planning.bits, pointwise=planning.pointwise)
    slots = tuple(replace(slot, kinds=chosen) for slot in slots)
    costing = Costing.of(state.network, state.plan, state.energy.for_array(array))
    for budget in planning.budgets:
        quantity = budget.quantity
        dense = [costing.candidate(slot.entry, (quantity,)) for slot in slots]
        limit = budget.limit(total(dense, quantity))
        least = total([_least(slot, costing, quantity) for slot in slots if _known(slot)], quantity)
        if least > limit * (1 + SLACK):
            raise InputError(
                f"no plan has at most {in_units(quantity, limit)}: whatever data say, these layers "
                f"need {in_units(quantity, least)} or more"
            )


def _known(slot: LayerSlot) -> bool:
    """Whether what a layer may become, and costs then, is known without data."""
    return bool(slot.why_dense) or not (uses_supports(slot) or uses_bypasses(slot))


def _least(slot: LayerSlot, costing: Costing, quantity: str) -> Candidate:
    """The cheapest that a layer may become."""
    entries = costing.with_windows(layer_entries(slot, ()), (quantity,))
    candidates = [costing.candidate(entry, (quantity,)) for entry in entries]
    return min(candidates, key=lambda one: one.cost(quantity))
