"""The best that is found of a network on a chip, by interval, latency, energy, or energy times latency.

More arrays make copies, and copies make traffic: whoever hands all arrays of a large chip to a small network
is limited by links. So several numbers of arrays are tried, from those that the weights need to all of them,
each twice the one before, and one number between the best one and its neighbours after the other.

Mappings of the shortest interval on the arrays alone may make more traffic than others. So the plan as it is,
one mapping for all layers, and mappings of few conversions, for several intervals, are tried, too. Where the
interval is to be small, none is tried whose arrays alone take longer than what is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rankfold.chip.run import NS, ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.cost.planned import Masks
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.mapping import MAPPINGS
from rankfold.plan import Plan
from rankfold.progress import Progress, Silent
from rankfold.workload import Network

INTERVAL, ENERGY_DELAY = "interval", "energy-delay"
# us, us and pJ.
FIGURES: dict[str, Callable[[ChipRun], float]] = {
    INTERVAL: lambda run: run.interval,
    "latency": lambda run: run.latency,
    "energy": lambda run: run.total_energy,
}
# The last one in pJ us.
OBJECTIVES: dict[str, Callable[[ChipRun], float]] = {
    **FIGURES,
    ENERGY_DELAY: lambda run: run.total_energy * run.latency,
}
Worth = Callable[[ChipRun], tuple[float, float]]  # what tells runs apart, the less the better
SLOWER = (1, 2, 4, 16, 64)  # times the shortest interval, for which mappings of few conversions are tried
NEAR = 1.1  # times the arrays, from which on no number between is tried


@dataclass(frozen=True)
class _Tried:
    """Runs by their number of arrays, and why there is none."""

    study: ChipStudy
    worth: Worth
    plan: Plan | None
    runs: dict[int, ChipRun | str]

    def at(self, arrays: int) -> None:
        """Try so many arrays, unless that was done."""
        if arrays in self.runs:
            return
        try:
            self.runs[arrays] = self.study.staying(arrays, self.plan)
        except InputError as error:
            self.runs[arrays] = str(error)

    @property
    def found(self) -> dict[int, ChipRun]:
        """Those that run."""
        return {arrays: run for arrays, run in self.runs.items() if isinstance(run, ChipRun)}

    @property
    def best(self) -> int:
        """The number of arrays of the best run; of equal ones the fewest."""
        return min(self.found, key=lambda arrays: (self.worth(self.found[arrays]), arrays))


def run_on_chip(
    network: Network,
    plan: Plan,
    chip: ChipSpec,
    masks: Masks | None = None,
    *,
    objective: str = INTERVAL,
    within: Mapping[str, float] | None = None,
    choose_mappings: bool = False,
    progress: Progress | None = None,
) -> ChipRun:
    """Run a network on a described chip as well as it is found to.

    Where the chip has an array for every tile and its buffers hold what waits, weights stay, spare arrays
    hold copies, and all layers work at once. Else one layer after another runs on all arrays, its weights
    and, where the buffers are too small, its feature maps coming from off-chip memory.

    Args:
        network: the network; all its convolutions and fully connected layers are run on arrays.
        plan: what its layers become.
        chip: the chip, whose arrays go before those of the plan.
        masks: the weights that pattern-pruned layers keep; None: those of the plan.
        objective: one of `OBJECTIVES`.
        within: the most of any of `FIGURES`: runs that keep these go before those that do not, and of the
            latter those that exceed them least.
        choose_mappings: whether layers get other mappings than the plan's where these are found better: never
            worse than the plan's, or than one mapping for all layers.
        progress: hears of each choice of mappings, which is tried on several numbers of arrays.

    Raises:
        InputError: an array of the chip holds no weight of a layer; weights do not stay, and the chip has no
            memory; or there is no such objective.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"objective (={objective}) must be one of {', '.join(OBJECTIVES)}")
    progress = progress or Silent()
    choices = 1 + choose_mappings * (len(MAPPINGS) + 1 + len(SLOWER))  # at most
    progress.begin("mappings and copies", choices, "choices")
    try:
        study = ChipStudy(network, plan, chip, masks, choose_mappings=choose_mappings)
        if not study.mappings.fewest:
            raise InputError(
                f"the plan leaves no layer of {network.name} on arrays, so that there is nothing to run"
            )
        return _best(study, _worth(objective, within or {}), objective, choose_mappings, progress)
    finally:
        progress.end()


