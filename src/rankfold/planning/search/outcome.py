"""What is asked of a search for plans, and what it finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rankfold.errors import InputError
from rankfold.planning.exact import Candidate


@dataclass(frozen=True)
class SearchSettings:
    """How long to search, and where what is found is kept.

    Attributes:
        trials: plans in all, those of other processes and of earlier calls among them; a plan that comes again counts, but is
            not measured again.
        study: the file that all of them share; None: nothing is kept.
        seed: of everything drawn.
    """

    trials: int = 200
    study: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} (={getattr(self, name)}) must be {least} or more")


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
        return max((plan for plan in self.front if plan.cycles <= cycles), key=lambda plan: plan.accuracy, default=None)

    def fewest_cycles(self, accuracy: float) -> MeasuredPlan | None:
        """The plan of fewest cycles that is measured at least so accurate; None: there is none."""
        return min((plan for plan in self.front if plan.accuracy >= accuracy), key=lambda plan: plan.cycles, default=None)


class SearchProgress(Protocol):
    """Hears how far a search is."""

    def begin(self, trials: int) -> None:
        """A search of `trials` plans begins."""

    def measured(self, done: int, plan: MeasuredPlan) -> None:
        """`done` plans are measured, here or elsewhere; the last one here is `plan`."""

    def end(self) -> None:
        """The search is over, or interrupted."""


class Unwatched:
    """Shows nothing."""

    def begin(self, trials: int) -> None:
        """Show nothing."""

    def measured(self, done: int, plan: MeasuredPlan) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


def not_dominated(plans: Iterable[MeasuredPlan]) -> tuple[MeasuredPlan, ...]:
    """The plans that none is as good as in both objectives and better in one, by rising cycles; of equal ones, the first."""
    front: list[MeasuredPlan] = []
    for plan in sorted(plans, key=lambda plan: (plan.cycles, -plan.accuracy)):
        if not front or plan.accuracy > front[-1].accuracy:
            front.append(plan)
    return tuple(front)
