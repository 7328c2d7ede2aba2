"""The exact choice: one candidate for each layer, the best under all budgets together.

With x_lc = 1 if layer l becomes its candidate c, a multiple-choice knapsack:

    minimise    sum over l, c of  goal_lc x_lc
    subject to  sum over c of x_lc = 1                            for every layer l
                sum over l, c of  cost_qlc x_lc <= limit_q        for every limited quantity q
                x_lc in {0, 1}

solved by branch and bound (HiGHS, Huangfu & Hall 2018, through `scipy.optimize.milp`) until nothing
better is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import (
    ENERGY,
    LOSS,
    QUANTITIES,
    Candidate,
    Candidates,
    Choices,
    total,
)
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
        value: its sum over all layers.
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
        """Cycles, arrays, energy (pJ) or loss of all layers."""
        return total(self.chosen, quantity)


def solve(choices: Choices, limits: Limits, goal: str = LOSS) -> Solution:
    """Choose one candidate for each layer so that the sum of `goal` is least and no limit is exceeded.

    Args:
        choices: the candidates of each layer.
        limits: the most there may be of any of `GOALS`, over all layers; energy in pJ.
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
    solution = _Knapsack.of(choices).solve(limits, goal)
    if solution is None:
        raise InputError(_out_of_reach(choices, limits))
    return solution


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

    def solve(self, limits: Limits, goal: str) -> Solution | None:
        """The best choice, or None where there is none.

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
    if name in (LOSS, ENERGY):
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
        least = math.fsum(_least(layer, name) for layer in choices)
        if least <= limit * (1 + SLACK):
            continue
        wanted = in_units(name, limit)
        reached = in_units(name, least)
        if name == LOSS:
            return f"no plan loses at most {wanted}: the least that these layers can reach is {reached}"
        return f"no plan has at most {wanted}: the fewest that these layers can reach is {reached}"
    # Or each alone can be kept, but not all together: what the first comes to within the others.
    first, *rest = limits
    others = {name: limits[name] for name in rest}
    parts = []
    for name, limit in others.items():
        parts.append(f"at most {in_units(name, limit)}")
    within = " and ".join(parts)
    nearest = _Knapsack.of(choices).solve(others, first)
    if nearest is None:
        return f"no plan keeps all budgets together: {within} cannot be had at once"
    return (
        f"no plan keeps all budgets together: with {within}, the fewest that can be reached is "
        f"{in_units(first, nearest.value)}, not {in_units(first, limits[first])}"
    )


def _least(layer: Candidates, name: str) -> float:
    return min(candidate.cost(name) for candidate in layer)
