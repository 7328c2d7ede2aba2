"""The best plan for a described chip within budgets of its own figures, with mappings and copies chosen, too.

Budgets of interval, latency and energy hold in the chip's model itself (`chip.run`), in which they are no
sums over layers: copies divide what P arrays have to do, places make traffic, and what waits takes time. So
the choice is made by what can be summed (`ChipCosts`), exactly, and then held against the model:

1. **Bound.** Under arrays for the interval that interval and latency leave, and energy without traffic, the
   exact choice (`exact.knapsack`) is at least as good as the best plan that keeps the budgets. If the model
   finds that it keeps them, it is that plan.
2. **Tightened.** Else what is exceeded is made as much tighter, and the choice made again, until the model
   keeps all budgets.
3. **Loosened.** Between the last that did not and the first that did the middle is tried, a few times, for
   interval and energy together, and then for each alone.
4. **What a run chooses itself.** The mappings and copies that `run_on_chip` chooses for the dense layers, and
   then for those that are found, are candidates, too: no plan is worse than they are.

What is found keeps the budgets in the model; the gap to the bound says by how much a better plan could be
better. Only plans whose weights stay on the chip are looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rankfold.chip.best import ENERGY_DELAY, FIGURES, OBJECTIVES, run_as_planned, run_on_chip
from rankfold.chip.run import NS, ChipRun
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.planning.exact import ARRAYS, ENERGY, INTERVAL, LATENCY, Candidate, Solution, in_units, total
from rankfold.planning.exact.knapsack import best_within
from rankfold.planning.exact.within_sums import ROUNDING
from rankfold.planning.on_chip.costs import ChipCosts
from rankfold.planning.on_chip.latency import least_latency
from rankfold.progress import Progress
from rankfold.workload import Network

TIGHTENED = 12  # times at most
LOOSENED = 5  # times
STEP = 0.97  # by which what is exceeded is made tighter at least
INTERVALS = 10  # that are tried where a figure of the chip shall be small


@dataclass(frozen=True)
class Aim:
    """What is asked for.

    Attributes:
        limits: the most of the chip's own figures, by `FIGURES`: us, us and pJ.
        others: the most of what layers add up to: cycles, weights, the predicted loss.
        goal: what shall be small, one of `OBJECTIVES`, or a quantity that layers add up to.
    """

    limits: Mapping[str, float]
    others: Mapping[str, float]
    goal: str


@dataclass(frozen=True)
class _Target:
    """What the sums over layers are held to.

    Attributes:
        interval: activations between images, for which arrays are counted.
        energy: pJ of what layers add up to; infinite: any.
    """

    interval: int
    energy: float

    def towards(self, other: _Target) -> _Target:
        """The middle between both."""
        energy = other.energy
        if energy < math.inf:
            energy = (self.energy + other.energy) / 2
        return _Target((self.interval + other.interval) // 2, energy)


@dataclass(frozen=True)
class Found:
    """A choice, and how it runs.

    Attributes:
        chosen: the candidate of each layer.
        plan: it, with the copies of each layer.
        run: on the chip.
        bound: of the goal: no plan of these candidates whose weights stay has less within the budgets.
    """

    chosen: tuple[Candidate, ...]
    plan: Plan
    run: ChipRun
    bound: float


class ChipSearch:
    """Looks for plans of one network on one chip.

    Args:
        network: the network.
        costs: its candidates, as the chip counts them.
        plan_of: the plan of a choice.
        aim: what is asked for.
        progress: hears of each plan that is held against the model.
    """

    def __init__(
        self,
        network: Network,
        costs: ChipCosts,
        plan_of: Callable[[Sequence[Candidate]], Plan],
        aim: Aim,
        progress: Progress,
    ) -> None:
        self._network, self._costs, self._plan_of = network, costs, plan_of
        self._aim, self._progress = aim, progress
        self._choices: dict[_Target, Solution | None] = {}
        self._runs: dict[Plan, ChipRun] = {}

    def find(self, layers: Sequence[Candidate]) -> Found:
        """The best plan that is found; never worse than what `run_on_chip` chooses for its layers itself.

        Args:
            layers: of the plan whose mappings and copies, as `run_on_chip` chooses them, are the first that
                is known.

        Raises:
            InputError: the budgets cannot be kept, or no plan was found that does.
        """
        self._progress.begin("plans on the chip", TIGHTENED + 3 * LOOSENED, "plans")
        try:
            known = self._own_choice(layers)
            if self._aim.goal not in OBJECTIVES:
                return self._least_sum(known)
            best = self._least_figure(known)
            further = self._own_choice(best)
            if self._worth(further) < self._worth(best):
                # Among more candidates.
                best = self._least_figure(further)
            # Once none are admitted any more: it is of all of them.
            return self._found(best, self._bound())
        finally:
            self._progress.end()

    def _own_choice(self, layers: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Layers with the mappings and the copies that `run_on_chip` chooses for them, as candidates."""
        chip = self._costs.chip
        run = run_on_chip(
            self._network,
            self._plan_of(layers),
            chip,
            objective=self._objective,
            within=self._aim.limits,
            choose_mappings=True,
        )
        before = self._costs.count
        chosen = self._costs.admit(layers, run.plan)
        if self._costs.count > before:
            self._choices.clear()  # they were of fewer candidates
        plan = self._plan_of(chosen)
        as_chosen = run_as_planned(self._network, replace(plan, on_chip=run.on_chip), chip)
        known = self._ran(chosen)
        if as_chosen is not None and self._worth_of(as_chosen) < self._worth_of(known):
            self._runs[plan] = as_chosen
        return chosen

    def _least_sum(self, known: tuple[Candidate, ...]) -> Found:
        """Where the goal is a sum over layers, such as the loss."""
        loosest = self._loosest()
        first = self._choice(loosest)
        if first is None:
            raise InputError(self._out_of_reach())
        last = self._searched(loosest, first.chosen)
        kept = [chosen for chosen in (last, known) if self._keeps(chosen)]
        if not kept:
            raise InputError(self._not_found(last))
        best = min(kept, key=lambda chosen: (total(chosen, self._aim.goal), self._worth(chosen)))
        return self._found(best, first.bound)

    def _searched(self, loosest: _Target, first: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """A choice that keeps the budgets in the model, from the best by sums on; if none is found, the last
        that was tried.
        """
        target, kept = loosest, first
        missed: _Target | None = None
        for _ in range(TIGHTENED):
            if self._keeps(kept):
                break
            if self._ran(kept).pipeline is None:
                return kept
            missed, target = target, self._tighter(target, self._ran(kept))
            solution = self._choice(target)
            for _ in range(LOOSENED):
                if solution is not None:
                    break
                # Too tight for any choice.
                target = target.towards(missed)
                solution = self._choice(target)
            if solution is None:
                return kept
            kept = solution.chosen
        if missed is not None and self._keeps(kept):
            # Both together, and then each alone.
            target, kept = self._loosened(target, missed, kept)
            for further in (
                replace(target, energy=loosest.energy),
                replace(target, interval=loosest.interval),
            ):
                target, kept = self._loosened(target, further, kept)
        return kept

    def _least_figure(self, known: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """Where the goal is a figure of the chip: several intervals are tried, of each the least energy."""
        loosest = self._loosest()
        least = self._least_interval(loosest)
        tried = {least.interval: least, loosest.interval: loosest}
        step = (loosest.interval / least.interval) ** (1 / (INTERVALS - 1))
        for number in range(1, INTERVALS - 1):
            interval = round(least.interval * step**number)
            tried.setdefault(interval, replace(loosest, interval=interval))
        solutions = [self._choice(target) for target in tried.values()]
        chosen = [known, *(solution.chosen for solution in solutions if solution is not None)]
        best = min(chosen, key=self._worth)
        if not self._keeps(best):
            raise InputError(self._not_found(chosen[-1]))
        return best

    def _bound(self) -> float:
        """What no plan can be below in the chip's figure that shall be small."""
        goal = self._aim.goal
        loosest = self._loosest()
        if goal == ENERGY:
            return self._energy_bound(loosest)
        least = self._least_interval(loosest)
        if goal == LATENCY:
            return self._latency_bound(least)
        if goal == ENERGY_DELAY:
            # A product of what both are at least.
            return self._energy_bound(loosest) * self._latency_bound(least)
        return self._costs.time(least.interval)

    def _energy_bound(self, loosest: _Target) -> float:
        """pJ that no plan takes less than."""
        solution = self._choice(loosest)
        assert solution is not None  # it was found
        return solution.bound + self._costs.fixed_energy

    def _latency_bound(self, least: _Target) -> float:
        """us that no latency is below."""
        # It is no shorter than the interval, which is no shorter than that of the arrays alone.
        return max(self._costs.time(least.interval), NS * least_latency(self._costs))

    def _loosest(self) -> _Target:
        """What the budgets leave for what layers add up to."""
        limits = self._aim.limits
        time = min(limits.get(INTERVAL, math.inf), limits.get(LATENCY, math.inf))
        interval = self._costs.longest
        if time < math.inf:
            interval = min(interval, self._costs.activations(time))
        energy = limits.get(ENERGY, math.inf) - self._costs.fixed_energy
        if interval < 1 or energy <= 0:
            raise InputError(self._out_of_reach())
        return _Target(interval, energy)

    def _least_interval(self, loosest: _Target) -> _Target:
        """The shortest interval for which there is a choice, by halving: arrays fall as it rises."""
        if self._choice(loosest) is None:
            raise InputError(self._out_of_reach())
        low, high = 1, loosest.interval
        while low < high:
            middle = (low + high) // 2
            if self._choice(replace(loosest, interval=middle)) is not None:
                high = middle
            else:
                low = middle + 1
        return replace(loosest, interval=low)

    def _choice(self, target: _Target) -> Solution | None:
        """The exact choice by what layers add up to; of equal ones that of the least energy."""
        if target not in self._choices:
            self._choices[target] = self._chosen(target)
        return self._choices[target]

    def _chosen(self, target: _Target) -> Solution | None:
        candidates = self._costs.candidates(target.interval)
        limits = {ARRAYS: float(self._costs.chip.arrays), **self._aim.others}
        if target.energy < math.inf:
            limits[ENERGY] = target.energy
        goal = self._aim.goal
        if goal in OBJECTIVES:
            return best_within(candidates, limits, ENERGY)
        first = best_within(candidates, limits, goal)
        if first is None:
            return None
        within = min(first.value, limits.get(goal, math.inf))
        best = best_within(candidates, {**limits, goal: within}, ENERGY)
        if best is None:
            return first
        return replace(first, chosen=best.chosen)

    def _tighter(self, target: _Target, run: ChipRun) -> _Target:
        """A target that is nearer to the budgets by what a run exceeds them by."""
        interval, energy = target.interval, target.energy
        over = 1.0
        for name, limit in self._aim.limits.items():
            figure = FIGURES[name](run)
            if figure <= limit:
                continue
            if name == ENERGY:
                energy = min(energy * STEP, energy - (figure - limit))
            else:
                over = min(over, limit / figure)
        if over < 1:
            interval = min(math.floor(interval * min(over, STEP)), interval - 1)
        return _Target(max(interval, 1), energy)

    def _loosened(
        self, kept: _Target, missed: _Target, chosen: tuple[Candidate, ...]
    ) -> tuple[_Target, tuple[Candidate, ...]]:
        """The best choice that keeps the budgets between a target that does and one that does not, and its
        target.
        """
        for _ in range(LOOSENED):
            middle = kept.towards(missed)
            if middle in (kept, missed):
                break
            solution = self._choice(middle)
            if solution is not None and self._keeps(solution.chosen):
                kept, chosen = middle, solution.chosen
            else:
                missed = middle
        return kept, chosen

    def _ran(self, chosen: tuple[Candidate, ...]) -> ChipRun:
        """A choice on the chip, with the copies that keep the budgets, if any do."""
        plan = self._plan_of(chosen)
        if plan not in self._runs:
            self._runs[plan] = run_on_chip(
                self._network, plan, self._costs.chip, objective=self._objective, within=self._aim.limits
            )
            self._progress.advance()
        return self._runs[plan]

    @property
    def _objective(self) -> str:
        """What copies are chosen for."""
        return self._aim.goal if self._aim.goal in OBJECTIVES else ENERGY

    def _worth(self, chosen: tuple[Candidate, ...]) -> tuple[bool, float]:
        """What tells choices apart, the less the better: whether one misses a budget, then what copies are
        chosen for.
        """
        return not self._keeps(chosen), self._worth_of(self._ran(chosen))[1]

    def _worth_of(self, run: ChipRun) -> tuple[bool, float]:
        """The same of a run alone."""
        return not self._fits(run), OBJECTIVES[self._objective](run)

    def _keeps(self, chosen: tuple[Candidate, ...]) -> bool:
        """Whether the chip's model keeps all budgets, with weights that stay."""
        others = self._aim.others.items()
        return self._fits(self._ran(chosen)) and all(
            total(chosen, name) <= limit * (1 + ROUNDING) for name, limit in others
        )

    def _fits(self, run: ChipRun) -> bool:
        """Whether a run keeps the budgets of the chip's figures, with weights that stay."""
        kept = all(FIGURES[name](run) <= limit for name, limit in self._aim.limits.items())
        return kept and run.pipeline is not None

    def _found(self, chosen: tuple[Candidate, ...], bound: float) -> Found:
        run = self._ran(chosen)
        plan = replace(self._plan_of(chosen), on_chip=run.on_chip)
        return Found(self._costs.stored(chosen), plan, run, bound)

    def _budgets(self) -> str:
        parts = [f"{name} of at most {in_units(name, limit)}" for name, limit in self._aim.limits.items()]
        return " and ".join(parts) or "weights that stay"

    def _out_of_reach(self) -> str:
        chip, fewest = self._costs.chip, self._costs.fewest
        if fewest > chip.arrays:
            return (
                f"weights of no plan of these layers stay on the {chip.arrays:,} arrays of {chip.name}: they "
                f"need {fewest:,} at least, and plans whose weights are written anew for each image are not "
                "looked for; take a chip with more arrays, or plan for its arrays alone (--hardware) and run "
                "that plan (rankfold chip --plan)"
            )
        return (
            f"no plan of these layers has {self._budgets()} on the {chip.arrays:,} arrays of {chip.name}, "
            "even if nothing were sent and nobody waited; allow more"
        )

    def _not_found(self, chosen: tuple[Candidate, ...]) -> str:
        run = self._ran(chosen)
        nearest = [in_units(name, FIGURES[name](run)) for name in self._aim.limits]
        why = run.why_not_pipelined or f"the nearest has {' and '.join(nearest)}"
        return f"no plan was found with {self._budgets()} on {self._costs.chip.name}: {why}"