def _best(
    study: ChipStudy, worth: Worth, objective: str, choose_mappings: bool, progress: Progress
) -> ChipRun:
    """The best run that is found; arguments and errors as of `run_on_chip`."""
    tried = _tried(study, worth, None, study.mappings.fewest)
    progress.advance()
    runs = [tried.found[tried.best]] if tried.found else []
    if choose_mappings:
        for run in _otherwise(study, worth, runs[:1], objective):
            runs.append(run)
            progress.advance()
    if not runs:
        why = str(tried.runs[study.chip.arrays])
        plans = [simple.plan for simple in study.mappings.simple] if choose_mappings else [None]
        return min((study.layer_by_layer(why, plan) for plan in plans), key=worth)
    return _bounded(study, min(runs, key=worth))


def _tried(study: ChipStudy, worth: Worth, plan: Plan | None, fewest: int) -> _Tried:
    """Runs on several numbers of arrays, from the fewest to all of them.

    Args:
        study: the network on the chip.
        worth: what tells runs apart.
        plan: with the mappings of all layers; None: those of the shortest interval on each number of arrays.
        fewest: arrays without which weights cannot stay.
    """
    tried = _Tried(study, worth, plan, {})
    arrays = fewest
    while arrays < study.chip.arrays:
        tried.at(arrays)
        arrays *= 2
    tried.at(study.chip.arrays)
    if tried.found:
        _between(tried)
    return tried


def _worth(objective: str, within: Mapping[str, float]) -> Worth:
    """What tells runs apart, the less the better: by how much they exceed limits, then the objective."""

    def worth(run: ChipRun) -> tuple[float, float]:
        over = max((FIGURES[name](run) / limit for name, limit in within.items()), default=0.0)
        return max(over, 1.0), OBJECTIVES[objective](run)

    return worth


def run_as_planned(
    network: Network, plan: Plan, chip: ChipSpec, masks: Masks | None = None
) -> ChipRun | None:
    """Run a network with the mappings and the copies of a plan that was made for this chip; None: it was not.

    Raises:
        InputError: the copies are not those of its layers, or do not fit.
    """
    if plan.on_chip is None or plan.on_chip.chip != chip.name:
        return None
    study = ChipStudy(network, plan, chip, masks)
    return _bounded(study, study.with_copies(plan.on_chip))


def _between(tried: _Tried) -> None:
    """Try numbers of arrays between the best one and its neighbours, until they are near."""
    while True:
        numbers = sorted(tried.runs)
        place = numbers.index(tried.best)
        further = []
        for one, other in ((place - 1, place), (place, place + 1)):
            if one < 0 or other == len(numbers):
                continue
            middle = (numbers[one] + numbers[other]) // 2
            if numbers[other] > NEAR * numbers[one] and middle > numbers[one]:
                further.append(middle)
        if not further:
            return
        for arrays in further:
            tried.at(arrays)


def _otherwise(study: ChipStudy, worth: Worth, known: Sequence[ChipRun], objective: str) -> Iterator[ChipRun]:
    """Runs with other mappings than those of the shortest interval, where they may be better.

    Args:
        study: the network on the chip.
        worth: what tells runs apart.
        known: the best run with mappings of the shortest interval, if any runs.
        objective: what is to be small.
    """
    arrays = study.chip.arrays
    # us that other runs have to beat.
    beaten = math.inf
    if objective == INTERVAL:
        beaten = min((run.interval for run in known if worth(run)[0] <= 1), default=math.inf)
    for simple in study.mappings.simple:
        if simple.fewest > arrays:
            continue
        # Arrays alone take so long, whatever their number, places and traffic.
        if study.time(simple.plan, simple.interval(arrays)) >= beaten:
            continue
        tried = _tried(study, worth, simple.plan, simple.fewest)
        if tried.found:
            yield tried.found[tried.best]
    if study.mappings.fewest > arrays:
        return
    least = study.mappings.interval(arrays)
    for times in SLOWER:
        try:
            run = study.frugal(least * times)
        except InputError:
            continue  # no room for what waits
        yield run
        if NS * run.read_time * least * times >= beaten:
            return


def _bounded(study: ChipStudy, run: ChipRun) -> ChipRun:
    """A run with the interval that no copies, placement or traffic of its plan can beat.

    Activations are as long as in the run, which is exact where no mapping changes that (`ChipRun`).
    """
    if study.mappings.fewest > study.chip.arrays:
        return run
    bound = study.mappings.interval(study.chip.arrays) * run.read_time
    return replace(run, least_interval=max(bound, _units_bound(run)))


def _units_bound(run: ChipRun) -> float:
    """ns that the digital units of all cores need, however the work is shared out."""
    operations = sum(task.operations for task in run.graph.tasks)
    return operations / (run.chip.cores.rate * run.chip.cores.count)
