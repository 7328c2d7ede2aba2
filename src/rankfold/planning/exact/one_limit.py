"""The exact choice under a single limit: layer by layer, with the least that the layers to come can reach.

Each layer takes one of its candidates. Costs and goals are counted from the least of each layer on, so that
none is negative, and R is the room that is left for costs. A state after k layers is a choice for these, with
its cost c and its goal v. Few of them need be kept:

**Beaten.** Of two states the one of no less cost and no less goal is forgotten: whatever is added to it can
be added to the other one (as in `merge`).

**Bounded.** Were parts of candidates allowed, the layers to come could reach, within a room r,

    f_k(r) = sum of their goals at least cost + the steepest of their steps, until r is used up.

Steps lead along the lower hull of a layer's candidates, from the cheapest one on, with rising slopes (goal
over cost, below 0). Sorted by slope, those of all layers give the optimum of the linear relaxation (Sinha &
Zoltners 1979), convex and piecewise linear in r. A state leads to nothing below v + f_k(R - c): where that is
no less than what is known to be possible, it is forgotten. What is possible is found on the way, as whole
steps complete every state. When no state is left, the best choice found is the best there is.

**Priced out.** With p the slope, positive, of the step that the relaxation takes a part of, no choice is
below f_0(R) + (v_i + p c_i) - min over j of (v_j + p c_j) if layer l takes its candidate i (Lagrangian
duality): most candidates need not be added to any state.

Layers come first whose second best candidate is nearly as good as the best one at this price. There the best
choice may differ from the relaxation, and states that differ early are told apart early (the core of Pisinger
1995). The first passes keep only the most promising states, so that what is possible is known to later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.planning.exact.merge import best_points

Array = np.ndarray

WIDTHS = (1 << 9, 1 << 13, 1 << 18)  # states of a stage that the passes keep
WORK = 1 << 27  # sums of a cost that a pass may look at
NOTHING = 1e-11  # of what goals add up to, by which a choice is not better than another one
ROUNDED = 1e-13  # of what is summed, more than sums over all layers lose by rounding


@dataclass(frozen=True)
class Costed:
    """The candidates of one layer.

    Attributes:
        costs: (K,) above the least of the layer.
        goals: (K,) likewise.
    """

    costs: Array
    goals: Array


def least_within(layers: Sequence[Costed], room: float, step: float = 0.0) -> list[int] | None:
    """The candidates of all layers, as indices, whose goals add up to the least within a room for costs.

    Args:
        layers: what each of them may take, at least one candidate.
        room: the most that costs may add up to, 0 or more.
        step: two sums of goals differ by at least so much, or not at all; 0: by anything.

    Returns:
        None where that would take too many states. With a step nothing is less; without one, nothing by more
        than 1e-11 of what goals add up to.
    """
    search = _Search(layers, room, step)
    for width in WIDTHS:
        if search.run(width):
            return search.picks
    return None


@dataclass(frozen=True)
class _Relaxed:
    """f_k of some layers.

    Attributes:
        rooms: (S+1,) from 0 on, what whole steps use up.
        goals: (S+1,) what the layers come to then; beyond the last one nothing falls.
        slopes: (S+2,) of goals on the way to each of `rooms`, as falls; 0 to the first, and beyond the last.
        layers: (S,) of which layer each step is.
    """

    rooms: Array
    goals: Array
    slopes: Array
    layers: Array

    def bound(self, room: Array) -> Array:
        """(P,) f_k(r).

        Counted back from the next whole step: two terms that are not below 0 add up without losing digits,
        however much more there was before that step.
        """
        after = np.searchsorted(self.rooms, room, side="right")
        following = np.minimum(after, len(self.rooms) - 1)
        return self.goals[following] + self.slopes[after] * (self.rooms[following] - room)

    def whole(self, room: Array) -> Array:
        """(P,) the number of steps that fit."""
        return np.searchsorted(self.rooms, room, side="right") - 1


@dataclass(frozen=True)
class _Steps:
    """The steps along the hulls of all layers, by rising slope.

    Attributes:
        layers: (S,) of which layer each is.
        costs: (S,) what it costs, above 0.
        goals: (S,) by how much the goal falls, above 0.
    """

    layers: Array
    costs: Array
    goals: Array

    @classmethod
    def along(cls, layers: Sequence[Costed], hulls: Sequence[Array]) -> _Steps:
        """Those of layers whose hulls are given as indices."""
        owners, costs, goals, slopes = [], [], [], []
        for number, (layer, hull) in enumerate(zip(layers, hulls, strict=True)):
            rise, fall = np.diff(layer.costs[hull]), -np.diff(layer.goals[hull])
            owners.append(np.full(len(rise), number))
            costs.append(rise)
            goals.append(fall)
            # But for rounding they rise anyway: the steps of a layer stay in their order.
            slopes.append(np.maximum.accumulate(-fall / rise))
        order = np.argsort(np.concatenate(slopes), kind="stable")
        return cls(*[np.concatenate(parts)[order] for parts in (owners, costs, goals)])

    def of(self, there: Array) -> _Relaxed:
        """f_k of some layers, (L,) booleans."""
        own = there[self.layers]
        rooms = np.append(0.0, np.cumsum(self.costs[own]))
        # From the end on, where they are least and rounding would count most.
        goals = np.append(np.cumsum(self.goals[own][::-1])[::-1], 0.0)
        slopes = np.concatenate(([0.0], self.goals[own] / self.costs[own], [0.0]))
        return _Relaxed(rooms, goals, slopes, self.layers[own])


class _Search:
    """Passes over the layers, of which each knows what the ones before have found to be possible.

    Attributes:
        picks: of the best choice so far, the candidate of each layer.

    Args:
        layers: as of `least_within`.
        room: likewise.
        step: likewise.
    """

    def __init__(self, layers: Sequence[Costed], room: float, step: float) -> None:
        self._layers, self._room, self._step = layers, room, step
        self._unbeaten = [best_points(layer.costs, layer.goals) for layer in layers]
        self._hulls = [_hull(layer, own) for layer, own in zip(layers, self._unbeaten, strict=True)]
        self._steps = _Steps.along(layers, self._hulls)
        self._least = np.inf  # of what was found to be possible
        self.picks: list[int] = []
        whole = self._steps.of(np.ones(len(layers), bool))
        price = self._price(whole)
        self._prices = self._priced(price)
        # Prices are differences of what adds up to this much, and have its rounding.
        relaxed = float(whole.bound(np.array([room]))[0])
        self._relaxed = relaxed - ROUNDED * (relaxed + price * room)
        # Nothing to choose comes last, where it adds no state.
        # The price of one more: the infinity added is that of a layer with a single candidate.
        second = [np.sort(np.append(prices, np.inf))[1] for prices in self._prices]
        self._order = np.argsort(second, kind="stable")

    def _price(self, whole: _Relaxed) -> float:
        """p, the slope of the step that the relaxation takes a part of; 0 where it takes all of them."""
        taken = int(whole.whole(np.array([self._room]))[0])
        if taken == len(whole.layers):
            return 0.0
        return float(self._steps.goals[taken] / self._steps.costs[taken])

    def _priced(self, price: float) -> list[Array]:
        """By how much the bound rises with each candidate of each layer that is not beaten."""
        found = []
        for layer, own in zip(self._layers, self._unbeaten, strict=True):
            amounts = layer.goals[own] + price * layer.costs[own]
            found.append(amounts - amounts.min())
        return found

    @property
    def _below(self) -> float:
        """What a bound must be below for a choice that is better than the best one so far."""
        if self._step:
            # Half a step off what either could be, as bounds are rounded.
            return self._least - self._step / 2
        return self._least * (1 - NOTHING)

    def run(self, width: int) -> bool:
        """Go through all layers with at most so many states; whether it is proven that nothing is better."""
        costs, goals = np.zeros(1), np.zeros(1)
        trail: list[tuple[Array, Array]] = []  # for each stage the candidate of a state, and the one before
        to_come = np.ones(len(self._layers), bool)
        rest = self._steps.of(to_come)
        self._complete(costs, goals, rest, trail)
        exact, work = True, WORK
        for layer in self._order:
            to_come[layer] = False
            rest = self._steps.of(to_come)
            left = self._unbeaten[layer][self._relaxed + self._prices[layer] < self._below]
            work -= len(left) * len(costs)
            if work < 0:
                return False
            costs, goals, picks, before = self._added(costs, goals, self._layers[layer], left, rest)
            if not len(costs):
                return exact
            if len(costs) > width:
                exact = False
                bounds = goals + rest.bound(self._room - costs)
                kept = np.sort(np.argpartition(bounds, width)[:width])
                costs, goals, picks, before = costs[kept], goals[kept], picks[kept], before[kept]
            trail.append((picks, before))
            self._complete(costs, goals, rest, trail)
        return exact

    def _added(
        self, costs: Array, goals: Array, layer: Costed, candidates: Array, rest: _Relaxed
    ) -> tuple[Array, Array, Array, Array]:
        """States with one layer more: costs, goals, its candidate, and the state before.

        Args:
            costs: (P,) of the states before.
            goals: (P,) likewise.
            layer: the one that is added.
            candidates: of it, as indices.
            rest: f_k of those to come.
        """
        found = []
        for candidate in candidates:
            more = costs + layer.costs[candidate]
            fits = np.flatnonzero(more <= self._room)
            more, reached = more[fits], goals[fits] + layer.goals[candidate]
            open_ones = reached + rest.bound(self._room - more) < self._below
            picks = np.full(np.count_nonzero(open_ones), candidate)
            found.append((more[open_ones], reached[open_ones], picks, fits[open_ones]))
        if not any(len(more) for more, *_ in found):
            nothing = np.zeros(0)
            return nothing, nothing, nothing, nothing
        joined = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        best = best_points(joined[0], joined[1])
        costs, goals, picks, before = [part[best] for part in joined]
        return costs, goals, picks.astype(np.int32), before.astype(np.int32)

    def _complete(
        self, costs: Array, goals: Array, rest: _Relaxed, trail: Sequence[tuple[Array, Array]]
    ) -> None:
        """Remember the best of all states with the whole steps that fit behind them, if it is better."""
        taken = rest.whole(self._room - costs)
        reached = goals + rest.goals[taken]
        state = int(np.argmin(reached))
        if reached[state] >= self._least:
            return
        self._least = float(reached[state])
        steps = np.bincount(rest.layers[: taken[state]], minlength=len(self._layers))
        self.picks = [int(hull[number]) for hull, number in zip(self._hulls, steps, strict=True)]
        for layer, (picks, before) in zip(self._order[: len(trail)][::-1], reversed(trail), strict=True):
            self.picks[layer] = int(picks[state])
            state = int(before[state])


def _hull(layer: Costed, unbeaten: Array) -> Array:
    """Of candidates that are not beaten, as indices by rising cost, those on their lower hull."""
    hull: list[int] = []
    costs, goals = layer.costs, layer.goals
    for new in unbeaten.tolist():
        while len(hull) > 1:
            before, last = hull[-2:]
            # The last one is below the line from the one before it to the new one, or goes.
            line = (goals[new] - goals[before]) * (costs[last] - costs[before])
            if (goals[last] - goals[before]) * (costs[new] - costs[before]) < line:
                break
            hull.pop()
        hull.append(new)
    return np.array(hull)
