"""A search for plans whose accuracy is measured, not foreseen: for what does not add up over layers, as under noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rankfold.planning.exact import Candidate, Front, LayerChoices
from rankfold.planning.search.outcome import (
    MeasuredPlan,
    SearchProgress,
    SearchResult,
    SearchSettings,
    Unwatched,
    not_dominated,
)
from rankfold.planning.search.space import SearchSpace
from rankfold.planning.search.study import check_optuna, open_study, quiet_optuna, readable, writing

if TYPE_CHECKING:
    import optuna

    from rankfold.planning.search.proposer import Proposer

STARTS = 24  # plans of the exact planner, one generation

Accuracy = Callable[[tuple[Candidate, ...]], float]


def search_plans(
    choices: Sequence[LayerChoices],
    accuracy: Accuracy,
    starts: Sequence[Sequence[Candidate]],
    settings: SearchSettings,
    progress: SearchProgress | None = None,
    identity: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Search for plans of high measured accuracy and few cycles, with NSGA-II (Deb et al. 2002).

    With a study file, several processes and machines search together: each makes the same call. One that is stopped loses no more
    than the plan that it was measuring, and the same call goes on. The starting plans are measured first, whatever `trials` says,
    so that what is found is never worse than they are, as measured. All processes choose from the candidates of the one that
    began the study: others that calibrate on another machine may find slightly different ones.

    Args:
        choices: what each layer may become.
        accuracy: measures the network in which each layer becomes one of its candidates, 0 to 1; the same ones always give the
            same number, up to the last digits of another machine.
        starts: plans to try first, such as those of `front_starts`.
        settings: how to search.
        progress: hears how far it is.
        identity: what `accuracy` depends on beside the layers and is the same on all machines, such as `PlanAccuracy.identity`;
            of numbers, texts, lists and dictionaries. Another search is refused by the study file.

    Raises:
        InputError: there is nothing to choose, a start is no plan, or the file does not allow it.
        MissingDependencyError: optuna is not installed.
    """
    check_optuna()
    space = SearchSpace.of(choices, starts)
    progress = progress or Unwatched()
    with quiet_optuna():
        from rankfold.planning.search.proposer import Proposer

        study = open_study(settings.study, _name(choices, settings, identity or {}), ["maximize", "minimize"])
        with writing(settings.study):
            space = readable(settings.study, lambda: space.shared(study))
        proposer = Proposer(space.sizes, space.starts, settings.seed, settings.trials)
        study.sampler = proposer
        progress.begin(max(settings.trials, len(space.starts)))
        try:
            while _done(study) < settings.trials or proposer.missing(study):
                plan = _try_next(study, proposer, space, accuracy, settings)
                progress.measured(_done(study), plan)
        finally:
            progress.end()
        known = {picks: MeasuredPlan(space.chosen(picks), share) for picks, share in proposer.measured(study).items()}
        return SearchResult(
            not_dominated(known.values()), tuple(known[start] for start in space.starts), _done(study), len(known)
        )


def front_starts(front: Front, most: int = STARTS) -> tuple[tuple[Candidate, ...], ...]:
    """Plans of the exact planner to start from: at most so many, spread over its front, both ends among them."""
    return tuple(front.chosen(point) for point in front.thinned(most))


def _try_next(
    study: optuna.Study, proposer: Proposer, space: SearchSpace, accuracy: Accuracy, settings: SearchSettings
) -> MeasuredPlan:
    """One trial: its plan is measured, unless it was before."""
    import optuna

    with writing(settings.study):
        trial = study.ask()
        picks = proposer.picks(trial)
        share = proposer.measured(study).get(picks)
    chosen = space.chosen(picks)
    try:
        plan = MeasuredPlan(chosen, accuracy(chosen) if share is None else share)
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    with writing(settings.study):
        study.tell(trial, [plan.accuracy, plan.cycles])
    return plan


def _done(study: optuna.Study) -> int:
    import optuna

    return len(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]))


def _name(choices: Sequence[LayerChoices], settings: SearchSettings, identity: Mapping[str, Any]) -> str:
    """A name that is the same for the same search only, on any machine: without what calibration chose."""
    layers = [[asdict(layer.dense.entry), layer.dense.cycles, bool(layer.why_dense)] for layer in choices]
    content = json.dumps({"layers": layers, "seed": settings.seed, **identity}, sort_keys=True)
    return f"rankfold-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
