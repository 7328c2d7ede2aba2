"""Finished runs that are learnt from, and what is said of the others."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.outcomes import made_up
from common.small_network import net
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.planning.forecast.curve import Curve
from rankfold.planning.forecast.finished import Unused, learn, of_run
from rankfold.planning.forecast.forecaster import Forecaster, NotLearntError
from rankfold.planning.forecast.outcome import Outcome, bits_of, kinds_of
from rankfold.planning.forecast.situation import Situation
from rankfold.runs.baseline import weights_digest
from rankfold.runs.result import Accuracies, ReconstructionResult, Result
from rankfold.training.reconstruction_recipe import BlockRecord

RUNS = Path(__file__).parents[2] / "data" / "version-0.1" / "runs"

BLOCK = BlockRecord("block", before=0.2, after=0.1, seconds=1.0)
RECONSTRUCTION = ReconstructionResult(
    images=64, steps=10, rate=0.001, before=0.5, after=0.6, seconds=1.0, blocks=(BLOCK,)
)


@pytest.fixture
def finished(tmp_path):
    """The folder of a run whose plan came with a predicted loss."""
    folder = tmp_path / "run"
    shutil.copytree(RUNS / "mixed", folder)
    plan = Plan.load(folder / "plan.json").predicting(0.3, "dense", "digits")
    plan.save(folder / "plan.json")
    result = Result.load(folder / "result.json")
    said = {"predicted_loss": 0.3, "dense_weights": "dense", "decomposition": "data", "rounding": "nearest"}
    replace(result, recipe={**result.recipe, "batch_size": 128}, **said).save(folder / "result.json")
    return folder


def test_a_finished_run_is_learnt_from(finished):
    result, plan = Result.load(finished / "result.json"), Plan.load(finished / "plan.json")
    assert of_run(finished) == Outcome(
        run="run",
        network=result.model,
        data=result.data.digest,
        weights="dense",
        bits=bits_of(plan.layers),
        kinds=kinds_of(plan.layers),
        plan=plan.prediction.of,
        loss=0.3,
        baseline=result.accuracy.baseline,
        before=result.accuracy.decomposed,
        epochs=result.recipe["epochs"],
        taught=True,
        accuracy=result.accuracy.final,
    )


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"reconstruction": RECONSTRUCTION}, "trained without labels before"),
        ({"dense_weights": None}, "of an older version"),
        ({"decomposition": None}, "of an older version"),
        ({"predicted_loss": None}, "no predicted loss for its weights and data"),
        ({"accuracy": Accuracies(None, 0.5, 0.9)}, "was not measured"),
        ({"accuracy": Accuracies(0.9, 0.5, 0.9, 0.8)}, "the noise of arrays"),
        ({"decomposition": "svd"}, "not made for the data (decomposition svd)"),
        ({"rounding": "compensated"}, "(rounding compensated)"),
        ({"epochs": 0}, "not fine-tuned"),
        ({"peak_rate": 0.2}, "peak rate (=0.2) is not within 0.05 to 0.1"),
        ({"batch_size": 32}, "batch size (=32) is not 128"),
        ({"augment": "none"}, "not augmented"),
        ({"distillation_weight": 0.5}, "the weight of its distillation (=0.5) is not 0.9"),
        ({"distillation_weight": 1.0, "distillation_labels": False}, "it was distilled without labels"),
    ],
)
def test_what_tells_nothing_is_named_with_the_reason(finished, other, why):
    result = Result.load(finished / "result.json")
    if next(iter(other)) in vars(result):
        result = replace(result, **other)
    else:
        result = replace(result, recipe={**result.recipe, **other})
    result.save(finished / "result.json")
    found = of_run(finished)
    assert isinstance(found, Unused) and found.folder == finished and why in found.why
    assert str(found).startswith(f"{finished} is not learnt from, as ")
    assert learn([finished]).unused == (found,) and not learn([finished]).own


def test_a_folder_counts_once_and_must_hold_a_run(finished, tmp_path):
    again = finished.parent / "." / "run" / ".." / "run"
    found = learn([finished, str(finished), again])
    assert list(found.own) == [finished]
    assert found.outcomes == (*found.shipped, of_run(finished))
    with pytest.raises(InputError, match="holds no finished run"):
        learn([tmp_path])


def test_runs_of_other_situations_are_named(finished, digits, monkeypatch):
    """In what they differ; and where enough is known otherwise, the forecaster keeps them."""
    plan, model, own = Plan.load(finished / "plan.json"), net(), of_run(finished)
    situation = Situation.of(model, digits, plan.model, plan.layers)
    alike = {
        "network": plan.model,
        "data": digits.digest,
        "weights": situation.weights,
        "bits": situation.bits,
    }
    assert situation.differs(replace(own, **alike)) == ""
    for name, what in (("network", "another network"), ("data", "other data"), ("bits", "other bits")):
        assert situation.differs(replace(own, **{**alike, name: "x"})).startswith(what)
    why = "it is of other dense weights"
    with pytest.raises(NotLearntError, match=f"known.*; {finished} is not learnt from, as {why}"):
        Forecaster.of_plan(plan, model, digits, runs=[finished])
    curve, draw = Curve((0.1, -0.05, -0.1, 0.3, 0.1)), np.random.default_rng(0)
    known = tuple(replace(one, **alike) for one in made_up(curve, draw, noise=0.05))
    monkeypatch.setattr("rankfold.planning.forecast.finished.shipped_outcomes", lambda: known)
    assert weights_digest(model) == situation.weights != own.weights
    forecaster = Forecaster.of_plan(plan, model, digits, runs=[finished])
    assert forecaster.unused == (Unused(finished, why),) and forecaster.known == known
