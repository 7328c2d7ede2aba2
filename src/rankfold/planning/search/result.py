"""`SearchResult`: the plans that a search measured, and the best trades among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rankfold.planning.exact import Candidate


@dataclass(frozen=True)
class MeasuredPlan:
    """A plan that was measured.

    Attributes:
        chosen: the candidate of each layer.
        accuracy: 0 to 1.
    """

    chosen: tuple[Candidate, ...]
    accuracy: float

    @property
    def cycles(self) -> int:
        """Per image."""
        return sum(candidate.cycles for candidate in self.chosen)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        front: the plans that none is better than in both accuracy and cycles, by rising cycles.
        starts: those that it started from, in their order.
        trials: plans in all, also of other processes and earlier calls; some more than once.
        measured: different plans among them.
    """

    front: tuple[MeasuredPlan, ...]
    starts: tuple[MeasuredPlan, ...]
    trials: int
    measured: int

    def most_accurate(self, cycles: float) -> MeasuredPlan | None:
        """The plan of highest measured accuracy that needs no more than these cycles; None: there is none."""
        # Along the front accuracy rises with the cycles.
        best = None
        for plan in self.front:
            if plan.cycles <= cycles:
                best = plan
        return best

    def fewest_cycles(self, accuracy: float) -> MeasuredPlan | None:
        """The plan of fewest cycles that is measured at least so accurate; None: there is none."""
        # The first one: cycles rise along the front.
        for plan in self.front:
            if plan.accuracy >= accuracy:
                return plan
        return None


class Measured(Protocol):
    """Anything with cycles and a measured accuracy."""

    @property
    def cycles(self) -> float:
        """Per image."""

    @property
    def accuracy(self) -> float:
        """0 to 1."""


AnyMeasured = TypeVar("AnyMeasured", bound=Measured)


def not_dominated(plans: Iterable[AnyMeasured]) -> tuple[AnyMeasured, ...]:
    """The plans that none is as good as in both and better in one, by rising cycles; of equals, the first."""
    front: list[AnyMeasured] = []
    # Of equal cycles the most accurate comes first; whatever follows must be more accurate than all before.
    for plan in sorted(plans, key=lambda plan: (plan.cycles, -plan.accuracy)):
        if not front or plan.accuracy > front[-1].accuracy:
            front.append(plan)
    return tuple(front)
