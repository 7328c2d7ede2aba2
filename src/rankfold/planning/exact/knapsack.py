"""The exact choice: one candidate for each layer, the best under all budgets together.

With x_lc = 1 if layer l becomes its candidate c, a multiple-choice knapsack:

    minimise    sum over l, c of  goal_lc x_lc
    subject to  sum over c of x_lc = 1                            for every layer l
                sum over l, c of  cost_qlc x_lc <= limit_q        for every limited quantity q
                x_lc in {0, 1}

solved by branch and bound (HiGHS, Huangfu & Hall 2018, through `scipy.optimize.milp`) until nothing
better is left.

The interval of a network whose layers are pipelined is no sum but the largest of its layers'. A limit on it
is kept by a choice if and only if each of its candidates keeps it, so that those which do not are left out.
To make it small: the interval of any choice is that of one of its candidates, and the choices within t only
become more as t grows. So the least t of these numbers for which there is any choice is the optimum, and a
bisection over them finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import (
    LOSS,
    Candidate,
    Choices,
    is_largest,
    total,
)
from rankfold.planning.exact.quantities import KNOWN, QUANTITIES
from rankfold.planning.exact.units import SLACK, in_units

Limits = Mapping[str, float]  # the most of a quantity, by its name

GOALS = (LOSS, *QUANTITIES)
UNIT = 1e4  # a typical step of the objective as the solver sees it, whose absolute tolerance is 1e-6
TOLERANCE = 1e-5  # of the solver's unit, below which a bound is as good as the value
SMALLEST = 1e-12  # nats or pJ, of a unit; differences below it are nothing
ATTEMPTS = 4  # to keep the limits in truth, not only within the solver's tolerance
SOLVED, INFEASIBLE = 0, 2  # what HiGHS says of a problem


@dataclass(frozen=True)
class Solution:
    """The best choice under the budgets.

    Attributes:
        chosen: the candidate of each layer.
        goal: what was made small: the loss, or one of `QUANTITIES`.
        value: that of the network, the sum over all layers (see `total`).
        bound: no choice within the budgets has less.
    """

    chosen: tuple[Candidate, ...]
    goal: str
    value: float
    bound: float

    @property
    def gap(self) -> float:
        """(value - bound) / value, by which a better choice could be better; 0 proves that there is none."""
        if not self.value:
            return 0.0
        better = max(0.0, self.value - self.bound)
        return better / abs(self.value)

    def total(self, quantity: str) -> float:
        """What all layers together have of a quantity, or lose."""
        return total(self.chosen, quantity)


def cheapest(choices: Choices, limits: Limits, goal: str) -> Solution:
    """The choice of least cost within the limits; of several, that of least predicted loss.

    Arguments and errors as `solve`; `goal` is one of `QUANTITIES`.
    """
    least = solve(choices, limits, goal)
    # A second problem, within the first's optimum: of equal costs the one that can be hoped to be most
    # accurate.
    within = min(least.value, limits.get(goal, math.inf))
    best = solve(choices, {**limits, goal: within})
    return replace(least, chosen=best.chosen)


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
            raise InputError(f"the budget of {name} (={limit:g}) must be 0 or more")
    solution = _best(choices, limits, goal)
    if solution is None:
        raise InputError(_out_of_reach(choices, limits))
    return solution


def _best(choices: Choices, limits: Limits, goal: str) -> Solution | None:
    """The best choice, or None where there is none; quantities of which the largest counts are seen to
    here.
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
    return _Knapsack.of(choices).solve(sums, goal)


def _least_of_largest(choices: Choices, sums: Limits, goal: str) -> Solution | None:
    """The choice whose largest candidate is least, of several that of least loss; see above."""
    least = max(min(candidate.cost(goal) for candidate in layer) for layer in choices)
    amounts = {candidate.cost(goal) for layer in choices for candidate in layer}
    # Below the least that every layer can have there is no choice.
    steps = sorted(amount for amount in amounts if amount >= least)
    low, high = 0, len(steps) - 1
    if not _Knapsack.of(choices).feasible(sums):
        return None
    while low < high:
        middle = (low + high) // 2
        if _Knapsack.of(_each_within(choices, goal, steps[middle])).feasible(sums):
            high = middle
        else:
            low = middle + 1
    found = _Knapsack.of(_each_within(choices, goal, steps[low])).solve(sums, LOSS)
    if found is None:
        return None
    value = total(found.chosen, goal)
    return Solution(found.chosen, goal, value, value)


def _each_within(choices: Choices, name: str, limit: float) -> list[list[Candidate]]:
    """The candidates that alone do not exceed a limit; none may be left of a layer."""
    most = limit * (1 + SLACK)
    return [[candidate for candidate in layer if candidate.cost(name) <= most] for layer in choices]


@dataclass(frozen=True)
class _Amounts:
    """One quantity of all candidates, as the solver sees it.

    A layer costs at least its least. Only what is above that is left to choose, and it is counted in typical
    steps, which keeps the solver's numbers small: its tolerances are absolute.

    Attributes:
        above: (K,) what each candidate costs above the least of its layer.
        least: the sum of these least costs.
        unit: what the solver counts in.
    """

    above: np.ndarray
    least: float
    unit: float


