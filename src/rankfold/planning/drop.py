"""The cheapest plan, in cycles or whatever is to be small, that is measured to lose no more than allowed.

Accuracy does not add up over layers, so the exact planner cannot keep a limit on it. The predicted loss
does, and serves as the ruler. Let P(l) be the plan of least cost whose predicted loss is at most l, which
the planner finds exactly, and c(l) its cost. c falls as l rises, in steps: between two steps all
l have the same plan. Of the plans P(l) the cheapest one is sought whose measured drop is within the
limit.

Were the drop to rise with the predicted loss, a bisection would find it: of an interval [low, high], such
that P(low) keeps the limit and P(high) exceeds it, the plan of a loss in between is measured, and becomes
one of the ends. Losses spread over orders of magnitude, so the middle is taken of their logarithms,
sqrt(low * high): k measurements divide log(high / low) by 2^k. An end moves to the loss that its plan
has, not only to the one that was asked for: what lies between them has the same plan.

Measured drops do not rise strictly, so no optimum is promised; but of all plans measured on the way the
one of least cost that keeps the limit is returned. The bisection ends after eight measurements at
most, that of the dense network and of the plan of least loss among them, or as soon as high <= 1.02 low,
where there is hardly another plan in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rankfold.errors import InputError
from rankfold.planning.exact import LOSS, Candidate, Solution, cheapest, solve
from rankfold.planning.problem import PlanningProblem
from rankfold.progress import Progress
from rankfold.training.metric import in_words, lost_in_words

MEASUREMENTS = 8
SMALLEST_LOSS = 1e-4  # nats; a plan may have no loss at all, and 0 has no logarithm
NEAR = 1.02  # high / low, at which it ends


@dataclass(frozen=True)
class Drop:
    """Accuracy on held-out samples before fine-tuning, 0 to 1, or what a metric says instead.

    Attributes:
        dense: of the dense network at the same bits.
        planned: of the network as planned.
        metric: what was measured; empty: top-1 accuracy.
    """

    dense: float
    planned: float
    metric: str = ""

    @property
    def amount(self) -> float:
        """What is lost."""
        return self.dense - self.planned


def within_drop(problem: PlanningProblem, most: float, progress: Progress) -> tuple[Solution, Drop]:
    """The plan of least cost, or of least loss where the objective is that, that loses at most so much.

    Args:
        problem: the network, with its budgets.
        most: accuracy that may be lost, 0.01 for a point.
        progress: hears of each measurement.

    Raises:
        InputError: the budgets cannot be kept, or the plan of least predicted loss loses more.
    """
    measure = _Measure(problem, progress)
    # The same bits and the same samples: what quantising alone costs is no drop of the plan.
    dense = measure(problem.dense)
    least = solve(problem.candidates, problem.budgets)
    drop = Drop(dense, measure(least.chosen), measure.metric)
    if drop.amount > most:
        raise InputError(
            f"no plan within the budgets was found to lose at most {lost_in_words(most, drop.metric)}: the "
            f"one of least predicted loss loses {lost_in_words(drop.amount, drop.metric)} before "
            "fine-tuning; allow more of either"
        )
    if problem.goal == LOSS:
        # What it costs is bounded already; no plan within the budgets has less predicted loss.
        return least, drop
    return _cheapest_within(problem, most, measure, (least, drop))


@dataclass(frozen=True)
class _Measure:
    """Measures choices, and tells of it."""

    problem: PlanningProblem
    progress: Progress

    def __call__(self, chosen: Sequence[Candidate]) -> float:
        accuracy = self.problem.accuracy(self.problem.plan(chosen))
        self.progress.advance(1, in_words(accuracy, self.metric))
        return accuracy

    @property
    def metric(self) -> str:
        """What is measured; empty: top-1 accuracy."""
        return self.problem.accuracy.measured


def _cheapest_within(
    problem: PlanningProblem, most: float, measure: _Measure, first: tuple[Solution, Drop]
) -> tuple[Solution, Drop]:
    """The bisection, from a plan that keeps the limit on."""
    goal = problem.goal
    best, best_drop = first
    least = cheapest(problem.candidates, problem.budgets, goal)
    low = max(best.total(LOSS), SMALLEST_LOSS)
    high = least.total(LOSS)
    trial = least  # if this one keeps the limit, no other is cheaper
    for _ in range(MEASUREMENTS - 2):
        drop = replace(best_drop, planned=measure(trial.chosen))
        if drop.amount <= most:
            # As it always is, but for rounding: what kept the limit before is within the trial's limits too.
            if trial.total(goal) <= best.total(goal):
                best, best_drop = trial, drop
            if trial is least:
                break
            low = trial.total(LOSS)  # plans of less loss cost no less
        else:
            high = trial.total(LOSS)
        if high <= low * NEAR:
            break
        middle = math.sqrt(low * high)
        # Below `high`, which is within a limit of loss that the problem may have.
        trial = cheapest(problem.candidates, {**problem.budgets, LOSS: middle}, goal)
    return best, best_drop
