"""How far a curve is off for plans that it has not seen: residuals of one plan at a time, and their quantile.

Each plan's outcomes are left out in turn, all that were trained from it together, and the curve that the
others give is asked for them. The interval that goes with a prediction is the conformal one (Vovk, Gammerman
& Shafer 2005; crosswise, as several outcomes are left out at a time): of n left-out residuals by rising size
the one at ceil(0.9 (n + 1)), which the residual of a new plan that is drawn like these exceeds in about one
case of ten, however residuals are distributed. They are residuals of y (see `curve`), so that the interval is
narrow in points near the dense network's accuracy and wide where much is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankfold.planning.forecast.curve import Curve, accuracy_at, excess
from rankfold.planning.forecast.outcome import Outcome

COVERED = 0.9  # of new plans, that the interval is made for


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


def margins(held_out: Sequence[HeldOut], covered: float = COVERED) -> dict[bool, float]:
    """What residuals of y exceed in no more than a share of 1 - covered of new plans, of networks that were
    taught and of those that were not, which come from less varied training.
    """
    found = {}
    for taught in {one.outcome.taught for one in held_out}:
        residuals = sorted(abs(one.residual) for one in held_out if one.outcome.taught == taught)
        place = min(math.ceil(covered * (len(residuals) + 1)), len(residuals))
        found[taught] = residuals[place - 1]
    return found
