"""Whole runs in steps: budgets are kept, one step is `best_plan` and `run`, and stopped runs go on."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from rankfold.cost import network_cycles
from rankfold.cost.cycles import by_text
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.planning import anneal, best_plan
from rankfold.planning.exact import Budget
from rankfold.progress import Silent
from rankfold.runs import steps as run_steps
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.evaluate import load_run
from rankfold.runs.folder import load_history
from rankfold.runs.result import Result
from rankfold.runs.run import run
from rankfold.runs.state import traced
from rankfold.surgery.again import changed_layers
from rankfold.training.recipe import Recipe

ARRAY = ArraySpec(32, 32)
MODEL = "common.small_network:net"
RECIPE = Recipe(epochs=2, batch_size=64, peak_rate=0.05, precision="float32", augment="none")
BUDGET = Budget.parse("cycles", "45%")
KINDS = ["window"]


@pytest.fixture(scope="module")
def data(digits):
    return replace(digits, train=digits.train.sample(128, 0), test=digits.test.sample(64, 0))


def annealed(model, data, folder, **options):
    given = {"steps": 2, "recipe": RECIPE, "kinds": KINDS, "images": 32, "name": MODEL, "device": "cpu"}
    return anneal(model, data, ARRAY, BUDGET, out=folder, **{**given, **options})


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("annealed") / "run"
    return folder, annealed(model, data, folder)


class Interrupted(Silent):
    """Is interrupted when a part begins for the so many-th time."""

    def __init__(self, at, times=1):
        self.at, self.left = at, times

    def begin(self, what, total, unit="images"):
        self.left -= what == self.at
        if what == self.at and self.left == 0:
            raise KeyboardInterrupt


def test_every_step_keeps_its_budget(model, data, whole):
    folder, result = whole
    network = traced(model, data, MODEL)
    best = by_text(network_cycles(network, Plan.load(folder / "plan-1.json"), ("best",)).total)["best"]
    counted = []
    for number, step in enumerate(result.steps, start=1):
        plan = Plan.load(folder / f"plan-{number}.json")
        cycles = network_cycles(network, plan).chosen_cycles
        assert cycles == step.planned["cycles"] <= step.budgets["cycles"]
        assert step.budgets["cycles"] == pytest.approx(best * 0.45 ** (number / 2))
        counted.append(cycles)
    assert counted == sorted(counted, reverse=True)
    assert result.planned_cycles == counted[-1] < counted[0]
    assert [step.epochs for step in result.steps] == [1, 1]
    assert result.steps[-1].after == result.accuracy.final
    # Later steps lose something: they go on from networks that are compressed already.
    assert any(step.changed and step.predicted_loss > 0 for step in result.steps[1:])
    assert [record.epoch for record in load_history(folder / "history.csv")] == [1, 2]
    assert not list(folder.glob("*.pt"))


def test_the_result_is_a_run_like_others(whole):
    folder, result = whole
    assert Result.load(folder / "result.json") == result
    _, plan, _ = load_run(folder, trust_code=True)
    stored = load_file(folder / "model.safetensors")
    counted = [
        value
        for name, value in stored.items()
        if "running" not in name and "tracked" not in name and not name.endswith(("step", "mask"))
    ]
    dropped = sum(int((~value).sum()) for name, value in stored.items() if name.endswith("mask"))
    assert result.parameters_after == sum(value.numel() for value in counted) - dropped
    for layer in result.layers:
        assert layer.layer_kind == plan.layer(layer.name).kind
    assert result.parameters_before > sum(layer.parameters_before for layer in result.layers) / 2


@pytest.mark.parametrize(
    ("at", "times"),
    [("step 2/2, fine-tuning 1/1", 1), ("candidates", 2)],
    ids=["in training", "in planning again"],
)
def test_a_stopped_run_ends_as_one_that_was_not(model, data, whole, tmp_path, at, times):
    folder, result = whole
    with pytest.raises(KeyboardInterrupt):
        annealed(model, data, tmp_path / "run", progress=Interrupted(at, times))
    again = annealed(model, data, tmp_path / "run", resume=True)
    for name in ("model.safetensors", "plan.json", "plan-1.json", "plan-2.json"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes(), name
    assert again.steps == result.steps and again.accuracy == result.accuracy
    assert again.layers == result.layers and again.parameters_after == result.parameters_after


def test_errors_are_all_against_dense_weights(whole):
    folder, result = whole
    first, last = (Plan.load(folder / f"plan-{number}.json") for number in (1, 2))
    later = {layer.name for layer in changed_layers(first, last)}
    assert later
    for layer in result.layers:
        known = layer.layer_kind.changes_weight and layer.name not in later
        assert (layer.error is not None) == (layer.output_error is not None) == known


def test_energy_is_planned_as_the_result_counts_it(model, data, tmp_path):
    energy = EnergyOptions(adc_bits=4, mux=1)
    recipe = replace(RECIPE, epochs=0)
    options = {"steps": [0], "recipe": recipe, "images": 32, "device": "cpu", "distillation": None}
    budget = Budget.parse("energy", "70%")
    result = anneal(model, data, ARRAY, budget, out=tmp_path, energy=energy, kinds=KINDS, **options)
    assert result.steps[0].planned["energy"] == pytest.approx(result.energy.energy)


@pytest.mark.parametrize(
    ("kinds", "cycles", "begun"),
    [(["window"], 1, 0), (["window", "support"], 40, 1)],
    ids=["by costs alone", "by the first plan"],
)
def test_budgets_out_of_reach_leave_the_folder_free(model, data, tmp_path, monkeypatch, kinds, cycles, begun):
    started = []
    monkeypatch.setattr(run_steps, "start", started.append)
    few = Budget.parse("cycles", str(cycles))
    options = {"recipe": RECIPE, "steps": 2, "kinds": kinds, "images": 8, "device": "cpu"}
    with pytest.raises(InputError, match=f"no plan has at most {cycles} cycle"):
        anneal(model, data, ARRAY, few, out=tmp_path, **options)
    assert len(started) == begun
    assert not list(tmp_path.iterdir())


def test_one_step_is_a_plan_and_a_run_by_it(model, data, tmp_path):
    one = annealed(model, data, tmp_path / "one", steps=1, recipe=replace(RECIPE, epochs=1))
    network = traced(model, data, MODEL)
    found = best_plan(model, data, ARRAY, BUDGET, kinds=KINDS, images=32, network=network)
    recipe = replace(RECIPE, epochs=1)
    two = run(model, data, found.plan, recipe, out=tmp_path / "two", name=MODEL, device="cpu")
    assert one.accuracy == two.accuracy and one.layers == two.layers and one.energy == two.energy
    for name in ("model.safetensors", "plan.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    # A run of one plan says nothing of steps.
    assert "steps" not in json.loads((tmp_path / "two" / "result.json").read_text())


def test_steps_without_training_between_are_steps_too(model, data, tmp_path):
    recipe = replace(RECIPE, epochs=0)
    result = annealed(model, data, tmp_path, steps=[0, 0], recipe=recipe)
    assert [step.after for step in result.steps] == [step.before for step in result.steps]
    assert result.accuracy.final == result.steps[-1].after


def test_mistakes_are_refused_before_any_work(model, data, tmp_path):
    out = tmp_path / "none"
    with pytest.raises(InputError, match="annealing needs budgets that the last plan keeps"):
        anneal(model, data, ARRAY, out=out)
    with pytest.raises(InputError, match="5 steps need an epoch each, and there are 2 in all"):
        annealed(model, data, out, steps=5)
    with pytest.raises(InputError, match="kinds has 'nothing'"):
        annealed(model, data, out, kinds=["nothing"])
    assert not out.exists()


def test_another_number_of_steps_is_another_run(model, data, whole):
    folder, _ = whole
    with pytest.raises(InputError, match=r"already holds a different run \(other annealing\)"):
        annealed(model, data, folder, steps=[0, 2], resume=True)
    with torch.no_grad():
        assert annealed(model, data, folder, resume=True) == whole[1]
