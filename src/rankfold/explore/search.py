"""Points that a sampler of Optuna asks for, where there are too many to try all of them.

Each round asks for a number of points, evaluates them side by side, and tells what was found in the order in
which they were asked for. So what is asked next depends on the space, the seed and the answers alone, neither
on how many processes there are nor on which of them is the fastest; and a search that was stopped goes on by
asking all its questions again, of which those that are answered in the records take no time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError
from rankfold.explore.front import costs
from rankfold.explore.outcome import Outcome
from rankfold.planning.search.backend import check_optuna, quiet_optuna

if TYPE_CHECKING:
    import optuna

    from rankfold.explore.front import Quantity

ROUND = 50  # points of a generation
SAMPLERS = ("nsga2", "tpe")


@dataclass(frozen=True)
class Search:
    """How points are chosen.

    Attributes:
        trials: points to ask for; some may be asked for again.
        sampler: `nsga2` (Deb et al. 2002) or `tpe` (Bergstra et al. 2011, for several objectives as of Ozaki
            et al. 2020).
        seed: of everything drawn.
    """

    trials: int
    sampler: str = "nsga2"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1 or self.seed < 0:
            raise InputError(f"trials (={self.trials}) must be 1 or more, and seed (={self.seed}) 0 or more")
        if self.sampler not in SAMPLERS:
            raise InputError(f"sampler (={self.sampler}) must be one of {', '.join(SAMPLERS)}")

    def identity(self) -> dict[str, Any]:
        """What the questions depend on; more trials are the same search."""
        return {"sampler": self.sampler, "seed": self.seed}


def search_points(
    search: Search,
    sizes: Sequence[int],
    number: Callable[[Sequence[int]], int],
    quantities: Sequence[Quantity],
    answer: Callable[[Sequence[int]], Mapping[int, Outcome]],
) -> list[int]:
    """Ask for points, and learn from what is found of them.

    Args:
        search: how.
        sizes: of every axis.
        number: of the point with these indices.
        quantities: that shall be small.
        answer: evaluates points by number, or knows them already.

    Returns:
        The numbers of all points that were asked for, in that order, some twice.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """
    check_optuna()
    asked: list[int] = []
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that Optuna calls experimental
        study = _study(search, len(quantities))
        while len(asked) < search.trials:
            trials = [study.ask() for _ in range(min(ROUND, search.trials - len(asked)))]
            numbers = [number(_indices(trial, sizes)) for trial in trials]
            found = answer(numbers)
            for trial, one in zip(trials, numbers, strict=True):
                _tell(study, trial, found[one], quantities)
            asked += numbers
    return asked


def _study(search: Search, objectives: int) -> optuna.Study:
    import optuna

    sampler: optuna.samplers.BaseSampler
    if search.sampler == "nsga2":
        sampler = optuna.samplers.NSGAIISampler(population_size=ROUND, seed=search.seed)
    else:
        # What is being tried counts as bad, so that the points of a round differ.
        sampler = optuna.samplers.TPESampler(seed=search.seed, constant_liar=True, n_startup_trials=ROUND)
    return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


def _indices(trial: optuna.Trial, sizes: Sequence[int]) -> list[int]:
    """The choice of every axis; one without a choice is no parameter."""
    indices = []
    for axis, size in enumerate(sizes):
        index = 0
        if size > 1:
            index = trial.suggest_int(str(axis), 0, size - 1)
        indices.append(index)
    return indices


def _tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome, quantities: Sequence[Quantity]) -> None:
    from optuna.trial import TrialState

    if outcome.figures is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, costs(outcome.figures, quantities))
