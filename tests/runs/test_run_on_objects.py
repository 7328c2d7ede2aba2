"""`run` and `train_network` on networks, images and plans that somebody has in hand."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.little_network import net
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.progress import Silent
from rankfold.runs import steps
from rankfold.runs.baseline import StoredWeights, TrainedWeights, dense_weights, weights_digest
from rankfold.runs.choices import RunChoices
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.evaluate import evaluate, load_run
from rankfold.runs.evaluate_folder import evaluate_folder
from rankfold.runs.prepare import prepare
from rankfold.runs.recipes import effective
from rankfold.runs.run import run
from rankfold.runs.state import RunNotes, traced
from rankfold.runs.train import train_network
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.saving import save_weights
from rankfold.training.batches import Batches
from rankfold.training.data import load_images
from rankfold.training.distillation import Distillation
from rankfold.training.recipe import Recipe

MODEL = "common.little_network:net"
TUNING = Recipe(epochs=2, batch_size=128, peak_rate=0.05)


@pytest.fixture(scope="module")
def data(image_cache):
    return load_images("digits")


@pytest.fixture(scope="module")
def plan(data):
    return uniform_plan(
        traced(net(), data, MODEL), ArraySpec(32, 32), LowRank(rank="1/2", force=True), bits=4
    )


@pytest.fixture(scope="module")
def dense(data, tmp_path_factory):
    """A network that knows its digits a little, and the folder that it was trained into."""
    folder = tmp_path_factory.mktemp("dense")
    recipe = Recipe(epochs=3, batch_size=64, peak_rate=0.2)
    train_network(net(), data, recipe, out=folder, name=MODEL, array=ArraySpec(32, 32), device="cpu")
    model, _, _ = load_run(folder, trust_code=True)
    return model, folder


@pytest.fixture(scope="module")
def finished(data, plan, dense, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = run(dense[0], data, plan, TUNING, out=folder, device="cpu", notes=RunNotes("by hand"))
    return folder, result


def test_a_run_quantises_for_the_cells_that_it_is_priced_for(data, plan, dense, tmp_path):
    """Not those of the plan; and it is another run, which does not go on with checkpoints of the first."""
    model, _ = dense
    sram = replace(plan.machine, name="sram", technology="sram-22nm")
    run(model, data, plan, replace(TUNING, epochs=0), out=tmp_path, device="cpu", hardware=sram)
    network, settled, _ = load_run(tmp_path, trust_code=True)
    layers = simulated_layers(simulate(network, settled, sram))
    assert layers and not any(layer.saturated for layer in layers)
    assert all(layer.narrow_weights for layer in settled.layers if layer.quantised)
    with pytest.raises(InputError, match="already holds a different run"):
        run(model, data, plan, replace(TUNING, epochs=0), out=tmp_path, device="cpu", resume=True)
    # Components that are given by themselves are what is priced.
    state = prepare(model, data, plan, TUNING, RunChoices(energy=EnergyOptions("sram-22nm")))
    assert state.plan.layers[1].narrow_weights
    state = prepare(model, data, plan, TUNING, RunChoices(energy=EnergyOptions("rram-22nm"), hardware=sram))
    assert not state.plan.layers[1].narrow_weights


class Interrupted(Silent):
    """Is interrupted at the beginning of one part, and remembers what it was told."""

    def __init__(self, at=None):
        self.at, self.parts, self.notes = at, [], []

    def begin(self, what, total, unit="images"):
        self.parts.append(what)
        if what == self.at:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


def test_the_network_stays_as_it_is_and_its_weights_are_where_the_run_begins(data, dense, finished):
    model, _ = dense
    before = weights_digest(model)
    folder, result = finished
    assert weights_digest(model) == before
    assert result.baseline == "given with the network"
    assert result.accuracy.baseline == evaluate(model, data)
    assert result.command == "by hand"
    assert evaluate_folder(folder, "digits", trust_code=True).accuracy == result.accuracy.final
    assert json.loads((folder / "run.json").read_text())["identity"]["baseline"] == before


def test_the_rounding_belongs_to_the_run(data, plan, dense, finished, tmp_path):
    untrained = replace(TUNING, epochs=0)
    made = run(dense[0], data, plan, untrained, out=tmp_path, device="cpu", rounding="compensated")
    assert made.accuracy.decomposed != finished[1].accuracy.decomposed
    with pytest.raises(InputError, match=r"already holds a different run \(other rounding\)"):
        run(dense[0], data, plan, untrained, out=tmp_path, device="cpu", resume=True)
    model, _, _ = load_run(tmp_path, trust_code=True)
    for layer in model.modules():
        if isinstance(layer, QuantConv2d):
            assert torch.equal(layer.weight, layer.to_dense().weight)


def test_an_interrupted_run_ends_with_the_numbers_of_one_that_was_not(data, plan, dense, finished, tmp_path):
    _, wanted = finished
    with pytest.raises(KeyboardInterrupt):
        run(dense[0], data, plan, TUNING, out=tmp_path, device="cpu", progress=Interrupted("fine-tuning 2/2"))
    rest = Interrupted()
    result = run(dense[0], data, plan, TUNING, out=tmp_path, device="cpu", resume=True, progress=rest)
    assert rest.parts == ["fine-tuning 2/2"]
    assert (result.run, result.accuracy, result.layers) == (wanted.run, wanted.accuracy, wanted.layers)
    again = Interrupted("fine-tuning 1/2")
    assert (
        run(dense[0], data, plan, TUNING, out=tmp_path, device="cpu", resume=True, progress=again) == result
    )
    assert again.notes[-1] == "this run is already complete"


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"recipe": replace(TUNING, epochs=3)}, "recipe"),
        ({"decomposition": "svd"}, "decomposition"),
        ({"distillation": None}, "distillation"),
        ({"name": "another"}, "model"),
        ({"baseline": TrainedWeights()}, "baseline"),
    ],
)
def test_a_folder_of_another_run_is_refused(change, other, data, plan, dense, finished):
    settings = {"recipe": TUNING, "device": "cpu", **change}
    with pytest.raises(
        InputError, match=rf"already holds a different run \(other .*{other}.*\); use another folder"
    ):
        run(dense[0], data, plan, out=finished[0], resume=True, **settings)


def test_other_weights_are_another_run(data, plan, finished):
    with pytest.raises(InputError, match=r"a different run \(other baseline\)"):
        run(net(), data, plan, TUNING, out=finished[0], resume=True, device="cpu")


def test_the_same_run_needs_resume(data, plan, dense, finished):
    with pytest.raises(InputError, match="already holds this run; give resume=True"):
        run(dense[0], data, plan, TUNING, out=finished[0], device="cpu")


def test_what_does_not_go_together_is_refused_before_anything_is_written(data, plan, dense, tmp_path):
    model, _ = dense
    out = tmp_path / "out"
    for message, settings in {
        r"decomposition \(=qr\) must be one of": {"decomposition": "qr"},
        r"batch size \(=2000\) is larger than the 1433": {"recipe": Recipe(batch_size=2000)},
        "adc .*nonsense": {"energy": EnergyOptions(adc="nonsense")},
        "checkpoint .* does not exist": {"baseline": StoredWeights(tmp_path / "none.safetensors")},
        "device `sofa` is not available": {"device": "sofa"},
    }.items():
        with pytest.raises(InputError, match=message):
            run(model, data, plan, out=out, **{"device": "cpu", **settings})
    with pytest.raises(InputError, match="the plan is for another network"):
        run(build("resnet8", 10, 1), data, plan, out=out, device="cpu")
    assert not out.exists()
    # The weights of another network.
    other = torch.nn.Sequential(net(), torch.nn.Identity())
    save_weights(tmp_path / "other.safetensors", other)
    with pytest.raises(InputError, match="is for another network: it lacks"):
        run(model, data, plan, out=out, baseline=StoredWeights(tmp_path / "other.safetensors"), device="cpu")
    assert not out.exists()


def test_the_steps_alone_do_what_a_run_does(data, plan, dense, finished):
    _, wanted = finished
    state = prepare(dense[0], data, plan, TUNING, RunChoices(device="cpu"))
    steps.start(state)
    steps.decompose(state)
    steps.quantise(state)
    assert state.accuracies == {
        "baseline": wanted.accuracy.baseline,
        "decomposed": wanted.accuracy.decomposed,
    }
    assert state.plan == Plan.load(finished[0] / "plan.json")
    steps.fine_tune(state)
    steps.evaluate(state)
    assert state.accuracies["final"] == wanted.accuracy.final
    assert [epoch.epoch for epoch in state.history] == [1, 2]


def test_accuracy_is_the_same_of_images_and_of_any_batches_of_them(data, finished):
    model, _, result = load_run(finished[0], trust_code=True)
    batches = Batches(data.test, data.mean, data.std, 100, torch.device("cpu"))
    assert evaluate(model, data) == result.accuracy.final
    pairs = list(batches.epoch())
    assert evaluate(model, pairs) == result.accuracy.final
    by_name = [({"input": images}, classes) for images, classes in pairs]
    assert evaluate(model, by_name) == result.accuracy.final
    with pytest.raises(InputError, match=r"give pairs \(inputs, target\)"):
        evaluate(model, [images for images, _ in pairs])
    with pytest.raises(InputError, match="there is no batch"):
        evaluate(model, [])


def test_where_weights_come_from(data, tmp_path):
    assert dense_weights("resnet8", data, tmp_path / "a").origin == f"checkpoint {tmp_path / 'a'}"
    trained = dense_weights("resnet8", data, None, Recipe(epochs=7))
    assert trained.origin == "trained for 7 epochs"
    run_recipe = Recipe(seed=3, precision="float32")
    assert trained.for_run(run_recipe, data) == TrainedWeights(
        Recipe(epochs=7, seed=3, precision="float32", augment="crop")
    )
    cifar = replace(data, classes=CIFAR, train=replace(data.train, images=IMAGES))
    assert dense_weights("resnet20", cifar).origin == "shipped resnet20-cifar10-float"


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES = torch.zeros(4, 32, 32, 3, dtype=torch.uint8).numpy()


def test_recipes_for_data(data):
    assert data.fitted(Recipe()).augment == "crop"
    assert replace(data, mirror=True).fitted(Recipe()).augment == "crop-flip"
    assert effective(Distillation(), Recipe(epochs=0)) is None
    assert effective(Distillation(0.0), Recipe()) is None
    assert effective(Distillation(0.5), Recipe()) == Distillation(0.5)


def test_a_run_that_lacks_a_file_is_named(finished, tmp_path):
    with pytest.raises(InputError, match=r"run folder .* does not exist"):
        load_run(tmp_path / "none")
    with pytest.raises(InputError, match="holds no finished run"):
        load_run(tmp_path)
    (tmp_path / "plan.json").touch()
    with pytest.raises(InputError, match=r"plan\.json is a file; give the folder of a finished run"):
        load_run(tmp_path / "plan.json")
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_run(folder, trust_code=True)


def test_a_run_has_one_name_in_its_result_and_its_plan(data, plan):
    traced_without_name = replace(plan, model="network")
    named = prepare(net(), data, traced_without_name, TUNING, RunChoices(name=MODEL, device="cpu"))
    # Commands build the network of a folder by the name in its plan, `load_run` by that in its result.
    assert named.plan.model == named.network.name == MODEL
    unnamed = prepare(net(), data, traced_without_name, TUNING, RunChoices(device="cpu"))
    assert unnamed.plan.model == unnamed.network.name == "network"


def test_a_network_of_fully_connected_layers_alone(data, tmp_path):
    """They count where there is nothing else, in training, quantisation and what is recorded of both."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    array = ArraySpec(32, 32)
    short = replace(TUNING, epochs=1)
    trained = train_network(
        layers, data, short, out=tmp_path / "dense", name="mlp", array=array, device="cpu"
    )
    plan = uniform_plan(traced(layers, data, "mlp"), array, bits=4)
    found = run(layers, data, plan, short, out=tmp_path / "quantised", device="cpu")
    # 2 row tiles of 64 inputs, and one array for the second layer.
    assert trained.planned_cycles == found.planned_cycles == 3
    assert trained.energy.energy > 0
