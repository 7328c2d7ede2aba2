"""A search for plans whose accuracy is measured: for what does not add up over layers, as under noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankfold.planning.exact import Candidate, Front, LayerChoices
from rankfold.planning.search.backend import check_optuna, quiet_optuna
from rankfold.planning.search.identity import search_name
from rankfold.planning.search.journal import open_study, readable, writing
from rankfold.planning.search.result import MeasuredPlan, SearchResult, not_dominated
from rankfold.planning.search.settings import SearchSettings
from rankfold.planning.search.space import SearchSpace
from rankfold.progress import Progress, Silent
from rankfold.training.metric import in_words

if TYPE_CHECKING:
    import optuna

    from rankfold.planning.search.sampler import PlanSampler

STARTS = 24  # plans of the exact planner, one generation

Accuracy = Callable[[tuple[Candidate, ...]], float]


def search_plans(
    choices: Sequence[LayerChoices],
    accuracy: Accuracy,
    starts: Sequence[Sequence[Candidate]],
    settings: SearchSettings,
    *,
    progress: Progress | None = None,
    identity: Mapping[str, Any] | None = None,
    metric: str = "",
) -> SearchResult:
    """Search for plans of high measured accuracy and few cycles, with NSGA-II (Deb et al. 2002).

    With a study file, several processes and machines search together: each makes the same call. One that
    is stopped loses no more than the plan that it was measuring, and the same call goes on. The starting
    plans are measured first, whatever `trials` says, so that what is found is never worse than they are,
    as measured. All processes choose from the candidates of the one that began the study: others that
    calibrate on another machine may find slightly different ones.

    Args:
        choices: what each layer may become.
        accuracy: measures the network in which each layer becomes one of its candidates, 0 to 1; the same
            ones always give the same number, up to the last digits of another machine.
        starts: plans to try first, such as those of `front_starts`.
        settings: how to search.
        progress: hears how far it is.
        identity: what `accuracy` depends on beside the layers and is the same on all machines, such as
            `PlanAccuracy.identity`; of numbers, texts, lists and dictionaries. Another search is refused
            by the study file.
        metric: what `accuracy` measures, to tell of it; empty: top-1 accuracy.

    Raises:
        InputError: there is nothing to choose, a start is no plan, or the file does not allow it.
        MissingDependencyError: optuna is not installed.
    """
    check_optuna()
    own = SearchSpace.of(choices, starts)
    progress = progress or Silent()
    with quiet_optuna():
        from rankfold.planning.search.sampler import PlanSampler

        name = search_name(choices, settings.seed, identity or {})
        study = open_study(settings.study, name, ["maximize", "minimize"])
        # The space of the process that began the study, which may be another machine's.
        with writing(settings.study):
            space = readable(settings.study, lambda: own.shared(study))
        sampler = PlanSampler(space.sizes, space.starts, settings.seed, settings.trials)
        study.sampler = sampler
        search = _Search(study, sampler, space, accuracy, settings, metric)
        search.run(progress)
        return search.result()


def front_starts(front: Front, most: int = STARTS) -> tuple[tuple[Candidate, ...], ...]:
    """Plans of the exact planner to start from: at most so many, spread over its front with both ends."""
    return tuple(front.chosen(point) for point in front.thinned(most))


class _Search:
    """A search in an open study.

    Args:
        study: the study.
        sampler: proposes plans.
        space: that the plans are of.
        accuracy: measures them.
        settings: how long to search.
        metric: what it measures.
    """

    def __init__(
        self,
        study: optuna.Study,
        sampler: PlanSampler,
        space: SearchSpace,
        accuracy: Accuracy,
        settings: SearchSettings,
        metric: str,
    ) -> None:
        self.study, self.sampler, self.space = study, sampler, space
        self.accuracy, self.settings = accuracy, settings
        self.metric = metric

    def run(self, progress: Progress) -> None:
        """Try plans until there are as many as wanted, and all starting plans are measured."""
        plans = max(self.settings.trials, len(self.space.starts))
        progress.begin("search", plans, "plans")
        told = 0
        try:
            # Starts are measured whatever the number of trials is.
            while self._done() < self.settings.trials or self.sampler.missing(self.study):
                plan = self._try_next()
                words = f"{plan.cycles:,} cycles {in_words(plan.accuracy, self.metric)}"
                # Those of other processes and of earlier calls too.
                done = self._done()
                progress.advance(done - told, words)
                told = done
        finally:
            progress.end()

    def result(self) -> SearchResult:
        """What the study holds, of all processes."""
        known = {}
        for picks, accuracy in self.sampler.measured(self.study).items():
            known[picks] = MeasuredPlan(self.space.chosen(picks), accuracy)
        front = not_dominated(known.values())
        starts = tuple(known[start] for start in self.space.starts)
        return SearchResult(front, starts, self._done(), len(known))

    def _try_next(self) -> MeasuredPlan:
        """One trial: its plan is measured, unless it was before."""
        import optuna

        with writing(self.settings.study):
            trial = self.study.ask()
            picks = self.sampler.picks(trial)
            accuracy = self.sampler.measured(self.study).get(picks)
        chosen = self.space.chosen(picks)
        if accuracy is None:
            try:
                accuracy = self.accuracy(chosen)
            except BaseException:
                # Also of Ctrl-C: others, and later calls, do not wait for this plan.
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
        plan = MeasuredPlan(chosen, accuracy)
        with writing(self.settings.study):
            self.study.tell(trial, [plan.accuracy, plan.cycles])
        return plan

    def _done(self) -> int:
        """Trials that are measured, of all processes."""
        import optuna

        states = [optuna.trial.TrialState.COMPLETE]
        trials = self.study.get_trials(deepcopy=False, states=states)
        return len(trials)
