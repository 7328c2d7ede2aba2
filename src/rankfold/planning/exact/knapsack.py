"""The exact choice: one candidate for each layer, the best under all budgets together.

With x_lc = 1 if layer l becomes its candidate c, a multiple-choice knapsack:

    minimise    sum over l, c of  goal_lc x_lc
    subject to  sum over c of x_lc = 1                            for every layer l
                sum over l, c of  cost_qlc x_lc <= limit_q        for every limited quantity q
                x_lc in {0, 1}

solved until nothing better is left: under a single limit layer by layer (`one_limit`); under several, and
where that would take too many states, by branch and bound (HiGHS, Huangfu & Hall 2018, through
`scipy.optimize.milp`).

The latter keeps limits within a tolerance, and this must neither let through what exceeds one nor cost a
choice that keeps it. So, first, a candidate that exceeds a limit together with the least of every other layer
is left out: no choice within the limits has it, and what is left costs no more than there is room for, which
the solver then counts in parts of. Second, a choice that it lets through though its true sum exceeds a limit
is cut off by a cover: of layers S, whose candidates alone and the least of all others exceed the limit, not
all can have these candidates or ones that cost as much,

    sum over l in S, c with cost_lc >= cost of l's candidate of  x_lc <= |S| - 1.

Both cut off nothing that keeps the limits, so that what the solver proves of what is left is true of all.

Candidates may need another layer to read few channels (see `planning.exact.linked`). Under a single limit
linked layers are joined, and what they may be together are the candidates of one. Otherwise each such need is
one more constraint. The least of each layer then is a bound only: no choice need have it of all layers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from rankfold.errors import InputError
from rankfold.planning.exact.candidate import (
    LOSS,
    Candidate,
    Choices,
    Need,
    is_largest,
    total,
)
from rankfold.planning.exact.linked import least, spread, units
from rankfold.planning.exact.one_limit import Costed, least_within
from rankfold.planning.exact.quantities import KNOWN, QUANTITIES, spoken
from rankfold.planning.exact.units import SLACK, in_units

Limits = Mapping[str, float]  # the most of a quantity, by its name

GOALS = (LOSS, *QUANTITIES)
UNIT = 1e4  # a typical step of the objective as the solver sees it, whose absolute tolerance is 1e-6
TOLERANCE = 1e-5  # of the solver's unit, below which a bound is as good as the value
SMALLEST = 1e-12  # nats or pJ, of the goal's unit; differences below it are nothing
PARTS = 1e8  # of the room within a limit, at most, in which the solver counts
ROUNDING = 1e-12  # of a limit, far above what sums lose by rounding and far below `SLACK`
ATTEMPTS = 32  # to keep the limits in truth, not only within the solver's tolerance
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
    return _Knapsack.of(choices).solve(sums, goal)


def _least_of_largest(choices: Choices, sums: Limits, goal: str) -> Solution | None:
    """The choice whose largest candidate is least, of several that of least loss; see above."""
    lowest = max(min(candidate.cost(goal) for candidate in layer) for layer in choices)
    amounts = {candidate.cost(goal) for layer in choices for candidate in layer}
    # Below the least that every layer can have there is no choice.
    steps = sorted(amount for amount in amounts if amount >= lowest)
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
    return [[candidate for candidate in layer if candidate.cost(name) <= _most(limit)] for layer in choices]


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

    @property
    def choices(self) -> list[list[Candidate]]:
        """The candidates of each layer."""
        return [
            [self.candidates[place] for place in np.flatnonzero(self.layer_of == layer)]
            for layer in range(self.layers)
        ]

    def feasible(self, limits: Limits) -> bool:
        """Whether any choice keeps the limits."""
        if len(limits) > 1:
            return self.solve(limits, next(iter(limits))) is not None
        # Of one sum the least can be had, of none there has to be a choice at all.
        (name,) = limits or (LOSS,)
        return least(self.choices, name) <= _most(limits.get(name, sys.float_info.max))

    def solve(self, limits: Limits, goal: str) -> Solution | None:
        """The best choice, or None where there is none; goal and limits are sums.

        Totals are summed again from the candidates, never taken from a solver. A choice that the tolerance of
        HiGHS let through is cut off by covers, and the problem is solved anew (see above).
        """
        left = self._reachable(limits)
        if left is None:
            return None
        if len(limits) == 1:
            ((name, limit),) = limits.items()
            chosen = left._within_one(name, limit, goal)
            # Of sums on the very edge of the limit its own rounding decides.
            if chosen is not None and total(chosen, name) <= _most(limit):
                value = total(chosen, goal)
                return Solution(chosen, goal, value, value)
        wanted = left._amounts(goal)
        constraints = left._constraints(limits)
        for _ in range(ATTEMPTS):
            result = left._milp(wanted, constraints)
            if result is None:
                return None
            chosen = left._taken(result.x)
            exceeded = [name for name, limit in limits.items() if total(chosen, name) > _most(limit)]
            if not exceeded:
                return _proven(chosen, goal, wanted, result.mip_dual_bound)
            constraints += [left._cover(chosen, name, limits[name]) for name in exceeded]
        raise _too_fine(exceeded[0])

    def _within_one(self, name: str, limit: float, goal: str) -> tuple[Candidate, ...] | None:
        """The best choice within a single limit, but for rounding; None where `one_limit` gives up."""
        choices = self.choices
        joined = units(choices, (name, goal))
        if not all(len(unit.picks) for unit in joined):
            return None
        leasts = np.array([unit.amounts.min(axis=0) for unit in joined])  # (U, 2)
        # Sums of what is counted are exact; those of all else are rounded.
        room = _most(limit) - math.fsum(leasts[:, 0])
        if _is_counted(name):
            room = np.floor(room)
        else:
            room += ROUNDING * limit
        if room < 0:
            return None
        costed = [Costed(*(unit.amounts - own).T) for unit, own in zip(joined, leasts, strict=True)]
        taken = least_within(costed, room, float(_is_counted(goal)))
        if taken is None:
            return None
        (picks,) = spread(np.array([taken]), joined)
        return tuple(layer[pick] for layer, pick in zip(choices, picks, strict=True))

    def _reachable(self, limits: Limits) -> _Knapsack | None:
        """Without the candidates that no choice within the limits has; None: a layer has none left."""
        left = self
        while True:
            kept = np.ones(len(left.candidates), dtype=bool)
            for name, limit in limits.items():
                amounts = left._amounts(name)
                room = _most(limit) - amounts.least
                kept &= amounts.above <= room + ROUNDING * limit
            if kept.all():
                return left
            layer_of = left.layer_of[kept]
            if len(np.unique(layer_of)) < self.layers:
                return None
            # With them gone, other layers' least of another quantity may be more.
            candidates = tuple(left.candidates[index] for index in np.flatnonzero(kept))
            left = _Knapsack(candidates, layer_of, self.layers)

    def _constraints(self, limits: Limits) -> list[LinearConstraint]:
        """One candidate of each layer, and no more of each quantity than its limit."""
        count = len(self.candidates)
        # (L, K) of zeros and ones: which candidates are of which layer, of which one each is taken.
        places = self.layer_of, np.arange(count)
        one_each = csr_array((np.ones(count), places), shape=(self.layers, count))
        constraints = [LinearConstraint(one_each, 1.0, 1.0)]
        for name, limit in limits.items():
            amounts = self._amounts(name)
            # What is left of the limit when every layer has its least.
            room = _most(limit) - amounts.least
            unit = _unit(amounts.above, max(_smallest(name, 0.0), room / PARTS))
            row = csr_array(amounts.above[None] / unit)  # (1, K)
            constraints.append(LinearConstraint(row, -np.inf, room / unit))
        return constraints + self._links()

    def _links(self) -> list[LinearConstraint]:
        """That a candidate which needs another layer to read few channels is taken only where it does."""
        names = np.array([one.entry.name for one in self.candidates])
        reads = np.array([one.reads for one in self.candidates])
        asked = np.array([one.needs.layer if one.needs else "" for one in self.candidates])
        most = np.array([one.needs.most if one.needs else np.inf for one in self.candidates])
        links = []
        needs = {(name, need.layer, need.most) for name, need in self._needs()}
        for name, other, channels in sorted(needs):
            needing = (names == name) & (asked == other) & (most <= channels)
            row = needing.astype(float) - ((names == other) & (reads <= channels))
            links.append(LinearConstraint(csr_array(row[None]), -np.inf, 0.0))
        return links

    def _needs(self) -> Iterator[tuple[str, Need]]:
        """What candidates need, with the layer that each is of."""
        for one in self.candidates:
            if one.needs is not None:
                yield one.entry.name, one.needs

    def _cover(self, chosen: tuple[Candidate, ...], name: str, limit: float) -> LinearConstraint:
        """What a choice that exceeds a limit breaks, and none that keeps it does; see above."""
        costs = np.array([candidate.cost(name) for candidate in self.candidates], dtype=float)
        least = np.full(self.layers, np.inf)
        np.minimum.at(least, self.layer_of, costs)
        own = np.array([candidate.cost(name) for candidate in chosen], dtype=float)  # (L,)
        amounts = least.copy()
        covering = np.zeros(self.layers, dtype=bool)
        # Those that cost most above their least first: the fewer layers, the more is cut off.
        for layer in np.argsort(least - own, kind="stable"):
            amounts[layer] = own[layer]
            covering[layer] = True
            if math.fsum(amounts) > _most(limit):
                break
        row = covering[self.layer_of] & (costs >= own[self.layer_of])  # (K,)
        return LinearConstraint(csr_array(row[None].astype(float)), -np.inf, float(covering.sum() - 1))

    def _milp(self, wanted: _Amounts, constraints: list[LinearConstraint]) -> Any | None:
        """What the solver finds; None: there is no choice within the constraints."""
        result = milp(
            wanted.above / wanted.unit,
            constraints=constraints,
            integrality=np.ones(len(self.candidates)),
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
        return _Amounts(above, math.fsum(least), _unit(above, _smallest(name, SMALLEST)))


def _most(limit: float) -> float:
    """What sums may come to within a limit."""
    return limit * (1 + SLACK)


def _unit(above: np.ndarray, smallest: float) -> float:
    """What the solver counts a quantity in: a typical step is 10,000 of it, far above its tolerance."""
    typical = 1.0
    steps = above[above > 0]
    if len(steps):
        typical = float(np.median(steps))
    return max(typical / UNIT, smallest)


def _smallest(name: str, otherwise: float) -> float:
    """The smallest unit: what is counted has no parts; losses and energies may be as small as they are."""
    if _is_counted(name):
        return 1.0
    return otherwise


def _is_counted(name: str) -> bool:
    """Whether there are only whole amounts of it."""
    return name != LOSS and KNOWN[name].counted


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
    """Which budget cannot be kept, and what can be reached.

    Raises:
        InputError: all of them can, but the solver does not see how.
    """
    # One that even the cheapest choice exceeds.
    for name, limit in limits.items():
        fewest = least(choices, name)
        if math.isinf(fewest):
            return "no plan is allowed: layers need others to read fewer channels than these can"
        if fewest <= _most(limit):
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
    if nearest is None or nearest.value <= _most(limits[first]):
        raise _too_fine(first)
    return (
        f"no plan keeps all budgets together: with {within}, the {_few(first)} that can be reached is "
        f"{_amount(first, nearest.value)}, not {_amount(first, limits[first])}"
    )


def _too_fine(name: str) -> InputError:
    return InputError(f"the budget of {spoken(name)} is too fine for the solver; round it")


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
