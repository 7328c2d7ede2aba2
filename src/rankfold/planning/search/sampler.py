"""What a search tries next: the plans it starts from, then children of the best so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.trial import FrozenTrial, Trial, TrialState

from rankfold.planning.search.space import Picks

POPULATION = 24

Distributions = dict[str, BaseDistribution]  # of each parameter, by its name


class PlanSampler(BaseSampler):
    """NSGA-II (Deb et al. 2002) over the candidates of each layer, seeded by the number of each trial.

    So a search in one process repeats exactly, one that was interrupted goes on as well as any, and
    processes that share a study draw different numbers. The starting plans belong to the first
    generation, which optuna's enqueued trials do not.

    Args:
        sizes: number of candidates of each layer.
        starts: plans to try first, as the index of each layer's candidate.
        seed: of everything drawn.
        trials: that the search shall have.
    """

    def __init__(self, sizes: Sequence[int], starts: Sequence[Picks], seed: int, trials: int) -> None:
        self.sizes = tuple(sizes)
        self.starts = tuple(starts)
        self.seed = seed
        self.trials = trials
        # A layer without a choice is no parameter of optuna's.
        self._space: Distributions = {}
        for layer, size in enumerate(sizes):
            if size > 1:
                self._space[str(layer)] = IntDistribution(0, size - 1)
        self._current: tuple[int, NSGAIISampler] | None = None

    def picks(self, trial: Trial) -> Picks:
        """The plan that a running trial shall measure."""
        picks = []
        for layer, size in enumerate(self.sizes):
            pick = 0
            if size > 1:
                pick = trial.suggest_int(str(layer), 0, size - 1)
            picks.append(pick)
        return tuple(picks)

    def measured(self, study: Study) -> dict[Picks, float]:
        """The accuracy of all plans that are measured; where two processes measured one, the first."""
        accuracies: dict[Picks, float] = {}
        for picks, trial in self._tried(study, TrialState.COMPLETE):
            accuracies.setdefault(picks, trial.values[0])
        return accuracies

    def missing(self, study: Study, *more: TrialState) -> list[Picks]:
        """The starting plans that are not measured, nor tried by a trial in one of the states `more`."""
        tried = set()
        for picks, _ in self._tried(study, TrialState.COMPLETE, *more):
            tried.add(picks)
        return [start for start in self.starts if start not in tried]

    def _tried(self, study: Study, *states: TrialState) -> Iterator[tuple[Picks, FrozenTrial]]:
        """The plans of all trials in one of `states`; one that has just begun may not know its plan yet."""
        for trial in study.get_trials(deepcopy=False, states=states):
            if len(trial.params) < len(self._space):
                continue
            picks = []
            for layer in range(len(self.sizes)):
                picks.append(trial.params.get(str(layer), 0))
            yield tuple(picks), trial

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """All layers with a choice, from the first trial on."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        """The next starting plan; after these a child of the best.

        In the first generation nothing, so that all is drawn.
        """
        # Also where a start is tried: this notes the trial's generation.
        child = self._drawing(trial).sample_relative(study, trial, search_space)
        start = self._start(study, trial)
        if start is None:
            return child
        # All layers at once, so that nothing of it is left to chance.
        return {name: start[int(name)] for name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A layer's candidate at random: in the first generation, and where a child mutates."""
        return self._drawing(trial).sample_independent(study, trial, param_name, param_distribution)

    def _start(self, study: Study, trial: FrozenTrial) -> Picks | None:
        """The starting plan that a trial shall try; None: none."""
        if trial.number < len(self.starts):
            return self.starts[trial.number]
        # Some may have been lost with a process that was stopped.
        done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        if len(done) >= self.trials:
            # At the end also those of a process that never said that it stopped.
            missing = self.missing(study)
        else:
            missing = self.missing(study, TrialState.RUNNING)
        return next(iter(missing), None)

    def _drawing(self, trial: FrozenTrial) -> NSGAIISampler:
        """The sampler of a trial, the same one until the next trial."""
        if self._current is None or self._current[0] != trial.number:
            # By the trial's number, which no other process has: the draws do not depend on who makes them.
            sequence = np.random.SeedSequence((self.seed, trial.number))
            (seed,) = sequence.generate_state(1)
            sampler = NSGAIISampler(population_size=POPULATION, seed=int(seed))
            self._current = trial.number, sampler
        return self._current[1]
