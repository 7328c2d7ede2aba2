"""The exact choice: one candidate for each layer, the best under all budgets together, as a multiple-choice knapsack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import ARRAYS, ENERGY, LOSS, QUANTITIES, Candidate

Choices = Sequence[Sequence[Candidate]]

GOALS = (LOSS, *QUANTITIES)
UNIT = 1e4  # a typical step of the objective as the solver sees it, whose absolute tolerance is 1e-6
SLACK = 1e-9  # of a budget, by which sums of rounded numbers may seem to exceed it
SMALLEST = 1e-12  # nats or pJ, of a unit; differences below it are nothing
ATTEMPTS = 4


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
        """(value - bound) / value, the part by which a better choice could still be better; 0 proves that there is none."""
        return max(0.0, self.value - self.bound) / abs(self.value) if self.value else 0.0

    def total(self, quantity: str) -> float:
        """Cycles, arrays, energy (pJ) or loss of all layers."""
        return total(self.chosen, quantity)


def total(chosen: Sequence[Candidate], quantity: str) -> float:
    """The sum of one quantity over the layers, rounded once."""
    return math.fsum(candidate.cost(quantity) for candidate in chosen)


def solve(choices: Choices, limits: Mapping[str, float], goal: str = LOSS) -> Solution:
    """Choose one candidate for each layer so that the sum of `goal` is least and no limit is exceeded.

    Solved by branch and bound (HiGHS, Huangfu & Hall 2018, through `scipy.optimize.milp`) until nothing better is left.

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
            raise InputError(f"budget (={name}) must be on one of {', '.join(GOALS)}")
    for name, limit in limits.items():
        if not limit >= 0:
            raise InputError(f"the budget of {name} (={limit:g}) must be 0 or more")
    found = _solve(choices, limits, goal)
    if found is None:
        raise InputError(_out_of_reach(choices, limits))
    return found


def _solve(choices: Choices, limits: Mapping[str, float], goal: str) -> Solution | None:
    """The best choice, or None where there is none."""
    flat = [candidate for layer in choices for candidate in layer]
    layer_of = np.repeat(np.arange(len(choices)), [len(layer) for layer in choices])
    one_each = csr_array((np.ones(len(flat)), (layer_of, np.arange(len(flat)))), shape=(len(choices), len(flat)))
    # A layer costs at least its least: only what is above it is left to choose, which keeps the numbers small.
    wanted, least, unit = _above_least(flat, layer_of, goal)
    tightened = dict(limits)
    for _ in range(ATTEMPTS):
        constraints = [LinearConstraint(one_each, 1.0, 1.0)]
        for name, limit in tightened.items():
            amounts, floor, scale = _above_least(flat, layer_of, name)
            room = limit * (1 + SLACK) - floor
            if room < 0:
                return None
            constraints.append(LinearConstraint(csr_array(amounts[None] / scale), -np.inf, room / scale))
        result = milp(
            wanted / unit, constraints=constraints, integrality=np.ones(len(flat)), bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        if result.status == 2:  # infeasible
            return None
        if result.x is None or result.status != 0:
            raise InputError(f"the solver found no choice: {result.message}")
        taken = [max(np.flatnonzero(layer_of == layer), key=lambda at: result.x[at]) for layer in range(len(choices))]
        chosen = tuple(flat[index] for index in taken)
        exceeded = [name for name, limit in limits.items() if total(chosen, name) > limit * (1 + SLACK)]
        if not exceeded:
            value = total(chosen, goal)
            dual = result.mip_dual_bound
            bound = value if dual is None else min(value, least + float(dual) * unit)
            # The solver's tolerance is absolute; below it a bound is as good as the value.
            return Solution(chosen, goal, value, value if value - bound <= 1e-5 * unit else bound)
        for name in exceeded:
            # Within the solver's tolerance, but not in truth.
            tightened[name] = tightened[name] - 2 * (total(chosen, name) - limits[name])
    raise InputError(f"the budget of {exceeded[0]} is too fine for the solver; round it")


def _above_least(flat: Sequence[Candidate], layer_of: np.ndarray, name: str) -> tuple[np.ndarray, float, float]:
    """What each candidate costs above the least of its layer, the sum of these least costs, and a unit for the solver."""
    amounts = np.array([candidate.cost(name) for candidate in flat], dtype=float)
    least = np.full(layer_of[-1] + 1, np.inf)
    np.minimum.at(least, layer_of, amounts)
    above = amounts - least[layer_of]
    typical = float(np.median(above[above > 0])) if np.any(above > 0) else 1.0
    return above, math.fsum(least), max(typical / UNIT, SMALLEST if name in (LOSS, ENERGY) else 1.0)


def _out_of_reach(choices: Choices, limits: Mapping[str, float]) -> str:
    """Which budget cannot be kept, and what can be reached."""
    for name, limit in limits.items():
        least = math.fsum(min(candidate.cost(name) for candidate in layer) for layer in choices)
        if least > limit * (1 + SLACK):
            return (
                f"no plan has at most {in_units(name, limit)}: the fewest that these layers can reach is {in_units(name, least)}"
                if name != LOSS
                else f"no plan loses at most {in_units(name, limit)}: the least that these layers can reach is "
                f"{in_units(name, least)}"
            )
    name = next(iter(limits))
    others = {other: limit for other, limit in limits.items() if other != name}
    found = _solve(choices, others, name)
    within = " and ".join(f"at most {in_units(other, limit)}" for other, limit in others.items())
    if found is None:
        return f"no plan keeps all budgets together: {within} cannot be had at once"
    return (
        f"no plan keeps all budgets together: with {within}, the fewest that can be reached is {in_units(name, found.value)}, "
        f"not {in_units(name, limits[name])}"
    )


def in_units(name: str, amount: float) -> str:
    """An amount of one of `GOALS` in words; of what is counted, whole ones, as no plan has a part of one."""
    if name == LOSS:
        return f"{amount:.4g} nats of loss"
    if name == ENERGY:
        return f"{1e-3 * amount:,.1f} nJ"
    count = math.floor(amount * (1 + SLACK))
    return f"{count:,} {'array' if name == ARRAYS else 'cycle'}{'s' * (count != 1)}"
