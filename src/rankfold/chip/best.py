"""The best that is found of a network on a chip, by interval, latency, energy, or energy times latency.

More arrays make copies, and copies make traffic: whoever hands all arrays of a large chip to a small network
is limited by links. So several numbers of arrays are tried, from those that the weights need to all of them,
each twice the one before, and one number between the best one and its neighbours after the other. Where it is
not the interval that is to be small, mappings of few conversions are tried, too, each for several intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from rankfold.chip.run import ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.cost.planned import Masks
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import Plan
from rankfold.workload import Network

INTERVAL = "interval"
# us, us and pJ.
FIGURES: dict[str, Callable[[ChipRun], float]] = {
    INTERVAL: lambda run: run.interval,
    "latency": lambda run: run.latency,
    "energy": lambda run: run.total_energy,
}
OBJECTIVES: dict[str, Callable[[ChipRun], float]] = {
    **FIGURES,
    "energy-delay": lambda run: run.total_energy * run.latency,
}
SLOWER = (1, 2, 4, 16, 64)  # times the shortest interval, for which mappings of few conversions are tried
NEAR = 1.1  # times the arrays, from which on no number between is tried


@dataclass(frozen=True)
class _Tried:
    """Runs by their number of arrays, and why there is none."""

    study: ChipStudy
    worth: Callable[[ChipRun], tuple[float, float]]
    runs: dict[int, ChipRun | str]

    def at(self, arrays: int) -> None:
        """Try so many arrays, unless that was done."""
        if arrays in self.runs:
            return
        try:
            self.runs[arrays] = self.study.staying(arrays)
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
        choose_mappings: whether layers get the mappings of the shortest interval instead of the plan's.

    Raises:
        InputError: an array of the chip holds no weight of a layer; weights do not stay, and the chip has no
            memory; or there is no such objective.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"objective (={objective}) must be one of {', '.join(OBJECTIVES)}")
    study = ChipStudy(network, plan, chip, masks, choose_mappings=choose_mappings)
    if not study.mappings.fewest:
        raise InputError(
            f"the plan leaves no layer of {network.name} on arrays, so that there is nothing to run"
        )
    worth = _worth(objective, within or {})
    tried = _Tried(study, worth, {})
    arrays = study.mappings.fewest
    while arrays < chip.arrays:
        tried.at(arrays)
        arrays *= 2
    tried.at(chip.arrays)
    if not tried.found:
        return study.layer_by_layer(str(tried.runs[chip.arrays]))
    _between(tried)
    best = tried.found[tried.best]
    if choose_mappings and objective != INTERVAL and study.mappings.fewest <= chip.arrays:
        best = min((best, *_frugal(study)), key=worth)
    return _bounded(study, best)


def _worth(objective: str, within: Mapping[str, float]) -> Callable[[ChipRun], tuple[float, float]]:
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


def _frugal(study: ChipStudy) -> Iterator[ChipRun]:
    """Runs with mappings of few conversions, for longer and longer intervals."""
    least = study.mappings.interval(study.chip.arrays)
    for times in SLOWER:
        try:
            yield study.frugal(least * times)
        except InputError:
            continue  # no room for what waits


def _bounded(study: ChipStudy, run: ChipRun) -> ChipRun:
    """A run with the interval that no copies, placement or traffic of its plan can beat."""
    if study.mappings.fewest > study.chip.arrays:
        return run
    bound = study.mappings.interval(study.chip.arrays) * run.read_time
    return replace(run, least_interval=max(bound, _units_bound(run)))


def _units_bound(run: ChipRun) -> float:
    """ns that the digital units of all cores need, however the work is shared out."""
    operations = sum(task.operations for task in run.graph.tasks)
    return operations / (run.chip.cores.rate * run.chip.cores.count)