@dataclass(frozen=True)
class _Knapsack:
    """The candidates of all layers in one row.

    Attributes:
        candidates: K of them.
        layer_of: (K,) the number of the layer of each.
        layers: how many layers there are.
    """

    candidates: tuple[Candidate, ...]
    layer_of: np.ndarray
    layers: int

    @classmethod
    def of(cls, choices: Choices) -> _Knapsack:
        candidates: list[Candidate] = []
        layer_of: list[int] = []
        for number, layer in enumerate(choices):
            candidates.extend(layer)
            layer_of.extend([number] * len(layer))
        return cls(tuple(candidates), np.array(layer_of), len(choices))

    def feasible(self, limits: Limits) -> bool:
        """Whether any choice keeps the limits."""
        if len(limits) > 1:
            return self.solve(limits, next(iter(limits))) is not None
        # Of one sum the least is that of each layer's least.
        return all(self._amounts(name).least <= limit * (1 + SLACK) for name, limit in limits.items())

    def solve(self, limits: Limits, goal: str) -> Solution | None:
        """The best choice, or None where there is none; goal and limits are sums.

        Totals are summed again from the candidates, never taken from the solver. A limit that its
        tolerance let through is tightened by twice what it was exceeded by, and the problem is solved
        anew.
        """
        wanted = self._amounts(goal)
        tightened = dict(limits)
        for _ in range(ATTEMPTS):
            result = self._milp(wanted, tightened)
            if result is None:
                return None
            chosen = self._taken(result.x)
            exceeded = _exceeded(chosen, limits)
            if not exceeded:
                return _proven(chosen, goal, wanted, result.mip_dual_bound)
            for name, excess in exceeded.items():
                tightened[name] -= 2 * excess
        first = next(iter(exceeded))
        raise InputError(f"the budget of {first} is too fine for the solver; round it")

    def _milp(self, wanted: _Amounts, limits: Limits) -> Any | None:
        """What the solver finds; None: there is no choice within the limits."""
        count = len(self.candidates)
        # (L, K) of zeros and ones: which candidates are of which layer, of which one each is taken.
        places = self.layer_of, np.arange(count)
        one_each = csr_array((np.ones(count), places), shape=(self.layers, count))
        constraints = [LinearConstraint(one_each, 1.0, 1.0)]
        for name, limit in limits.items():
            amounts = self._amounts(name)
            # What is left of the limit when every layer has its least.
            room = limit * (1 + SLACK) - amounts.least
            if room < 0:
                return None
            row = csr_array(amounts.above[None] / amounts.unit)  # (1, K)
            most = room / amounts.unit
            constraints.append(LinearConstraint(row, -np.inf, most))
        result = milp(
            wanted.above / wanted.unit,
            constraints=constraints,
            integrality=np.ones(count),
            bounds=Bounds(0, 1),
            # It would stop at a ten-thousandth.
            options={"mip_rel_gap": 0.0},
        )
        if result.status == INFEASIBLE:
            return None
        if result.x is None or result.status != SOLVED:
            raise InputError(f"the solver found no choice: {result.message}")
        return result

    def _taken(self, x: np.ndarray) -> tuple[Candidate, ...]:
        """The candidate of each layer whose x is nearest to 1."""
        chosen = []
        for layer in range(self.layers):
            own = np.flatnonzero(self.layer_of == layer)
            # The solver's zeros and ones are such up to 1e-6.
            taken = own[np.argmax(x[own])]
            chosen.append(self.candidates[taken])
        return tuple(chosen)

    def _amounts(self, name: str) -> _Amounts:
        costs = [candidate.cost(name) for candidate in self.candidates]
        amounts = np.array(costs, dtype=float)
        least = np.full(self.layers, np.inf)
        np.minimum.at(least, self.layer_of, amounts)
        above = amounts - least[self.layer_of]  # (K,)
        return _Amounts(above, math.fsum(least), _unit(above, name))


def _unit(above: np.ndarray, name: str) -> float:
    """What the solver counts a quantity in: a typical step is 10,000 of it, far above its tolerance."""
    typical = 1.0
    steps = above[above > 0]
    if len(steps):
        typical = float(np.median(steps))
    # What is counted has no parts; losses and energies may be as small as they are.
    smallest = 1.0
    if name == LOSS or not KNOWN[name].counted:
        smallest = SMALLEST
    return max(typical / UNIT, smallest)


def _exceeded(chosen: tuple[Candidate, ...], limits: Limits) -> dict[str, float]:
    """By how much a choice exceeds each of the limits that it does not keep."""
    exceeded = {}
    for name, limit in limits.items():
        needed = total(chosen, name)
        if needed > limit * (1 + SLACK):
            exceeded[name] = needed - limit
    return exceeded


def _proven(chosen: tuple[Candidate, ...], goal: str, wanted: _Amounts, dual: float | None) -> Solution:
    """The solution, with what the solver proved that nothing can be below."""
    value = total(chosen, goal)
    bound = value
    if dual is not None:
        # The solver counted from the least costs on, in units.
        proven = wanted.least + float(dual) * wanted.unit
        bound = min(value, proven)
    if value - bound <= TOLERANCE * wanted.unit:
        bound = value
    return Solution(chosen, goal, value, bound)


def _out_of_reach(choices: Choices, limits: Limits) -> str:
    """Which budget cannot be kept, and what can be reached."""
    # One that even the cheapest candidate of each layer exceeds.
    for name, limit in limits.items():
        cheapest_of_each = [min(layer, key=lambda candidate: candidate.cost(name)) for layer in choices]
        least = total(cheapest_of_each, name)
        if least <= limit * (1 + SLACK):
            continue
        wanted = _amount(name, limit)
        reached = _amount(name, least)
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
    nearest = _best(choices, others, first)
    if nearest is None:
        return f"no plan keeps all budgets together: {within} cannot be had at once"
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
