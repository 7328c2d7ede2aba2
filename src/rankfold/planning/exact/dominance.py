"""Candidates that no budget could ever prefer, left out before anything is computed for them, and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rankfold.planning.exact.candidate import LOSS, QUANTITIES, Candidate, holds


def without_hopeless(candidates: Sequence[Candidate], budgeted: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates left when those are dropped that need not be looked at, whatever the layer's weight and data are.

    One is dropped where another costs no more in any budgeted quantity and can hold every weight that it can (`holds`). This
    is exact: replace it, in any network, by the other one with the very same weight, and the network computes the same at no
    higher cost. So the best network of every budget is still among those that are left. Of candidates that hold the same and
    cost the same in all budgeted quantities, the one that costs less of the others stays.

    Args:
        candidates: of one layer, whose losses are not known yet.
        budgeted: those of `QUANTITIES` that a budget is kept on, or that is to be small.
    """
    cheaper = _at_most(candidates, budgeted)

    def beats(one: int, other: int) -> bool:
        return bool(cheaper[one, other]) and holds(candidates[one].entry, candidates[other].entry)

    return _kept(candidates, _ranks(candidates, budgeted), beats)


def pareto(candidates: Sequence[Candidate], budgeted: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates that no other one is at least as good as in all budgeted quantities and in loss.

    Of equal ones that which costs less of the other quantities stays. What is dropped is in no optimum that another choice
    does not reach, so that neither the knapsack nor the front changes.
    """
    beaten_by = _at_most(candidates, (*budgeted, LOSS))
    return _kept(candidates, _ranks(candidates, budgeted), lambda one, other: bool(beaten_by[one, other]))


def _at_most(candidates: Sequence[Candidate], quantities: Sequence[str]) -> np.ndarray:
    """(K, K) booleans: whether the first one costs no more than the second in all these quantities."""
    values = np.array([[candidate.cost(quantity) for quantity in quantities] for candidate in candidates], dtype=float)
    return np.asarray((values[:, None] <= values).all(axis=2))


def _ranks(candidates: Sequence[Candidate], budgeted: Sequence[str]) -> list[int]:
    """The place of each candidate where equal ones are told apart: by the other quantities, then by order."""
    others = [quantity for quantity in QUANTITIES if quantity not in budgeted]

    def key(index: int) -> tuple[float, ...]:
        # Energy that was not counted tells nothing apart.
        return (*(float(getattr(candidates[index], quantity) or 0.0) for quantity in others), float(index))

    order = sorted(range(len(candidates)), key=key)
    return np.argsort(order).tolist()


def _kept(candidates: Sequence[Candidate], ranks: Sequence[int], beats: Callable[[int, int], bool]) -> tuple[Candidate, ...]:
    """Those that none beats; of two that beat each other, the one of lower rank."""
    every = range(len(candidates))

    def beaten(other: int) -> bool:
        return any(one != other and beats(one, other) and (ranks[one] < ranks[other] or not beats(other, one)) for one in every)

    return tuple(candidate for index, candidate in enumerate(candidates) if not beaten(index))
