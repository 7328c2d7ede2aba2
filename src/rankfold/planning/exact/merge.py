"""The fronts of a network's layers merged one by one, exactly, or within a bound where that is too much.

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
beats it; and merging moves that by less than d_k. Hence e_k <= e_(k-1) + d_k, and e_L <= d_1 + ... + d_L:
`epsilon`, which is 0 where nothing was merged. The points themselves are true choices with their true
sums. The one of least cost and the one of least loss are always exact: the former is a cell of its own,
the latter the least of its cell.

Where the cost of a network is that of its most expensive layer, as the interval with layers pipelined is,
the larger of both costs stands in place of their sum. A choice that is beaten stays so all the same, and
since max(a + e, c) <= max(a, c) + e the bound holds too.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray  # of floats or integers, one number for each point or candidate

WORK = 1 << 28  # sums over all layers, some 130 ns each: half a minute
STEP = 1 << 26  # sums of one layer, half a gigabyte
POINTS = 1 << 21  # of a front, each with the choice of every layer
FEWEST = 1 << 10  # points that are kept in any case


class FrontMerger:
    """The front of the layers so far, with the way back to their choices.

    Attributes:
        costs: (P,) of its points, rising.
        losses: (P,) of its points, falling.
        epsilon: for every choice, a point has no more loss and at most so much more cost.

    Args:
        sizes: numbers of candidates of the layers that will be added.
        work: sums of two costs that may be looked at in all; 1,024 points are kept whatever it is.
        largest: whether the most expensive layer is what a network costs, not all of them together.
    """

    def __init__(self, sizes: list[int], work: int, *, largest: bool = False) -> None:
        # Of no layer there is one choice, that of nothing.
        self.costs = np.zeros(1)
        self.losses = np.zeros(1)
        self.epsilon = 0.0
        self._to_come = list(sizes)
        self._work = work
        self._joined = np.maximum if largest else np.add
        # For each layer and point: the candidate that was added, and the point before that it was added to.
        self._steps: list[tuple[Array, Array]] = []

    def add(self, cost: Array, loss: Array) -> None:
        """Take in the next layer.

        Args:
            cost: (C,) of its candidates.
            loss: (C,) of its candidates.
        """
        # (C, P) of every candidate with every point, then the points of one candidate after another.
        sums = self._joined(cost[:, None], self.costs).ravel()
        lost = (loss[:, None] + self.losses).ravel()
        self._work -= len(sums)
        del self._to_come[0]
        kept = best_points(sums, lost)
        most = self._most_points()
        if len(kept) > most:
            kept, width = _thinned(kept, sums[kept], most)
            self.epsilon += width
        # Each sum's place tells its candidate and its point.
        candidates, before = np.divmod(kept, len(self.costs))
        # Half the memory of NumPy's own integers: a step is kept for every layer.
        candidates = candidates.astype(np.int32)
        before = before.astype(np.int32)
        self._steps.append((candidates, before))
        self.costs = sums[kept]
        self.losses = lost[kept]

    def picks(self) -> Array:
        """(P, L) the candidate of each layer, found from the last layer back to the first."""
        points, layers = len(self.costs), len(self._steps)
        picks = np.empty((points, layers), np.int32)
        # Of each point of the whole front, its point of the front of the layers up to this one.
        here = np.arange(points)
        for layer in reversed(range(layers)):
            candidates, before = self._steps[layer]
            picks[:, layer] = candidates[here]
            here = before[here]
        return picks

    def _most_points(self) -> int:
        """How long the front may be now.

        If it stays no longer than this, the layers to come look at no more sums than are left.
        """
        if not self._to_come:
            return POINTS
        within_a_step = STEP // max(self._to_come)
        within_the_work = self._work // sum(self._to_come)
        most = min(POINTS, within_a_step, within_the_work)
        return max(most, FEWEST)


def best_points(costs: Array, losses: Array) -> Array:
    """Indices of the points that none is as good as in both, by rising cost."""
    # The runs of one candidate each are sorted already, which a stable sort (a merge) makes use of.
    order = np.argsort(costs, kind="stable")
    cost = costs[order]
    loss = losses[order]
    # A point is worth its cost only if it loses less than all that cost no more.
    least = np.minimum.accumulate(loss)
    least_before = np.append(np.inf, least[:-1])
    better = np.flatnonzero(loss < least_before)
    # Of several that are better than what is cheaper and cost the same, the best comes last.
    last = _is_last_of_equals(cost[better])
    return order[better[last]]


def _thinned(kept: Array, costs: Array, most: int) -> tuple[Array, float]:
    """Those of a front's points that are left when close ones are merged, and the width d of the cells.

    Args:
        kept: (P,) indices of the points.
        costs: (P,) of the points, rising; their losses fall.
        most: how many may be left, at least 3.
    """
    cheapest = costs[0]
    span = float(costs[-1] - cheapest)
    # most - 1 cells from the cheapest to the dearest, which is in the last of them alone, and one before.
    width = span / (most - 2)
    cells = np.floor((costs - cheapest) / width)
    cells[0] = -1.0  # the point of least cost stays
    # The least loss of a cell comes last, as losses fall.
    return kept[_is_last_of_equals(cells)], width


def _is_last_of_equals(values: Array) -> Array:
    """(P,) booleans, for sorted values: whether the next one is another."""
    changes = values[1:] != values[:-1]
    return np.append(changes, True)
