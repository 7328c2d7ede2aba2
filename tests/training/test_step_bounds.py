"""Updates of step sizes are held to a factor of two."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.quantised import LayerBits, QuantLinear
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import uniform_plan
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_, quantise_, with_observed_signs
from rankfold.training.batches import Batches
from rankfold.training.data import load_images
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.training.step_bounds import StepSizes
from rankfold.workload import trace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(image_cache):
    return load_images("digits")


@pytest.mark.parametrize(("update", "left"), [(-10.0, 0.5), (-0.02, 0.98), (0.01, 1.01), (30.0, 2.0)])
def test_an_update_shrinks_or_widens_a_step_by_two_at_most(update, left):
    """In shares of the step; usual ones are left as they are, and so are all other parameters."""
    quantiser = Quantiser(8, signed=True)
    quantiser.fit_(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    network = nn.Sequential(nn.Linear(3, 3), quantiser)
    before, weight = quantiser.step.detach().clone(), network[0].weight.detach().clone()
    with StepSizes(network).bounded(), torch.no_grad():
        quantiser.step += update * before
        network[0].weight *= -10
    assert torch.allclose(quantiser.step.detach(), left * before) and torch.equal(
        network[0].weight.detach(), -10 * weight
    )


def test_a_step_that_its_updates_would_end_is_trained_on(digits):
    """Step sizes far too quick for the weights: without a bound the loss would be that of guessing."""
    model = build("resnet8", 10, 1)
    train(model, digits, Recipe(epochs=3, batch_size=64, peak_rate=0.1, augment="none"), CPU)
    plan = uniform_plan(trace(model, (1, 8, 8)), ArraySpec(32, 32), bits=4)
    compress_(model, plan)
    x = next(Batches(digits.train, digits.mean, digits.std, 256, CPU).epoch())[0]
    insert_quantisers_(model, with_observed_signs(model, plan, [x]))
    calibrate_(model, [x])
    model.conv1.weight_quantiser.step.register_hook(
        lambda gradient: gradient + 10.0
    )  # towards zero, at each update
    history = train(model, digits, Recipe(epochs=1, batch_size=64, peak_rate=0.02, augment="none"), CPU)
    assert model.conv1.weight_quantiser.step > 0 and history[-1].train_loss < 2.0


def quantised_layers():
    """A network at 8 and 4 bits, and batches."""
    draw = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
    for module in (layers[0], layers[3]):
        nn.init.normal_(module.weight, generator=draw)
        nn.init.zeros_(module.bias)
    batches = [(torch.randn(8, 3, 8, 8, generator=draw), torch.arange(8) % 64) for _ in range(5)]
    plan = uniform_plan(trace(layers, (3, 8, 8)), ArraySpec(32, 32), bits=4)
    return layers, quantise_(layers, plan, batches), batches


def steps_of(model):
    return [module.step.item() for module in model.modules() if isinstance(module, Quantiser)]


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_any_loop_is_bounded_as_ours_is(mode):
    """The same numbers with and without `StepSizes`, which hold where updates are wild."""
    found = []
    for ours in (True, False):
        model, _, batches = quantised_layers()
        model.train(mode)
        optimiser = torch.optim.SGD(model.parameters(), lr=3.0, momentum=0.9)
        sizes, wild = StepSizes(model), 0
        losses = []
        for inputs, target in batches:
            before = steps_of(model)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), target)
            loss.backward()
            with sizes.bounded() if ours else nullcontext():
                optimiser.step()
            raw = steps_of(model)
            wild += sum(not old / 2 <= new <= 2 * old for old, new in zip(before, raw, strict=True))
            losses.append(loss.item())
        assert (wild == 0) == ours  # alone, the optimiser would have left the bounds
        found.append((losses, model.state_dict()))
    (losses, ours), (others, plain) = found
    assert losses == others
    assert all(torch.equal(ours[name], plain[name]) for name in ours)


@pytest.mark.parametrize("on_arrays", [False, True], ids=["network", "arrays"])
@pytest.mark.parametrize("ours", [False, True], ids=["any loop", "ours"])
def test_a_step_that_leaves_levels_of_weights_empty_is_shortened(ours, on_arrays):
    """In training alone, and no further than to where the largest weight takes the highest level."""
    model, plan, batches = quantised_layers()
    layer, (inputs, target) = model[0], batches[0]
    steps = steps_of(model)
    with torch.no_grad():
        layer.weight_quantiser.load_state_dict({"step": 10 * layer.weight_quantiser.step})
    wide, widest = layer.weight_quantiser.scale, layer.weight.detach().abs().max() / 127
    model.eval()
    with torch.no_grad():
        model(inputs)
    assert layer.weight_quantiser.scale == wide
    trained = simulate(model, plan) if on_arrays else model
    trained.train()
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.0)
    nn.functional.cross_entropy(trained(inputs), target).backward()
    if ours:
        layer.weight_quantiser.load_state_dict({"step": wide})  # as if by the update
        with StepSizes(trained).bounded():
            optimiser.step()
    assert layer.weight_quantiser.scale == widest
    assert layer.integer_weights().abs().max() == 127
    assert steps_of(model)[1:] == steps[1:]


def test_a_step_under_which_all_levels_are_in_use_is_not_written_to():
    model, _, batches = quantised_layers()
    model.train()
    step = model[0].weight_quantiser.step
    model(batches[0][0])  # it may be shortened
    version = step._version
    for inputs, _ in batches:
        model(inputs)
    assert step._version == version


def test_a_step_is_left_alone_where_it_says_nothing_of_levels():
    """Of weights that are all zero, of a frozen step, of one bit, and of inputs."""
    for bits, frozen, size in [(8, False, 0.0), (8, True, 1.0), (1, False, 1.0)]:
        layer = QuantLinear.from_float(nn.Linear(3, 3), LayerBits(bits, 8, True))
        layer.input_quantiser.fit_(torch.ones(1))
        nn.init.constant_(layer.weight, size)
        for quantiser in (layer.weight_quantiser, layer.input_quantiser):
            quantiser.load_state_dict({"step": torch.tensor(5.0)})
        layer.weight_quantiser.step.requires_grad_(not frozen)
        layer(torch.ones(2, 3))
        assert layer.weight_quantiser.scale == layer.input_quantiser.scale == 5


def test_a_step_that_is_set_or_loaded_is_no_update():
    quantiser = Quantiser(8, signed=True)
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    quantiser.fit_(x)
    quantiser(x)
    quantiser.load_state_dict({"step": torch.tensor(100.0)})
    assert quantiser.scale == 100
    quantiser.fit_(x / 1000)
    assert quantiser.scale < 0.1


def test_the_arrays_of_a_network_share_its_bounds():
    """They share its steps: what one of them learned is not taken back by the other."""
    model, plan, batches = quantised_layers()
    inputs, target = batches[0]
    nn.functional.cross_entropy(model(inputs), target).backward()
    arrays = simulate(model, plan)
    optimiser = torch.optim.SGD(arrays.parameters(), lr=0.0)
    wanted = [step / 8 for step in steps_of(model)]
    for _ in range(3):
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, Quantiser):
                    module.step /= 2
        nn.functional.cross_entropy(arrays(inputs), target).backward()
        optimiser.step()
    model(inputs)
    assert steps_of(model) == wanted
