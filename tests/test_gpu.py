"""What works on a CPU works on a GPU unchanged, with the same numbers but for rounding and reads."""

import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from rankfold.cli.main import main
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import shipped
from rankfold.models.zoo import build
from rankfold.plan import uniform_plan
from rankfold.planning import best_plan
from rankfold.planning.exact import CYCLES, Budget
from rankfold.runs.evaluate import load_run
from rankfold.runs.evaluate_folder import evaluate_folder
from rankfold.simulator import NonIdealities, program_, simulate, simulated_layers
from rankfold.surgery.quantise import quantise_
from rankfold.training import captured
from rankfold.training.data import ImageData, ImageSplit, load_images
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.epochs import Training
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.training.together import Pupil, train_together
from rankfold.workload import trace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

CELLS = ArraySpec(64, 64, cell_bits=2, coding="differential", dac_bits=1)
NOISY = ["--cell-bits", "2", "--coding", "differential", "--program-noise", "0.01", "--adc-bits", "6"]
TRAINED = ["resnet8", "--data", "digits", "--batch", "64", "--device", "cuda"]


@pytest.fixture(scope="module")
def resnet20():
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    return model.eval(), replace(plan, array=CELLS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "float"
    assert main(["train", *TRAINED, "--epochs", "4", "--rate", "0.1", "--out", str(out)]) == 0
    return str(out / "model.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory, weights):
    out = tmp_path_factory.mktemp("gpu") / "run"
    low_rank = ["--array", "32x32", "--groups", "4", "--rank", "1/4", "--checkpoint", weights]
    assert main(["compress", *TRAINED, *low_rank, "--epochs", "1", "--out", str(out)]) == 0
    return out


@torch.no_grad()
def on_both(network, x):
    """Of every layer, on the inputs that it gets on the CPU: ideal accumulators, the CPU's and the GPU's."""
    there = copy.deepcopy(network).cuda()
    program_(there, 0)  # anew, from the seed that `simulate` takes
    inputs = {}
    hooks = []
    for layer in simulated_layers(network):
        hooks.append(
            layer.register_forward_pre_hook(lambda layer, values: inputs.__setitem__(layer.name, values[0]))
        )
    network(x)
    for hook in hooks:
        hook.remove()
    compared = []
    for here, gpu in zip(simulated_layers(network), simulated_layers(there), strict=True):
        given = inputs[here.name]
        moved = gpu.accumulators(given.cuda()).cpu()
        compared.append((here.ideal_accumulators(given), here.accumulators(given), moved))
    return compared


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [None, 6])
def test_arrays_count_the_same_on_both(resnet20, bits, dtype):
    """Tile by tile, with exact sums or coarse converters: the same integers, in float32 too."""
    model, plan = resnet20
    ideal_but_for_bits = simulate(model, plan, NonIdealities(adc_bits=bits, adc_range="full"))
    network = copy.deepcopy(ideal_but_for_bits).to(dtype)
    for layer in simulated_layers(network):
        layer.all_tiles = True
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    seen = on_both(network, x)
    assert len(seen) == 20
    assert all(torch.equal(cpu, gpu) for _, cpu, gpu in seen)
    assert all(torch.equal(ideal, cpu) for ideal, cpu, _ in seen) == (bits is None)


@pytest.mark.parametrize("chosen", [{"program_noise": 0.02}, {"program_noise": "pcm", "drift": 3600.0}])
def test_a_chip_is_the_same_on_both(resnet20, chosen):
    """Cells are drawn on the CPU."""
    model, plan = resnet20
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for ideal, cpu, gpu in on_both(simulate(model, plan, NonIdealities(**chosen)), x):
        error = (cpu - ideal).std()
        assert error > 0 and (gpu - cpu).abs().max() < 1e-3 * error


def test_reads_are_as_noisy_on_both(resnet20):
    """Their numbers are drawn where the network is."""
    model, plan = resnet20
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for ideal, cpu, gpu in on_both(simulate(model, plan, NonIdealities(read_noise=0.02)), x):
        first, second = ((found - ideal).std() for found in (cpu, gpu))
        assert first > 0 and 0.8 < second / first < 1.25


def test_a_run_ends_with_the_same_accuracy_on_both(run):
    gpu, cpu = (evaluate_folder(run, "digits", device=device) for device in ("cuda", "cpu"))
    assert gpu.accuracy == pytest.approx(cpu.accuracy, abs=0.01) and cpu.accuracy > 0.8
    assert json.loads((run / "result.json").read_text())["device"].startswith("NVIDIA")


@pytest.mark.parametrize("command", ["simulate", "robustness"])
def test_simulations_run(run, tmp_path, command):
    words = {
        "simulate": ["--json"],
        "robustness": ["--vary", "adc-bits=4,8", "--out", str(tmp_path / "out")],
    }[command]
    images = ["--images", "100", "--device", "cuda"]
    assert main([command, str(run), "--data", "digits", *NOISY, *images, *words]) == 0


def test_noise_aware_training_runs(weights, tmp_path):
    out = tmp_path / "aware"
    trained = ["--checkpoint", weights, "--epochs", "1", "--rate", "0.02"]
    words = ["--noise-aware", *NOISY, *trained, "--out", str(out)]
    assert main(["compress", *TRAINED, *words]) == 0
    assert evaluate_folder(out, "digits", device="cuda").accuracy > 0.8


def test_plans_are_as_good_on_both(weights):
    """Gradients differ in their last digits, and so may choices that are worth the same."""
    digits = load_images("digits")
    model = build("resnet8", 10, 1)
    apply_weights(model, read_weights(weights), weights)
    solutions = []
    for device in ("cpu", "cuda"):
        planning = best_plan(model.to(device), digits, ArraySpec(32, 32), Budget(CYCLES, 600))
        solutions.append(planning.solution)
    assert solutions[1].value == pytest.approx(solutions[0].value, rel=0.1)
    assert all(solution.total(CYCLES) <= 600 for solution in solutions)


# Steps as CUDA graphs.

CUDA = torch.device("cuda")
# Few steps: with quantisers, rounding grows by itself from step to step.
SHORT = Recipe(epochs=2, batch_size=256, peak_rate=0.05, augment="crop", precision="float32")


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def taught(digits, weights):
    """A network of 4 bits, and the one that teaches it."""
    dense = build("resnet8", 10, 1)
    apply_weights(dense, read_weights(weights), weights)
    return in_4_bits(dense, digits), Teacher(dense, Distillation())


def in_4_bits(dense, data):
    model = copy.deepcopy(dense)
    plan = uniform_plan(trace(model, data.input_size), ArraySpec(64, 64), bits=4)
    quantise_(model, plan, list(data.calibration_batches(256, torch.device("cpu"))))
    return model


def together(networks, data, recipe, teacher=None, backend=None):
    """The networks, trained beside each other, and the records of each."""
    own = [copy.deepcopy(network) for network in networks]
    ended = train_together([Pupil(model, data, recipe, teacher=teacher) for model in own], CUDA, backend)
    assert all(trained.error is None for trained in ended)
    return own, [trained.history for trained in ended]


def largest_difference(one, two):
    """Of all weights and statistics, against the size of each tensor."""
    found = 0.0
    others = two.state_dict()
    for name, value in one.state_dict().items():
        scale = value.double().abs().max().clamp(min=1e-3)
        difference = (value.double() - others[name].to(value.device).double()).abs().max()
        found = max(found, float(difference / scale))
    return found


# Largest differences of weights after a few steps by two ways of the same arithmetic, in each precision.
ROUNDING = {"float32": 0.1, "bfloat16": 0.5}


@pytest.mark.parametrize("precision", ROUNDING)
def test_recorded_steps_are_those_that_were_not(taught, digits, precision, monkeypatch):
    """The graph does what the same function does when it is called each time, with and without a teacher."""
    model, teacher = taught
    recipe = replace(SHORT, precision=precision)
    for chosen in (None, teacher):
        (recorded,), (history,) = together([model], digits, recipe, chosen)
        monkeypatch.setattr(captured, "WARM_UP", 10**9)
        (called,), (known,) = together([model], digits, recipe, chosen)
        monkeypatch.undo()
        assert largest_difference(recorded, called) < 0.1 * ROUNDING[precision]
        assert history[-1].train_loss == pytest.approx(known[-1].train_loss, rel=1e-3)


def test_compiled_quantisers_are_those_of_torch(taught, digits):
    """By Triton, inside the graph."""
    pytest.importorskip("triton")
    model, teacher = taught
    (plain,), (known,) = together([model], digits, SHORT, teacher)
    (fused,), (history,) = together([model], digits, SHORT, teacher, "inductor")
    assert history[-1].train_loss == pytest.approx(known[-1].train_loss, rel=0.01)
    assert largest_difference(fused, plain) < 0.1


@pytest.mark.parametrize(
    ("precision", "compiled"), [("float32", False), ("bfloat16", False), ("float32", True)]
)
def test_recorded_steps_are_those_of_the_ordinary_loop(taught, digits, precision, compiled):
    """Also where the whole network is compiled, and the graph is of the compiled kernels."""
    if compiled:
        pytest.importorskip("triton")
    model, teacher = taught
    recipe = replace(SHORT, precision=precision)
    (recorded,), (history,) = together([model], digits, replace(recipe, compiled=compiled), teacher)
    ordinary = copy.deepcopy(model)
    known = train(ordinary, digits, recipe, CUDA, teacher=teacher)
    for ours, theirs in zip(history, known, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=0.01)
        assert ours.rate == theirs.rate
    assert largest_difference(recorded, ordinary) < ROUNDING[precision]


def test_a_recording_follows_a_network_that_moves(taught, digits, monkeypatch):
    """Weights that are copied after each epoch, by whom it may be, are those that the next epoch trains."""
    model, _ = taught
    (kept,), _ = together([model], digits, SHORT)
    tested = Training._tested

    def moved(self, epoch):
        for parameter in self._model.parameters():
            parameter.data = parameter.data.clone()
        return tested(self, epoch)

    monkeypatch.setattr(Training, "_tested", moved)
    (followed,), _ = together([model], digits, SHORT)
    assert largest_difference(followed, kept) < 0.01


def test_networks_on_streams_are_what_each_is_alone(taught, digits):
    """Beside others, of another structure too, nothing of a network changes."""
    model, _ = taught
    other = build("resnet8", 10, 1, seed=5)
    beside, _ = together([model, other, model], digits, SHORT)
    for network, trained in zip((model, other, model), beside, strict=True):
        (alone,), _ = together([network], digits, SHORT)
        assert largest_difference(trained, alone) < 0.01


def test_a_network_that_fails_does_not_stop_the_others(digits):
    good = build("resnet8", 10, 1)
    bad = copy.deepcopy(good)
    bad.conv1.weight.data.fill_(float("nan"))
    first, second = train_together([Pupil(good, digits, SHORT), Pupil(bad, digits, SHORT)], CUDA)
    assert first.error is None and len(first.history) == 2
    assert second.error is not None and "loss became nan" in str(second.error)


@pytest.mark.parametrize(
    ("name", "networks", "batch"),
    [("resnet20", 1, 512), ("resnet20", 8, 512), ("wrn16-4", 1, 512), ("wrn16-4", 2, 256)],
)
@pytest.mark.parametrize("backend", [None, "inductor"])
def test_images_per_second(name, networks, batch, backend):
    """Of 4-bit training in bfloat16 without a teacher, in all; `-s` shows the number that is wanted."""
    random = np.random.default_rng(0)
    count = 32 * batch

    def made_up(images):
        pixels = random.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
        return ImageSplit(pixels, random.integers(0, 10, images))

    data = ImageData(
        "random",
        tuple(map(str, range(10))),
        made_up(count),
        made_up(100),
        (0.5,) * 3,
        (0.25,) * 3,
        mirror=True,
        digest="",
    )
    model = in_4_bits(build(name, 10), data)
    recipe = Recipe(epochs=3, batch_size=batch, peak_rate=0.001)
    start = time.perf_counter()
    _, histories = together([model] * networks, data, recipe, backend=backend)
    seconds = time.perf_counter() - start
    # The first epoch records; the last one only plays.
    rate = networks * count / max(history[-1].seconds for history in histories)
    what = f"{name}, {networks} networks, batches of {batch}, quantisers by {backend or 'torch'}"
    # Its last epoch too: the first chooses kernels.
    known = train(copy.deepcopy(model), data, replace(recipe, epochs=2), CUDA)[-1].images_per_second
    print(f"\n{what}: {rate:.0f} images/s, {known:.0f} by the ordinary loop, {seconds:.1f} s in all")
    assert rate > known
