"""The front in three quantities: every best trade of two costs and the predicted loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.notebooks import Shown, in_brackets
from rankfold.planning.exact.candidate import LOSS, Candidate, Choices, is_largest
from rankfold.planning.exact.front import picked, totals_of
from rankfold.planning.exact.linked import spread, units
from rankfold.planning.exact.merge_two import WORK, SurfaceMerger, thinned
from rankfold.planning.exact.quantities import QUANTITIES, spoken
from rankfold.planning.exact.units import in_units
from rankfold.progress import Progress, Silent


@dataclass(frozen=True)
class Surface(Shown):
    """Choices that no other one is as good as in two costs and the loss, by rising first, then second cost.

    Attributes:
        quantities: what the costs count, two of `QUANTITIES`.
        costs: (P, 2) of the points.
        losses: (P,) of the points.
        choices: the candidates of each layer, as given.
        picks: (P, L) the index of the candidate that each layer takes.
        epsilon: for every choice there is, a point has no more loss and at most so much more of each cost,
            of both at once; zeros: the surface is exact.
    """

    quantities: tuple[str, str]
    costs: np.ndarray
    losses: np.ndarray
    choices: tuple[tuple[Candidate, ...], ...]
    picks: np.ndarray
    epsilon: tuple[float, float] = (0.0, 0.0)

    def __repr__(self) -> str:
        quantities = " and ".join(map(spoken, self.quantities))
        return in_brackets("Surface", f"of {quantities}: {len(self):,} plans, {self.in_words()}")

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def exact(self) -> bool:
        """Whether no best trade is left out."""
        return not any(self.epsilon)

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
        """Indices of at most `most` points, 6 or more, spread over the plane of both costs."""
        if len(self) <= most:
            return np.arange(len(self))
        left, _ = thinned(self.costs, self.losses, most)
        return left

    def in_words(self) -> str:
        """Whether a better plan may be missing, and by how much it is better at most."""
        if self.exact:
            return "exact"
        more = " and ".join(
            in_units(quantity, amount) for quantity, amount in zip(self.quantities, self.epsilon, strict=True)
        )
        return f"for every plan there is one of no more predicted loss and at most {more} more"


def surface(
    choices: Choices,
    quantities: Sequence[str],
    *,
    work: int = WORK,
    progress: Progress | None = None,
) -> Surface:
    """Merge the layers' fronts in two costs and the loss, one by one.

    Exact, unless there are too many points: then points of nearly equal costs are merged, within
    `Surface.epsilon` (see `planning.exact.merge_two` for the bound), and `progress` is told so.

    Args:
        choices: the candidates of each layer.
        quantities: what the costs count, two of `QUANTITIES`.
        work: the most sums that may be looked at in all, which bounds the time.
        progress: hears how many layers are merged.

    Raises:
        InputError: a layer has no candidate, or a quantity is unknown or not counted.
    """
    if not choices or not all(choices):
        raise InputError("there is nothing to choose: every layer needs a candidate")
    if len(quantities) != 2 or not set(quantities) <= set(QUANTITIES):
        known = ", ".join(QUANTITIES)
        raise InputError(f"the costs of a front (={', '.join(quantities)}) must be two of {known}")
    first, second = quantities
    progress = progress or Silent()
    joined = units(choices, (first, second, LOSS))
    merger = SurfaceMerger(
        [len(unit.picks) for unit in joined], (is_largest(first), is_largest(second)), work
    )
    progress.begin("front", len(choices), "layers")
    try:
        for unit in joined:
            merger.add(unit.amounts[:, :2], unit.amounts[:, 2])
            progress.advance(len(unit.layers))
    finally:
        progress.end()
    order = np.lexsort((merger.costs[:, 1], merger.costs[:, 0]))
    found = Surface(
        (first, second),
        merger.costs[order],
        merger.losses[order],
        tuple(tuple(layer) for layer in choices),
        spread(merger.picks(), joined)[order],
        (float(merger.epsilon[0]), float(merger.epsilon[1])),
    )
    if not found.exact:
        progress.note(f"the front has too many points: {found.in_words()}")
    return found
