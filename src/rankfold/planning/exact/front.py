"""The whole front: every best trade of cycles (or arrays, or energy) for predicted loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.notebooks import Shown, in_brackets
from rankfold.planning.exact.candidate import LOSS, Candidate, Candidates, Choices, is_largest
from rankfold.planning.exact.linked import Unit, spread, units
from rankfold.planning.exact.merge import WORK, FrontMerger
from rankfold.planning.exact.quantities import CYCLES, QUANTITIES, spoken
from rankfold.planning.exact.units import in_units
from rankfold.progress import Progress, Silent


@dataclass(frozen=True)
class Front(Shown):
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

    def __repr__(self) -> str:
        ends = f"{in_units(self.quantity, self.costs[0])} to {in_units(self.quantity, self.costs[-1])}"
        return in_brackets("Front", f"of {spoken(self.quantity)}: {len(self):,} plans, {ends}")

    def __len__(self) -> int:
        return len(self.costs)

    def chosen(self, point: int) -> tuple[Candidate, ...]:
        """The candidate of each layer at a point."""
        return picked(self.choices, self.picks[point])

    def totals(self, quantity: str) -> np.ndarray:
        """(P,) what the points cost of any quantity.

        Raises:
            InputError: it was not counted.
        """
        return totals_of(self.choices, self.picks, quantity)

    def thinned(self, most: int) -> np.ndarray:
        """Indices of at most `most` points, both ends among them, spread evenly over the length of the curve.

        Along the curve, not over the costs: where loss falls steeply a step of cost is a long way.
        """
        count = len(self)
        if count <= most:
            return np.arange(count)
        # The root shows the many good points, which one bad end would push together.
        x = _to_one(self.costs)
        roots = np.sqrt(self.losses - self.losses[-1])
        y = _to_one(roots)
        steps = np.hypot(np.diff(x), np.diff(y))
        length = np.concatenate(([0.0], np.cumsum(steps)))  # (P,) of the curve up to each point
        places = np.linspace(0, length[-1], most)
        # Rounding may put the last place beyond the last point.
        nearest = np.searchsorted(length, places).clip(max=count - 1)
        return np.unique(nearest)


def front(
    choices: Choices,
    quantity: str = CYCLES,
    *,
    work: int = WORK,
    progress: Progress | None = None,
) -> Front:
    """Merge the layers' fronts one by one, keeping only what no other choice is as good as.

    Exact, unless there are too many points: then points of nearly equal cost are merged, within
    `Front.epsilon` (see `planning.exact.merge` for the bound), and `progress` is told so. Of choices that are
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
        known = ", ".join(QUANTITIES)
        raise InputError(f"the cost of a front (={quantity}) must be one of {known}")
    progress = progress or Silent()
    found = units(choices, (quantity, LOSS))
    merger = FrontMerger([len(unit.picks) for unit in found], work, largest=is_largest(quantity))
    progress.begin("front", len(choices), "layers")
    try:
        _merge(merger, found, quantity, progress)
    finally:
        progress.end()
    if merger.epsilon > 0.0:
        more = in_units(quantity, merger.epsilon)
        progress.note(f"for every plan the front has one of no more predicted loss and at most {more} more")
    layers = tuple(tuple(layer) for layer in choices)
    picks = spread(merger.picks(), found)
    return Front(quantity, merger.costs, merger.losses, layers, picks, merger.epsilon)


def _merge(merger: FrontMerger, found: Sequence[Unit], quantity: str, progress: Progress) -> None:
    """Take in all layers; whoever waits is told as soon as the front is exact no more."""
    told = False
    layers, number = sum(len(unit.layers) for unit in found), 0
    for unit in found:
        costs, losses = unit.amounts.T
        merger.add(costs, losses)
        number += len(unit.layers)
        if merger.epsilon > 0.0 and not told:
            told = True
            progress.note(
                f"the front has too many points after {number} of {layers} layers; "
                f"those of nearly equal {spoken(quantity)} are merged from here on"
            )
        progress.advance(len(unit.layers))


def amounts_of(layer: Candidates, quantity: str) -> np.ndarray:
    """(C,) what the candidates of a layer cost of a quantity."""
    costs = [candidate.cost(quantity) for candidate in layer]
    return np.array(costs, dtype=float)


def picked(choices: tuple[tuple[Candidate, ...], ...], picks: np.ndarray) -> tuple[Candidate, ...]:
    """The candidate of each layer, by (L,) indices."""
    return tuple(layer[pick] for layer, pick in zip(choices, picks, strict=True))


def totals_of(choices: Choices, picks: np.ndarray, quantity: str) -> np.ndarray:
    """(P,) what P points cost of a quantity, by the (P, L) candidates that their layers take.

    Raises:
        InputError: it was not counted.
    """
    sums = np.zeros(len(picks))
    for layer, of_layer in zip(choices, picks.T, strict=True):
        amounts = amounts_of(layer, quantity)[of_layer]
        if is_largest(quantity):
            sums = np.maximum(sums, amounts)
        else:
            sums += amounts
    return sums


def _to_one(values: np.ndarray) -> np.ndarray:
    """The values from 0 for the least to 1 for the greatest."""
    span = float(np.ptp(values))
    if not span:
        return np.zeros(len(values))
    return (values - values.min()) / span
