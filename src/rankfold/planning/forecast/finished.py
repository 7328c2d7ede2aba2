"""`learn`: finished runs as outcomes to learn from, and why others tell nothing.

A predicted loss says what training leaves only where the network was made and trained as those that it is
held against: of the dense weights and data that it was predicted for, with weights made for the data, by the
recipe of `compress` but for epochs, seed, teacher and a rate in the range of the runs on record. Any other
run is named with its reason, and not learnt from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold import run_files
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.plan.prediction import decisions
from rankfold.planning.forecast.outcome import Outcome, bits_of, kinds_of, shipped_outcomes
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING
from rankfold.runs.result import Result

if TYPE_CHECKING:
    from rankfold.planning.forecast.situation import Situation

RATES = 0.05, 0.1  # peak learning rates of the outcomes that come with the package
ALIKE = ("batch_size", "warmup", "momentum", "weight_decay", "label_smoothing")  # of all recipes


@dataclass(frozen=True)
class Unused:
    """A run that is not learnt from.

    Attributes:
        folder: of the run.
        why: it tells nothing, to go on with after "as".
    """

    folder: Path
    why: str

    def __str__(self) -> str:
        return f"{self.folder} is not learnt from, as {self.why}"


@dataclass(frozen=True)
class Learnt:
    """What there is to learn from.

    Attributes:
        shipped: outcomes that come with the package.
        own: those of finished runs, by their folders.
        unused: runs that tell nothing of any network.
    """

    shipped: tuple[Outcome, ...]
    own: dict[Path, Outcome]
    unused: tuple[Unused, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """All of them."""
        return (*self.shipped, *self.own.values())

    def unused_for(self, situation: Situation) -> tuple[Unused, ...]:
        """Finished runs that tell nothing of one situation."""
        others = ((folder, situation.differs(outcome)) for folder, outcome in self.own.items())
        return (*self.unused, *(Unused(folder, f"it is of {what}") for folder, what in others if what))


def learn(runs: Iterable[str | Path] = ()) -> Learnt:
    """What comes with the package, and finished runs; a folder that is named twice counts once.

    Raises:
        InputError: a folder holds no finished run.
    """
    own: dict[Path, Outcome] = {}
    unused: list[Unused] = []
    seen: set[Path] = set()
    for folder in map(Path, runs):
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        found = of_run(folder)
        if isinstance(found, Unused):
            unused.append(found)
        else:
            own[folder] = found
    return Learnt(shipped_outcomes(), own, tuple(unused))


def of_run(folder: str | Path) -> Outcome | Unused:
    """The outcome of a finished run, or why there is none to learn from.

    Raises:
        InputError: the folder holds no finished run.
    """
    folder = Path(folder)
    if not (folder / run_files.RESULT).exists():
        raise InputError(f"{folder} holds no finished run (no {run_files.RESULT}) to learn from")
    result, plan = Result.load(folder / run_files.RESULT), Plan.load(folder / run_files.PLAN)
    why = next(_obstacles(result), None)
    if why is not None:
        return Unused(folder, why)
    accuracies = result.accuracy
    # There is an obstacle where one of them is missing.
    assert result.predicted_loss is not None and result.dense_weights is not None
    assert accuracies.baseline is not None and accuracies.decomposed is not None
    return Outcome(
        run=folder.name,
        network=result.model,
        data=result.data.digest,
        weights=result.dense_weights,
        bits=bits_of(plan.layers),
        kinds=kinds_of(plan.layers),
        plan=decisions(plan.layers),
        loss=result.predicted_loss,
        baseline=accuracies.baseline,
        before=accuracies.decomposed,
        epochs=result.recipe["epochs"],
        taught=bool(result.recipe.get("distillation_weight", 0)),
        accuracy=accuracies.final,
    )


def _obstacles(result: Result) -> Iterator[str]:
    """Why a run is not learnt from, one after the other."""
    if not result.recipe["epochs"]:
        yield "it was not fine-tuned"
    if result.dense_weights is None or result.decomposition is None:
        yield "its result is of an older version, which does not say how weights were made"
    if result.predicted_loss is None:
        yield (
            "its plan has no predicted loss for its weights and data (plans have none where layers have bits "
            "of their own, were edited, or were planned for another checkpoint)"
        )
    if result.accuracy.baseline is None or result.accuracy.decomposed is None:
        yield "the accuracy of its dense network, or that before fine-tuning, was not measured"
    if result.decomposition != "data":
        yield f"its weights were not made for the data (decomposition {result.decomposition})"
    if result.rounding != "nearest":
        yield f"its weights were not rounded to the nearest level (rounding {result.rounding})"
    if result.accuracy.arrays is not None:
        yield "it was trained with the noise of arrays"
    if result.reconstruction is not None:
        yield "it was trained without labels before fine-tuning"
    yield from _other_training(result.recipe)


def _other_training(recipe: dict[str, object]) -> Iterator[str]:
    """In what a recipe differs from those on record."""
    usual = asdict(FINE_TUNING)
    for name in ALIKE:
        if recipe[name] != usual[name]:
            yield f"its {name.replace('_', ' ')} (={recipe[name]}) is not {usual[name]}"
    low, high = RATES
    rate = recipe["peak_rate"]
    if not isinstance(rate, float | int) or not low <= rate <= high:
        yield f"its peak rate (={rate}) is not within {low:g} to {high:g}"
    if recipe["augment"] == "none":
        yield "its images were not augmented"
    # Recipes say so only where it is not as usual.
    if not recipe.get("distillation_labels", True):
        yield "it was distilled without labels"
    elif recipe.get("distillation_weight", 0):
        usual_shares = {"weight": DISTILLATION.weight, "temperature": DISTILLATION.temperature}
        for name, value in usual_shares.items():
            own = recipe[f"distillation_{name}"]
            if own != value:
                yield f"the {name} of its distillation (={own}) is not {value:g}"
