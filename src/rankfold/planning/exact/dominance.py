"""Candidates that no budget could ever prefer, left out before anything is computed for them, and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rankfold.plan import LayerPlan
from rankfold.planning.exact.candidate import LOSS, Candidate, Candidates
from rankfold.planning.exact.quantities import USUAL

# Whether the candidate of the first index can be all that that of the second can.
Holds = Callable[[int, int], bool]
FLOAT = 32  # bits of what is not rounded


def without_hopeless(candidates: Candidates, budgeted: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates left without those that need not be looked at, whatever the layer's weight and data are.

    One is dropped where another costs no more in any budgeted quantity and can hold every weight that it can
    (`LayerKind.holds`), with no fewer bits. This is exact: replace it, in any network, by the other one with
    the very same weight, and the network computes the same at no higher cost. (It also reads no more channels
    of a layer that may give fewer, and needs no more of the layer behind it. The levels of fewer bits are
    among those of more bits with the same step. Of inputs, which are rounded as they come, no error grows.)
    So the best network of every budget is still among those that are left. Of candidates that hold the same
    and cost the same in all budgeted quantities, the one that costs less of the others stays.

    Args:
        candidates: of one layer, whose losses are not known yet.
        budgeted: those of `QUANTITIES` that a budget is kept on, or that is to be small.
    """
    # The costs first: comparing supports takes longest.
    no_worse: np.ndarray = _no_more(candidates, budgeted) & _no_fewer_bits(candidates)
    kinds = [candidate.entry.kind for candidate in candidates]

    def holds(one: int, other: int) -> bool:
        return kinds[one].holds(kinds[other])

    return _unbeaten(candidates, _ranks(candidates, budgeted), no_worse, holds)


def cheaper_than_lossless(candidates: Candidates, budgeted: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates without those that change the weight, and save nothing that is budgeted.

    A layer that stays as it is has no predicted loss, and nothing has less: where it costs no more in any
    budgeted quantity, it is at least as good as one that changes the weight, whatever that loses. No optimum
    changes, as with `pareto`; but of those that are dropped here no loss need be computed.

    Where rounding counts, it must have no fewer bits. What rounding is predicted to lose then
    adds to either, and that it adds no more to the layer as it is holds on average, not for every weight.
    """
    no_dearer: np.ndarray = _no_more(candidates, budgeted) & _no_fewer_bits(candidates)
    unchanged = [index for index, one in enumerate(candidates) if not one.entry.kind.changes_weight]
    left = []
    for index, candidate in enumerate(candidates):
        if candidate.entry.kind.changes_weight and no_dearer[unchanged, index].any():
            continue
        left.append(candidate)
    return tuple(left)


def pareto(candidates: Candidates, budgeted: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates that no other one is at least as good as in all budgeted quantities and in loss.

    Of equal ones that which costs less of the other quantities stays. What is dropped is in no optimum that
    another choice does not reach, so that neither the knapsack nor the front changes.
    """
    no_worse = _no_more(candidates, (*budgeted, LOSS))
    return _unbeaten(candidates, _ranks(candidates, budgeted), no_worse)


def _no_more(candidates: Candidates, quantities: Sequence[str]) -> np.ndarray:
    """(K, K) booleans: whether the first one costs no more than the second in all these quantities, and reads
    and needs no more: what other layers may become rests on that.
    """
    reads = np.array([one.reads for one in candidates])  # (K,)
    no_more: np.ndarray = (reads[:, None] <= reads) & _needing_no_more(candidates)
    for quantity in quantities:
        amounts = [candidate.cost(quantity) for candidate in candidates]
        costs = np.array(amounts, dtype=float)  # (K,)
        no_more &= costs[:, None] <= costs
    return no_more


def _needing_no_more(candidates: Candidates) -> np.ndarray:
    """(K, K) booleans: whether the first one can be had wherever the second can."""
    names = np.array([one.needed_layer for one in candidates])
    most = np.array([one.needed_most for one in candidates])
    needing_no_more: np.ndarray = (names[:, None] == "") | (
        (names[:, None] == names) & (most[:, None] >= most)
    )
    return needing_no_more


def _no_fewer_bits(candidates: Candidates) -> np.ndarray:
    """(K, K) booleans: whether the first one has no fewer bits of weights and of inputs than the second."""
    bits = np.array([_bits(candidate.entry) for candidate in candidates]).reshape(-1, 2)
    weights, inputs = bits.T  # (K,) each
    no_fewer: np.ndarray = (weights[:, None] >= weights) & (inputs[:, None] >= inputs)
    return no_fewer


def _bits(entry: LayerPlan) -> tuple[int, int]:
    """Of weights and of inputs."""
    return entry.weight_bits or FLOAT, entry.input_bits or FLOAT


def _ranks(candidates: Candidates, budgeted: Sequence[str]) -> list[int]:
    """The place of each candidate where equal ones are told apart: by the other usual quantities, then by
    order.
    """
    keys = []
    for index, candidate in enumerate(candidates):
        key: list[float] = []
        for quantity in USUAL:
            if quantity not in budgeted:
                # Energy that was not counted tells nothing apart.
                key.append(getattr(candidate, quantity) or 0.0)
        # Last the order in which kinds offer candidates: simple ones come first.
        key.append(index)
        keys.append(key)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = [0] * len(keys)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def _unbeaten(
    candidates: Candidates, ranks: Sequence[int], no_worse: np.ndarray, holds: Holds | None = None
) -> tuple[Candidate, ...]:
    """Those that none beats; of two that beat each other, the one of lower rank.

    Args:
        candidates: K of them.
        ranks: of each.
        no_worse: (K, K) whether the first is at least as good as the second in all that is compared.
        holds: what else is needed to beat; None: nothing.
    """
    left = []
    for index, candidate in enumerate(candidates):
        if not _is_beaten(index, ranks, no_worse, holds):
            left.append(candidate)
    return tuple(left)


def _is_beaten(other: int, ranks: Sequence[int], no_worse: np.ndarray, holds: Holds | None) -> bool:
    # Those that are beaten themselves count too: whatever beats them beats this one as well, as beating is
    # transitive and ranks differ.
    for one in np.flatnonzero(no_worse[:, other]).tolist():
        if one == other or (holds is not None and not holds(one, other)):
            continue
        mutual = no_worse[other, one] and (holds is None or holds(other, one))
        if ranks[one] < ranks[other] or not mutual:
            return True
    return False
