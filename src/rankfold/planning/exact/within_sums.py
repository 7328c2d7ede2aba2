"""`Knapsack`: one candidate for each layer, the best within limits on what adds up over layers.

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
from rankfold.planning.exact.candidate import LOSS, Candidate, Choices, Need, total
from rankfold.planning.exact.linked import least, spread, units
from rankfold.planning.exact.one_limit import Costed, least_within
from rankfold.planning.exact.quantities import KNOWN, spoken
from rankfold.planning.exact.units import SLACK

Limits = Mapping[str, float]  # the most of a quantity, by its name

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
class Knapsack:
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
    def of(cls, choices: Choices) -> Knapsack:
        """Of the candidates of each layer."""
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
        return least(self.choices, name) <= most_within(limits.get(name, sys.float_info.max))

    def solve(self, limits: Limits, goal: str) -> Solution | None:
        """The best choice, or None where there is none; goal and limits are sums.

        Totals are summed again from the candidates, never taken from a solver. A choice that the tolerance of
        HiGHS let through is cut off by covers, and the problem is solved anew (see above).

        Raises:
            InputError: a limit is finer than the solver's tolerance.
        """
        left = self._reachable(limits)
        if left is None:
            return None
        if len(limits) == 1:
            ((name, limit),) = limits.items()
            chosen = left._within_one(name, limit, goal)
            # Of sums on the very edge of the limit its own rounding decides.
            if chosen is not None and total(chosen, name) <= most_within(limit):
                value = total(chosen, goal)
                return Solution(chosen, goal, value, value)
        wanted = left._amounts(goal)
        constraints = left._constraints(limits)
        for _ in range(ATTEMPTS):
            result = left._milp(wanted, constraints)
            if result is None:
                return None
            chosen = left._taken(result.x)
            exceeded = [name for name, limit in limits.items() if total(chosen, name) > most_within(limit)]
            if not exceeded:
                return _proven(chosen, goal, wanted, result.mip_dual_bound)
            constraints += [left._cover(chosen, name, limits[name]) for name in exceeded]
        raise too_fine(exceeded[0])

    def _within_one(self, name: str, limit: float, goal: str) -> tuple[Candidate, ...] | None:
        """The best choice within a single limit, but for rounding; None where `one_limit` gives up."""
        choices = self.choices
        joined = units(choices, (name, goal))
        if not all(len(unit.picks) for unit in joined):
            return None
        leasts = np.array([unit.amounts.min(axis=0) for unit in joined])  # (U, 2)
        # Sums of what is counted are exact; those of all else are rounded.
        room = most_within(limit) - math.fsum(leasts[:, 0])
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

    def _reachable(self, limits: Limits) -> Knapsack | None:
        """Without the candidates that no choice within the limits has; None: a layer has none left."""
        left = self
        while True:
            kept = np.ones(len(left.candidates), dtype=bool)
            for name, limit in limits.items():
                amounts = left._amounts(name)
                room = most_within(limit) - amounts.least
                kept &= amounts.above <= room + ROUNDING * limit
            if kept.all():
                return left
            layer_of = left.layer_of[kept]
            if len(np.unique(layer_of)) < self.layers:
                return None
            # With them gone, other layers' least of another quantity may be more.
            candidates = tuple(left.candidates[index] for index in np.flatnonzero(kept))
            left = Knapsack(candidates, layer_of, self.layers)

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
            room = most_within(limit) - amounts.least
            unit = _unit(amounts.above, max(_smallest(name, 0.0), room / PARTS))
            row = csr_array(amounts.above[None] / unit)  # (1, K)
            constraints.append(LinearConstraint(row, -np.inf, room / unit))
        return constraints + self._links()

    def _links(self) -> list[LinearConstraint]:
        """That a candidate which needs another layer to read few channels is taken only where it does."""
        names = np.array([one.entry.name for one in self.candidates])
        reads = np.array([one.reads for one in self.candidates])
        asked = np.array([one.needed_layer for one in self.candidates])
        most = np.array([one.needed_most for one in self.candidates])
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
            if math.fsum(amounts) > most_within(limit):
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


def most_within(limit: float) -> float:
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


def too_fine(name: str) -> InputError:
    """The error of a budget that the solver's tolerance does not let it keep."""
    return InputError(f"the budget of {spoken(name)} is too fine for the solver; round it")
