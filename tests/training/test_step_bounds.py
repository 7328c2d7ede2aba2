"""Updates of step sizes are held to a factor of two."""

import pytest
import torch
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_, open_signs
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
    names = open_signs(plan)
    seen = observe_signs(model, [x], names.values())
    insert_quantisers_(model, plan.with_signs({name: seen[module] for name, module in names.items()}))
    calibrate_(model, [x])
    model.conv1.weight_quantiser.step.register_hook(
        lambda gradient: gradient + 10.0
    )  # towards zero, at each update
    history = train(model, digits, Recipe(epochs=1, batch_size=64, peak_rate=0.02, augment="none"), CPU)
    assert model.conv1.weight_quantiser.step > 0 and history[-1].train_loss < 2.0
