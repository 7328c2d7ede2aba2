"""The training loop, and the weights that travel with the package."""

import json

import pytest
import torch

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import SHIPPED, shipped, shipped_baseline
from rankfold.models.zoo import build
from rankfold.nn.quantised import calibrate_, observe_signs
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import uniform_plan
from rankfold.runs.evaluate import evaluate_folder
from rankfold.surgery.compress import compress_, open_signs, quantise_by_plan_
from rankfold.training.batches import Batches
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import load_images
from rankfold.training.loop import choose_device, evaluate, optimiser, resolve_precision, train
from rankfold.training.recipe import Recipe
from rankfold.training.step_bounds import StepSizes
from rankfold.workload import trace

CPU = torch.device("cpu")
SHORT = Recipe(epochs=2, batch_size=128, peak_rate=0.1, augment="crop")


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


def trained(digits, recipe, **options):
    model = build("resnet8", 10, 1, seed=recipe.seed)
    return model, train(model, digits, recipe, CPU, **options)


def test_the_same_seed_gives_the_same_weights(digits):
    state = torch.get_rng_state()
    (one, history), (two, again) = trained(digits, SHORT), trained(digits, SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    assert [record.train_loss for record in history] == [record.train_loss for record in again]
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    other, _ = trained(digits, Recipe(epochs=2, batch_size=128, augment="crop", seed=1))
    assert not torch.equal(one.fc.weight, other.fc.weight)


def test_training_learns_digits(digits):
    model, history = trained(digits, Recipe(epochs=8, batch_size=64, peak_rate=0.2, augment="crop"))
    assert history[-1].test_accuracy == evaluate(model, digits.test, digits, CPU) > 0.9
    assert history[-1].train_loss < history[0].train_loss
    assert [record.epoch for record in history] == list(range(1, 9))


class _Stop(Exception):
    pass


class _StopAfter:
    """A watcher that breaks off after some epochs."""

    def __init__(self, epochs):
        self.epochs, self.begun = epochs, []

    def epoch_begins(self, epoch, epochs, images):
        self.begun.append(epoch)

    def batch_done(self, images):
        pass

    def epoch_ends(self, record):
        if record.epoch == self.epochs:
            raise _Stop


def test_a_resumed_run_ends_with_the_same_weights(digits, tmp_path):
    recipe = Recipe(epochs=3, batch_size=128, augment="crop")
    whole, _ = trained(digits, recipe)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "run")
    with pytest.raises(_Stop):
        trained(digits, recipe, checkpoint=checkpoint, watcher=_StopAfter(2))
    watcher = _StopAfter(99)
    parts, history = trained(digits, recipe, checkpoint=checkpoint, watcher=watcher)
    assert watcher.begun == [3]
    assert len(history) == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_loss_that_explodes_is_one_sentence(digits):
    with pytest.raises(InputError, match=r"the loss became (nan|inf) in epoch \d; use a lower peak rate than 1000000"):
        trained(digits, Recipe(epochs=2, batch_size=128, peak_rate=1e6, augment="none", precision="float32"))


def test_no_epochs_leave_the_weights(digits):
    model, history = trained(digits, Recipe(epochs=0))
    assert history == ()
    assert torch.equal(model.fc.weight, build("resnet8", 10, 1, seed=0).fc.weight)


def test_only_matrices_decay():
    model = build("resnet8", 10)
    decaying, free = optimiser(model, SHORT).param_groups
    assert decaying["weight_decay"] == SHORT.weight_decay
    assert free["weight_decay"] == 0
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in free["params"]} == {1}


def test_evaluation_keeps_the_mode(digits):
    model = build("resnet8", 10, 1)
    model.train()
    evaluate(model, digits.test, digits, CPU)
    assert model.training


def test_devices_and_precisions():
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="device `abacus` is not available here"):
        choose_device("abacus")
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("auto", CPU) in ("float32", "bfloat16")


def test_shipped_baseline_is_for_cifar10_only():
    classes = tuple(json.loads((shipped(SHIPPED[0]).folder / "result.json").read_text())["data"]["classes"])
    found = shipped_baseline("resnet20", classes, (3, 32, 32))
    assert found is not None
    assert found.weights.is_file()
    assert shipped_baseline("resnet32", classes, (3, 32, 32)) is None
    assert shipped_baseline("resnet20", classes[::-1], (3, 32, 32)) is None
    assert shipped_baseline("resnet20", classes, (3, 64, 64)) is None


@pytest.mark.parametrize(("name", "least"), [("resnet20-cifar10-float", 0.915), ("resnet20-cifar10-4bit", 0.91)])
def test_shipped_weights_reach_their_card(cifar10, name, least):
    """On the 10,000 test images. Another processor may add in another order, and so differ in a few images."""
    found = evaluate_folder(shipped(name).folder, cifar10, "cpu")
    assert found.same_data
    assert found.accuracy >= least
    assert found.accuracy == pytest.approx(found.reported, abs=5e-4)


@pytest.mark.parametrize(("update", "left"), [(-10.0, 0.5), (-0.02, 0.98), (0.01, 1.01), (30.0, 2.0)])
def test_an_update_shrinks_or_widens_a_step_by_two_at_most(update, left):
    """In shares of the step; usual ones are left as they are, and so are all other parameters."""
    quantiser = Quantiser(8, signed=True)
    quantiser.fit_(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), quantiser)
    before, weight = quantiser.step.detach().clone(), network[0].weight.detach().clone()
    with StepSizes(network).bounded(), torch.no_grad():
        quantiser.step += update * before
        network[0].weight *= -10
    assert torch.allclose(quantiser.step.detach(), left * before) and torch.equal(network[0].weight.detach(), -10 * weight)


def test_a_step_that_its_updates_would_end_is_trained_on(digits):
    """Step sizes that are far too quick for the weights: without a bound the loss would be that of guessing."""
    model = build("resnet8", 10, 1)
    train(model, digits, Recipe(epochs=3, batch_size=64, peak_rate=0.1, augment="none"), CPU)
    plan = uniform_plan(trace(model, (1, 8, 8)), ArraySpec(32, 32), bits=4)
    compress_(model, plan)
    x = next(Batches(digits.train, digits.mean, digits.std, 256, CPU).epoch())[0]
    names = open_signs(plan)
    seen = observe_signs(model, [x], names.values())
    quantise_by_plan_(model, plan.with_signs({name: seen[module] for name, module in names.items()}))
    calibrate_(model, [x])
    model.conv1.weight_quantiser.step.register_hook(lambda gradient: gradient + 10.0)  # towards zero, at each update
    history = train(model, digits, Recipe(epochs=1, batch_size=64, peak_rate=0.02, augment="none"), CPU)
    assert model.conv1.weight_quantiser.step > 0 and history[-1].train_loss < 2.0
