"""The whole front: every best trade of cycles (or arrays, or energy) for predicted loss, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import CYCLES, LOSS, QUANTITIES, Candidate

MOST = 1 << 26  # points that one step may look at; 26 candidates on a front of 2.6 million


@dataclass(frozen=True)
class Front:
    """All choices that no other one is as good as in both cost and loss, by falling cost.

    Attributes:
        quantity: what the cost counts, one of `QUANTITIES`.
        costs: (P,) of the points, rising.
        losses: (P,) of the points, falling.
        choices: the candidates of each layer, as given.
        picks: (P, L) the index of the candidate that each layer takes.
    """

    quantity: str
    costs: np.ndarray
    losses: np.ndarray
    choices: tuple[tuple[Candidate, ...], ...]
    picks: np.ndarray

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
        found = np.zeros(len(self))
        for layer, picks in zip(self.choices, self.picks.T, strict=True):
            found += np.array([candidate.cost(quantity) for candidate in layer])[picks]
        return found

    def thinned(self, most: int) -> np.ndarray:
        """Indices of at most `most` points, both ends among them, spread evenly over the length of the curve.

        Along the curve, not over the costs: where loss falls steeply a step of cost is a long way.
        """
        if len(self) <= most:
            return np.arange(len(self))
        # The root shows the many good points, which one bad end would push together.
        x, y = (_to_one(values) for values in (self.costs, np.sqrt(self.losses - self.losses[-1])))
        length = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))))
        return np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)).clip(max=len(self) - 1))


def front(choices: Sequence[Sequence[Candidate]], quantity: str = CYCLES) -> Front:
    """Merge the layers' fronts one by one, keeping only what no other choice is as good as (Nemhauser & Ullmann 1969).

    A choice for the first k layers that another one beats in cost and loss is beaten whatever the other layers become, so that
    nothing is lost by forgetting it: the result is the front of all products of choices. Of choices that are equal in both, one
    is kept.

    Args:
        choices: the candidates of each layer.
        quantity: what the cost counts, one of `QUANTITIES`.

    Raises:
        InputError: a layer has no candidate, the quantity is unknown or not counted, or the front has too many points.
    """
    if not choices or not all(choices):
        raise InputError("there is nothing to choose: every layer needs a candidate")
    if quantity not in QUANTITIES:
        raise InputError(f"the cost of a front (={quantity}) must be one of {', '.join(QUANTITIES)}")
    costs, losses = np.zeros(1), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in choices:
        cost = np.array([candidate.cost(quantity) for candidate in layer], dtype=float)
        loss = np.array([candidate.cost(LOSS) for candidate in layer], dtype=float)
        if len(costs) * len(cost) > MOST:
            raise InputError(
                f"the front has too many points ({len(costs):,} with {len(steps)} of {len(choices)} layers); plan for a budget"
            )
        sums, lost = (cost[:, None] + costs).ravel(), (loss[:, None] + losses).ravel()
        kept = _best(sums, lost)
        picks, before = np.divmod(kept, len(costs))
        steps.append((picks.astype(np.int32), before.astype(np.int32)))
        costs, losses = sums[kept], lost[kept]
    chosen = np.empty((len(costs), len(steps)), np.int32)
    at = np.arange(len(costs))
    for number, (picks, before) in reversed(list(enumerate(steps))):
        chosen[:, number] = picks[at]
        at = before[at]
    return Front(quantity, costs, losses, tuple(tuple(layer) for layer in choices), chosen)


def _best(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Indices of the points that none is as good as in both, by rising cost."""
    # The runs of one candidate each are sorted already, which a stable sort (a merge) makes use of.
    order = np.argsort(costs, kind="stable")
    cost, loss = costs[order], losses[order]
    before = np.concatenate(([np.inf], np.minimum.accumulate(loss)[:-1]))
    better = np.flatnonzero(loss < before)
    last = np.append(cost[better][1:] != cost[better][:-1], True)  # the best of equal costs comes last
    return order[better[last]]


def _to_one(values: np.ndarray) -> np.ndarray:
    span = float(np.ptp(values))
    return (values - values.min()) / span if span else np.zeros(len(values))
