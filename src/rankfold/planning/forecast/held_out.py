"""How far a curve is off for plans that it has not seen: residuals of one plan at a time, and their quantile.

Each plan's outcomes are left out in turn, all that were trained from it together, and the curve that the
others give is asked for them. The interval that goes with a prediction is the conformal one (Vovk, Gammerman
& Shafer 2005; crosswise, as all runs of a plan are left out at a time). Runs of one plan are off by much the
same, so that plans are what is drawn and counted: each has one vote, the residual of its run that is farthest
off. Of n votes by rising size the interval has that at ceil(0.9 (n + 1)), which a new plan that is drawn like
these exceeds in about one case of ten, however residuals are distributed; of fewer than nine votes there is
none, and the interval is all there is. They are residuals of y (see `curve`), so that the interval is narrow
in points near the dense network's accuracy and wide where much is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankfold.planning.forecast.curve import Curve, accuracy_at, excess
from rankfold.planning.forecast.outcome import Outcome

COVERED = 0.9  # of new plans, that the interval is made for
FEWEST = 9  # plans that such an interval needs: ceil(0.9 (n + 1)) is at most n from there on


@dataclass(frozen=True)
class HeldOut:
    """An outcome that the curve had not seen.

    Attributes:
        outcome: it.
        excess: y as the curve of the others predicts it.
    """

    outcome: Outcome
    excess: float

    @property
    def accuracy(self) -> float:
        """As predicted, 0 to 1."""
        return accuracy_at(self.excess, self.outcome.baseline)

    @property
    def residual(self) -> float:
        """How much larger y was than predicted."""
        return excess(self.outcome.accuracy, self.outcome.baseline) - self.excess


def by_plan(outcome: Outcome) -> str:
    """What is left out together: all runs of a plan."""
    return outcome.plan


def left_out(outcomes: Sequence[Outcome], group: Callable[[Outcome], str] = by_plan) -> tuple[HeldOut, ...]:
    """Each outcome as the curve predicts it that is fitted without its group.

    Args:
        outcomes: of at least two groups.
        group: which outcomes are left out together.
    """
    found: list[HeldOut] = []
    for name in dict.fromkeys(map(group, outcomes)):
        own = [one for one in outcomes if group(one) == name]
        curve = Curve.fitted([one for one in outcomes if group(one) != name])
        found.extend(HeldOut(one, curve.excess(one.loss, one.epochs, one.taught)) for one in own)
    return tuple(found)


def margin(held_out: Sequence[HeldOut], taught: bool, covered: float = COVERED) -> float:
    """What residuals of y exceed in no more than a share of 1 - covered of new plans, of networks that were
    taught or of those that were not; infinite where their plans are too few to say.
    """
    largest: dict[str, float] = {}
    for one in held_out:
        if one.outcome.taught == taught:
            plan = one.outcome.plan
            largest[plan] = max(largest.get(plan, 0.0), abs(one.residual))
    place = math.ceil(covered * (len(largest) + 1))
    if place > len(largest):
        return math.inf
    return sorted(largest.values())[place - 1]


def margins_without(
    outcomes: Sequence[Outcome], group: Callable[[Outcome], str] = by_plan
) -> dict[tuple[str, bool], float]:
    """The margins that all others give, of each group and of networks taught and not: an interval that has
    seen nothing of what it is for.

    Args:
        outcomes: of at least two groups, of at least two plans beside each.
        group: as in `left_out`.
    """
    found = {}
    for name in dict.fromkeys(map(group, outcomes)):
        others = left_out([one for one in outcomes if group(one) != name])
        for taught in (False, True):
            found[name, taught] = margin(others, taught)
    return found
