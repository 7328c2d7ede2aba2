"""A search problem whose accuracies are made up, and what a study of it holds."""

import math

from rankfold.plan import LayerPlan, LowRankLayer
from rankfold.planning.exact import Candidate, LayerChoices
from rankfold.planning.search.result import MeasuredPlan
from rankfold.planning.search.search import search_plans
from rankfold.planning.search.settings import SearchSettings
from rankfold.progress import Silent
from rankfold.workload import ConvShape

RANKS = (1, 2, 4, 8)


def choices_of(layers):
    """Layers that may become rank 1, 2, 4 or 8, and were dense only before."""
    choices = []
    for layer in range(layers):
        shape = ConvShape(f"conv{layer}", 8, 8, (3, 3), (8, 8))
        dense = Candidate(LayerPlan(shape.name), 50, 1, None, 9)
        each = []
        for rank in RANKS:
            entry = LayerPlan(shape.name, LowRankLayer(1, rank))
            each.append(Candidate(entry, (layer % 6 + 1) * rank, 1, None, 9, 1 / rank))
        choices.append(LayerChoices(shape, dense, tuple(each)))
    return choices


LAST = Candidate(LayerPlan("fc"), 5, 1, None, 9)
CLASSIFIER = LayerChoices(ConvShape("fc", 8, 8, (1, 1), (1, 1)), LAST, (LAST,), "classifier")
CHOICES = [*choices_of(6), CLASSIFIER]


def ranks_of(chosen):
    """The ranks of the layers that have one."""
    return [one.entry.kind.rank for one in chosen if isinstance(one.entry.kind, LowRankLayer)]


def accuracy(chosen):
    """Not additive: a loss counts less where others lose more, and that of the worst layer counts twice."""
    ranks = ranks_of(chosen)
    assert len(chosen) == len(CHOICES)
    return math.prod(1 - 0.3 / rank for rank in ranks) * (0.8 + 0.2 * min(ranks) / 8)


def chosen_of(picks):
    """The candidates with these indices."""
    return tuple(layer.candidates[pick] for layer, pick in zip(CHOICES, picks, strict=True))


STARTS = [
    chosen_of(picks)
    for picks in ((0,) * 7, (3, 3, 3, 3, 3, 3, 0), (1, 1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1, 0))
]


def search(trials, study=None, seed=0, starts=(), measure=accuracy, progress=None, identity=None):
    """A search of `CHOICES`."""
    settings = SearchSettings(trials, study, seed)
    return search_plans(CHOICES, measure, starts, settings, progress=progress, identity=identity)


def trials_in(path):
    """All trials of the study in a file, in their order."""
    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def measured_in(path):
    """The plans of all trials that were measured, in their order; one that came again, again."""
    plans = []
    for trial in trials_in(path):
        if trial.state.name == "COMPLETE":
            picks = [trial.params.get(str(layer), 0) for layer in range(len(CHOICES))]
            plans.append(MeasuredPlan(chosen_of(picks), trial.values[0]))
    return plans


class Hears(Silent):
    """Keeps what a search tells of its progress."""

    def __init__(self):
        self.begun, self.details, self.done, self.ended = [], [], 0, 0

    def begin(self, what, total, unit="images"):
        self.begun.append((what, total, unit))

    def advance(self, count=1, detail=""):
        self.done += count
        self.details.append(detail)

    def end(self, summary=""):
        self.ended += 1
