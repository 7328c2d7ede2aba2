"""The whole front: every best trade of cycles (or arrays, or energy) for predicted loss.

The front of the first k layers comes from that of the first k - 1 (Nemhauser & Ullmann 1969):

    F_k = best of { (cost + cost_kc, loss + loss_kc) : (cost, loss) in F_(k-1), c a candidate of layer k }

A choice for k layers that another one beats in cost and loss stays beaten whatever the other layers
become, so that nothing is lost by forgetting it: F_L is the front of all products of choices, exactly.

A front may grow with every layer, up to the product of all numbers of candidates. Where it outgrows what
a minute's work allows, the points of F_k are merged: the costs are cut into cells of one width d_k, and
of the points of a cell only that of least loss is kept, which costs less than d_k more than any other of
them. What is lost by it is bounded. Let e_k be the least number such that

    for every choice for k layers some point of F_k has no more loss, and at most e_k more cost.

Given a choice for k layers, a point p of F_(k-1) is so for its first k - 1 layers; p with the choice's
candidate of layer k has no more loss than the choice and at most e_(k-1) more cost; so does whatever
beats it; and merging moves that by less than d_k. Hence e_k <= e_(k-1) + d_k, and e_L <= d_1 + ... + d_L,
which is `Front.epsilon`: 0 where nothing was merged. The points themselves are true choices with their
true sums. The one of least cost and the one of least loss are always exact: the former is a cell of its
own, the latter the least of its cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import CYCLES, LOSS, QUANTITIES, Candidate
from rankfold.planning.exact.units import in_units
from rankfold.progress import Progress, Silent

WORK = 1 << 28  # sums over all steps, some 130 ns each
STEP = 1 << 26  # sums of one step, half a gigabyte
POINTS = 1 << 21  # of a front, each with the choice of every layer
FEWEST = 1 << 10  # points that are kept in any case


@dataclass(frozen=True)
class Front:
    """Choices that no other one is as good as in both cost and loss, by rising cost.

    Attributes:
        quantity: what the cost counts, one of `QUANTITIES`.
        costs: (P,) of the points, rising.
        losses: (P,) of the points, falling.
        choices: the candidates of each layer, as given.
        picks: (P, L) the index of the candidate that each layer takes.
        epsilon: for every choice there is, a point has no more loss and at most so much more cost; 0: the
            front is exact.
    """

    quantity: str
    costs: np.ndarray
    losses: np.ndarray
    choices: tuple[tuple[Candidate, ...], ...]
    picks: np.ndarray
    epsilon: float = 0.0

    def __len__(self) -> int:
        return len(self.costs)

    def chosen(self, point: int) -> tuple[Candidate, ...]:
        """The candidate of each layer at a point."""
        return tuple(layer[pick] for layer, pick in zip(self.choices, self.picks[point], strict=True))

    def totals(self, quantity: str) -> np.ndarray:
        """(P,) what the points cost of any quantity.

        Raises:
            InputError: it is the energy, and that was not counted.
        """
        sums = np.zeros(len(self))
        for layer, picks in zip(self.choices, self.picks.T, strict=True):
            sums += _amounts(layer, quantity)[picks]
        return sums

    def thinned(self, most: int) -> np.ndarray:
        """Indices of at most `most` points, both ends among them, spread evenly over the length of the curve.

        Along the curve, not over the costs: where loss falls steeply a step of cost is a long way.
        """
        if len(self) <= most:
            return np.arange(len(self))
        # The root shows the many good points, which one bad end would push together.
        x = _to_one(self.costs)
        y = _to_one(np.sqrt(self.losses - self.losses[-1]))
        steps = np.hypot(np.diff(x), np.diff(y))
        length = np.concatenate(([0.0], np.cumsum(steps)))
        places = np.linspace(0, length[-1], most)
        return np.unique(np.searchsorted(length, places).clip(max=len(self) - 1))


def front(
    choices: Sequence[Sequence[Candidate]],
    quantity: str = CYCLES,
    *,
    work: int = WORK,
    progress: Progress | None = None,
) -> Front:
    """Merge the layers' fronts one by one, keeping only what no other choice is as good as.

    Exact, unless there are too many points: then points of nearly equal cost are merged, within
    `Front.epsilon` (see the module's text for the bound), and `progress` is told so. Of choices that are
    equal in both, one is kept.

    Args:
        choices: the candidates of each layer.
        quantity: what the cost counts, one of `QUANTITIES`.
        work: the most sums of two costs that may be looked at in all, which bounds the time; a front that is
            cut down keeps 1,024 points in any case.
        progress: hears how many layers are merged.

    Raises:
        InputError: a layer has no candidate, or the quantity is unknown or not counted.
    """
    if not choices or not all(choices):
        raise InputError("there is nothing to choose: every layer needs a candidate")
    if quantity not in QUANTITIES:
        raise InputError(f"the cost of a front (={quantity}) must be one of {', '.join(QUANTITIES)}")
    progress = progress or Silent()
    merger = _Merger(work, sum(len(layer) for layer in choices))
    progress.begin("front", len(choices), "layers")
    try:
        for number, layer in enumerate(choices):
            largest_to_come = max((len(later) for later in choices[number + 1 :]), default=1)
            was_exact = merger.epsilon == 0.0
            merger.add(_amounts(layer, quantity), _amounts(layer, LOSS), largest_to_come)
            if was_exact and merger.epsilon > 0.0:
                progress.note(
                    f"the front has too many points after {number + 1} of {len(choices)} layers; "
                    f"those of nearly equal {quantity} are merged from here on"
                )
            progress.advance()
    finally:
        progress.end()
    if merger.epsilon > 0.0:
        more = in_units(quantity, merger.epsilon)
        progress.note(f"for every plan the front has one of no more predicted loss and at most {more} more")
    layers = tuple(tuple(layer) for layer in choices)
    return Front(quantity, merger.costs, merger.losses, layers, merger.picks(), merger.epsilon)


class _Merger:
    """The front of the layers so far, with the way back to their choices.

    Args:
        work: sums that may be looked at in all.
        candidates: of all layers together.
    """

    def __init__(self, work: int, candidates: int) -> None:
        self.costs, self.losses = np.zeros(1), np.zeros(1)
        self.epsilon = 0.0
        self._work, self._to_come = work, candidates
        # For each layer and point: the candidate that was added, and the point before that it was added to.
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, cost: np.ndarray, loss: np.ndarray, largest_to_come: int) -> None:
        """Take in a layer.

        Args:
            cost: (C,) of its candidates.
            loss: (C,) of its candidates.
            largest_to_come: the most candidates of any layer after it.
        """
        # (C, P) of every candidate with every point, the points of one candidate in a row.
        sums = (cost[:, None] + self.costs).ravel()
        lost = (loss[:, None] + self.losses).ravel()
        self._work -= len(sums)
        self._to_come -= len(cost)
        kept = _best(sums, lost)
        # If the front stays no longer than this, all steps to come look at no more sums than there may be.
        most = min(POINTS, STEP // largest_to_come)
        if self._to_come:
            most = min(most, self._work // self._to_come)
        most = max(most, FEWEST)
        if len(kept) > most:
            kept, width = _merged(kept, sums[kept], most)
            self.epsilon += width
        picks, before = np.divmod(kept, len(self.costs))
        self._steps.append((picks.astype(np.int32), before.astype(np.int32)))
        self.costs, self.losses = sums[kept], lost[kept]

    def picks(self) -> np.ndarray:
        """(P, L) the candidate of each layer, found from the last layer back to the first."""
        chosen = np.empty((len(self.costs), len(self._steps)), np.int32)
        points = np.arange(len(self.costs))
        for number in reversed(range(len(self._steps))):
            picks, before = self._steps[number]
            chosen[:, number] = picks[points]
            points = before[points]
        return chosen


def _best(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Indices of the points that none is as good as in both, by rising cost."""
    # The runs of one candidate each are sorted already, which a stable sort (a merge) makes use of.
    order = np.argsort(costs, kind="stable")
    cost, loss = costs[order], losses[order]
    # A point is worth its cost only if it loses less than all that cost no more.
    least_before = np.concatenate(([np.inf], np.minimum.accumulate(loss)[:-1]))
    better = np.flatnonzero(loss < least_before)
    last = np.append(cost[better][1:] != cost[better][:-1], True)  # the best of equal costs comes last
    return order[better[last]]


def _merged(kept: np.ndarray, costs: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """Those of a front's points that are left when close ones are merged, and the width of the cells.

    Args:
        kept: (P,) indices of the points.
        costs: (P,) of the points, rising; their losses fall.
        most: how many may be left, at least 3.
    """
    cheapest = costs[0]
    width = float(costs[-1] - cheapest) / (most - 2)
    cells = np.floor((costs - cheapest) / width)
    cells[0] = -1.0  # the point of least cost stays
    last = np.append(cells[1:] != cells[:-1], True)  # the least loss of a cell comes last
    return kept[last], width


def _amounts(layer: Sequence[Candidate], quantity: str) -> np.ndarray:
    """(C,) what the candidates of a layer cost of a quantity."""
    return np.array([candidate.cost(quantity) for candidate in layer], dtype=float)


def _to_one(values: np.ndarray) -> np.ndarray:
    """The values from 0 for the least to 1 for the greatest."""
    span = float(np.ptp(values))
    if not span:
        return np.zeros(len(values))
    return (values - values.min()) / span
