"""The exact choice: one candidate for each layer, the best under all budgets together.

What adds up over layers is a multiple-choice knapsack (`within_sums`). Of a quantity of which the largest
counts, such as the interval, a limit leaves out the candidates that exceed it alone, and the least is found
by bisection over those of the candidates, exactly.
"""

from __future__ import annotations

import math

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import LOSS, Candidate, Choices, is_largest, total
from rankfold.planning.exact.linked import least
from rankfold.planning.exact.quantities import KNOWN, QUANTITIES, spoken
from rankfold.planning.exact.units import in_units
from rankfold.planning.exact.within_sums import Knapsack, Limits, Solution, most_within, too_fine

GOALS = (LOSS, *QUANTITIES)


def cheapest(choices: Choices, limits: Limits, goal: str) -> Solution:
    """The choice of least cost within the limits; of several, that of least predicted loss.

    Arguments and errors as `solve`; `goal` is one of `QUANTITIES`.
    """
    first = solve(choices, limits, goal)
    # A second problem, within the first's optimum: of equal costs the one that can be hoped to be most
    # accurate.
    within = min(first.value, limits.get(goal, math.inf))
    best = best_within(choices, {**limits, goal: within}, LOSS)
    # It sits on the edge of what there is; where the solver finds nothing there, the first is as cheap.
    if best is None:
        return first
    value = best.total(goal)
    bound = first.bound
    if first.gap == 0:
        bound = value  # but for rounding, which `SLACK` allows for
    return Solution(best.chosen, goal, value, bound)


def solve(choices: Choices, limits: Limits, goal: str = LOSS) -> Solution:
    """Choose one candidate for each layer so that `goal` is least and no limit is exceeded.

    Args:
        choices: the candidates of each layer.
        limits: the most there may be of any of `GOALS`, over all layers, in its base unit.
        goal: what shall be small, one of `GOALS`.

    Raises:
        InputError: the limits cannot be kept; the message says what can be reached.
    """
    if not choices or not all(choices):
        raise InputError("there is nothing to choose: every layer needs a candidate")
    for name in (goal, *limits):
        if name not in GOALS:
            known = ", ".join(GOALS)
            raise InputError(f"budget (={name}) must be on one of {known}")
    for name, limit in limits.items():
        if not limit >= 0:  # which is also true of NaN
            raise InputError(f"the budget of {spoken(name)} (={limit:g}) must be 0 or more")
    solution = best_within(choices, limits, goal)
    if solution is None:
        raise InputError(_out_of_reach(choices, limits))
    return solution


def best_within(choices: Choices, limits: Limits, goal: str) -> Solution | None:
    """The best choice as `solve` finds it, or None where there is none; quantities of which the largest
    counts are seen to here.
    """
    sums = {}
    for name, limit in limits.items():
        if is_largest(name):
            choices = _each_within(choices, name, limit)
        else:
            sums[name] = limit
    if not all(choices):
        return None
    if is_largest(goal):
        return _least_of_largest(choices, sums, goal)
    return Knapsack.of(choices).solve(sums, goal)


def _least_of_largest(choices: Choices, sums: Limits, goal: str) -> Solution | None:
    """The choice whose largest candidate is least, of several that of least loss; see above."""
    lowest = max(min(candidate.cost(goal) for candidate in layer) for layer in choices)
    amounts = {candidate.cost(goal) for layer in choices for candidate in layer}
    # Below the least that every layer can have there is no choice.
    steps = sorted(amount for amount in amounts if amount >= lowest)
    low, high = 0, len(steps) - 1
    if not Knapsack.of(choices).feasible(sums):
        return None
    while low < high:
        middle = (low + high) // 2
        if Knapsack.of(_each_within(choices, goal, steps[middle])).feasible(sums):
            high = middle
        else:
            low = middle + 1
    found = Knapsack.of(_each_within(choices, goal, steps[low])).solve(sums, LOSS)
    if found is None:
        return None
    value = total(found.chosen, goal)
    return Solution(found.chosen, goal, value, value)


def _each_within(choices: Choices, name: str, limit: float) -> list[list[Candidate]]:
    """The candidates that alone do not exceed a limit; none may be left of a layer."""
    return [
        [candidate for candidate in layer if candidate.cost(name) <= most_within(limit)] for layer in choices
    ]


def _out_of_reach(choices: Choices, limits: Limits) -> str:
    """Which budget cannot be kept, and what can be reached.

    Raises:
        InputError: all of them can, but the solver does not see how.
    """
    # One that even the cheapest choice exceeds.
    for name, limit in limits.items():
        fewest = least(choices, name)
        if math.isinf(fewest):
            return "no plan is allowed: layers need others to read fewer channels than these can"
        if fewest <= most_within(limit):
            continue
        wanted = _amount(name, limit)
        reached = _amount(name, fewest)
        if name == LOSS:
            return f"no plan loses at most {wanted}: the least that these layers can reach is {reached}"
        return f"no plan has at most {wanted}: the {_few(name)} that these layers can reach is {reached}"
    # Or each alone can be kept, but not all together: what the first comes to within the others.
    first, *rest = limits
    others = {name: limits[name] for name in rest}
    parts = []
    for name, limit in others.items():
        parts.append(f"at most {_amount(name, limit)}")
    within = " and ".join(parts)
    nearest = best_within(choices, others, first)
    if others and nearest is None:
        return f"no plan keeps all budgets together: {within} cannot be had at once"
    # It can be kept after all, of which the solver lost sight.
    if nearest is None or nearest.value <= most_within(limits[first]):
        raise too_fine(first)
    return (
        f"no plan keeps all budgets together: with {within}, the {_few(first)} that can be reached is "
        f"{_amount(first, nearest.value)}, not {_amount(first, limits[first])}"
    )


def _few(name: str) -> str:
    """The least of a quantity: of what is counted the fewest."""
    if name != LOSS and KNOWN[name].counted:
        return "fewest"
    return "least"


def _amount(name: str, amount: float) -> str:
    """An amount in words that say what it is of."""
    words = in_units(name, amount)
    if name == LOSS or KNOWN[name].counted:
        return words
    return f"{words} of {name}"
