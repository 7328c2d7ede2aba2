"""The fronts of a network's layers in two costs and the loss, merged one by one, exactly or within a bound.

As `planning.exact.merge` does for one cost: a choice for k layers that another one is as good as in both
costs and in the loss stays so whatever the other layers become, and is forgotten. What is left is a surface,
not a curve, and grows faster: where costs are counted (cycles, arrays), there is at most one point for each
pair of costs; where they are not (energy), every layer may multiply it.

Where it outgrows what the work allows, the plane of both costs is cut into cells of d_k x e_k, and of the
points of a cell only that of least loss is kept. By the argument of `planning.exact.merge`, in each cost by
itself: for every choice some point has no more loss, at most the sum of all d_k more of the first cost, and
at most that of all e_k more of the second, both at once. These sums are `epsilon`, zero where nothing was
merged. The points of least first and of least second cost are kept in any case.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

WORK = 1 << 25  # sums over all layers, some 2 us each: a minute
STEP = 1 << 21  # sums of one layer
FEWEST = 1 << 10  # points that are kept in any case
FINER = 0.85  # of the cells of a side, at each try to have few enough of them


class SurfaceMerger:
    """The front of the layers so far in two costs and the loss, with the way back to their choices.

    Attributes:
        costs: (P, 2) of its points.
        losses: (P,) of its points.
        epsilon: (2,) for every choice, a point has no more loss and at most so much more of both costs.

    Args:
        sizes: numbers of candidates of the layers that will be added.
        largest: of both costs, whether the most expensive layer is what a network costs.
        work: sums that may be looked at in all; 1,024 points are kept whatever it is.
    """

    def __init__(self, sizes: list[int], largest: tuple[bool, bool], work: int = WORK) -> None:
        self.costs = np.zeros((1, 2))
        self.losses = np.zeros(1)
        self.epsilon = np.zeros(2)
        self._to_come = list(sizes)
        self._largest = largest
        self._work = work
        # For each layer and point: the candidate that was added, and the point before.
        self._steps: list[tuple[Array, Array]] = []

    def add(self, costs: Array, losses: Array) -> None:
        """Take in the next layer.

        Args:
            costs: (C, 2) of its candidates.
            losses: (C,) of its candidates.
        """
        both = []
        for axis, largest in enumerate(self._largest):
            join = np.maximum if largest else np.add
            both.append(join(costs[:, axis, None], self.costs[:, axis]).ravel())  # (C*P,)
        lost = (losses[:, None] + self.losses).ravel()
        self._work -= len(lost)
        del self._to_come[0]
        kept = undominated_of_three(both[0], both[1], lost)
        joined = np.stack([amounts[kept] for amounts in both], axis=1)  # (P', 2)
        most = self._most_points()
        if len(kept) > most:
            left, widths = thinned(joined, lost[kept], most)
            kept, joined = kept[left], joined[left]
            self.epsilon += widths
        candidates, before = np.divmod(kept, len(self.losses))
        self._steps.append((candidates.astype(np.int32), before.astype(np.int32)))
        self.costs, self.losses = joined, lost[kept]

    def picks(self) -> Array:
        """(P, L) the candidate of each layer, found from the last layer back to the first."""
        picks = np.empty((len(self.losses), len(self._steps)), np.int32)
        here = np.arange(len(self.losses))
        for layer in reversed(range(len(self._steps))):
            candidates, before = self._steps[layer]
            picks[:, layer] = candidates[here]
            here = before[here]
        return picks

    def _most_points(self) -> int:
        """How many points there may be now, so that the layers to come look at no more sums than are left."""
        if not self._to_come:
            return STEP
        most = min(STEP // max(self._to_come), self._work // sum(self._to_come))
        return max(most, FEWEST)


# Sorted by the first cost (then the second, then the loss) a point can only be beaten by one before it:
# j is beaten if some i < j has b_i <= b_j and l_i <= l_j. Blocks of 1, 2, 4, ... neighbours are sorted by b,
# and two of them merged at a time: walking through both by rising b, a point of the right one is beaten from
# the left if the least loss of the left ones passed so far is no more than its own. Every pair i < j is in
# two halves of one merger exactly once. All mergers of a size are done at once; ties of b keep their order,
# so that those of the left come first.
def undominated_of_three(first: Array, second: Array, losses: Array) -> Array:
    """Indices of the points that no other one is as good as in all three; of equal ones the first.

    Args:
        first: (N,) of one cost.
        second: (N,) of the other.
        losses: (N,).
    """
    order = np.lexsort((losses, second, first))
    lost = losses[order]
    size = 1 << max(len(order) - 1, 0).bit_length()
    rank = np.arange(size)
    rank[np.argsort(second[order], kind="stable")] = np.arange(len(order))
    padded = np.full(size, np.inf)
    padded[: len(order)] = lost
    beaten = np.zeros(size, bool)
    sorted_by_rank = np.arange(size)  # places, within blocks by rising rank
    width = 1
    while width < size:
        blocks = sorted_by_rank.reshape(-1, 2 * width)
        # Each row is two sorted runs, which a stable sort merges.
        merged = np.take_along_axis(blocks, np.argsort(rank[blocks], axis=1, kind="stable"), axis=1)
        of_left = (merged // width) % 2 == 0
        of_block = padded[merged]
        least = np.minimum.accumulate(np.where(of_left, of_block, np.inf), axis=1)
        beaten[merged[~of_left & (least <= of_block)]] = True
        sorted_by_rank = merged.ravel()
        width *= 2
    return order[~beaten[: len(order)]]


def thinned(costs: Array, losses: Array, most: int) -> tuple[Array, Array]:
    """Indices of at most so many points of a surface, the best of each cell, and the cells' (2,) widths.

    Args:
        costs: (P, 2) of the points.
        losses: (P,) of the points.
        most: how many may be left, 6 or more: 2 ends, and a cell in each corner.

    Raises:
        ValueError: fewer.
    """
    if most < 6:
        raise ValueError(f"most (={most}) must be 6 or more")
    low, span = costs.min(axis=0), np.ptp(costs, axis=0)
    ends = costs.argmin(axis=0)
    # The best of a cell comes first.
    order = np.argsort(losses, kind="stable")
    side = most
    while True:
        widths = span / side
        cells = np.floor((costs - low) / np.where(widths > 0, widths, 1.0)).astype(np.int64)
        numbers = cells[:, 0] * (side + 1) + cells[:, 1]
        _, first = np.unique(numbers[order], return_index=True)
        left = np.union1d(order[first], ends)
        if len(left) <= most:
            return left, widths
        side = min(math.floor(FINER * side), side - 1)
