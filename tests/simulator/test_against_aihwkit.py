"""An independent check: the same network in aihwkit-lightning (IBM), with the same tiles and noise.

Both split a layer's rows into tiles of R, add Gaussian noise to the sums of each tile, and round and clip
them. aihwkit-lightning takes the range of a tile from its largest weight, so every tile here holds a weight
of the largest magnitude.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.quantisers import calibrate_
from rankfold.mapping import ArraySpec
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import uniform_plan
from rankfold.simulator import NonIdealities, simulate, simulated_layers
from rankfold.surgery.quantise import insert_quantisers_, with_observed_signs
from rankfold.training.data import ImageData, load_images
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.workload import trace

aihwkit = pytest.importorskip("aihwkit_lightning")

ROWS = 48  # divides the rows of every layer but the first, which has 9
HIGH = 2 ** (6 - 1) - 1  # codes of a 6-bit converter
RANGE = 3.01  # cells fully driven and fully on; no whole sum lies in the middle of two codes


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        )


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_images("digits")


@pytest.fixture(scope="module")
def quantised(digits):
    """A 4-bit network on digits, its plan and the test images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small()
    train(model, digits, Recipe(epochs=4, batch_size=64, peak_rate=0.2, augment="none"), torch.device("cpu"))
    plan = uniform_plan(trace(model, (1, 8, 8)), ArraySpec(ROWS, 64), bits=4, mapping="im2col")
    mean, std = digits.mean[0], digits.std[0]

    def images(split):
        return (torch.from_numpy(np.array(split.images)).permute(0, 3, 1, 2).float() / 255 - mean) / std

    x = images(digits.train)[:500]
    plan = with_observed_signs(model, plan, [x])
    insert_quantisers_(model, plan)
    calibrate_(model, [x])
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, QuantConv2d):
                rows = layer.weight.flatten(1).clone()
                rows[0, ::ROWS] = layer.weight_quantiser.low * layer.weight_quantiser.scale
                layer.weight.copy_(rows.view(layer.weight.shape))
    return model.eval(), plan, images(digits.test), torch.from_numpy(digits.test.labels)


def twin(model, noise):
    """The network with aihwkit-lightning's convolutions."""
    from aihwkit_lightning.nn.modules.conv import AnalogConv2d
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    found = copy.deepcopy(model)
    for number, layer in enumerate(found):
        if not isinstance(layer, QuantConv2d):
            continue
        config = TorchInferenceRPUConfig()
        config.mapping.max_input_size = ROWS
        ranges = config.pre_post.input_range
        ranges.enable, ranges.learn_input_range, ranges.init_from_data, ranges.decay = True, False, 0, 0.0
        tiles = -(-layer.in_channels * 9 // ROWS)
        config.forward.out_bound, config.forward.out_res = RANGE, 2 * HIGH
        config.forward.out_noise = noise * tiles**0.5  # it divides by the root of the tiles
        plain = nn.Conv2d(layer.in_channels, layer.out_channels, 3, layer.stride, layer.padding, bias=False)
        with torch.no_grad():
            plain.weight.copy_(layer.weight_quantiser(layer.weight))
        analog = AnalogConv2d.from_digital(plain, config)
        quantiser = layer.input_quantiser
        largest = max(-quantiser.low, quantiser.high)
        analog.input_range.data.fill_(float(largest * quantiser.scale))
        found[number] = nn.Sequential(layer.input_quantiser, analog)
    found.eval()
    for module in found.modules():
        if isinstance(module, AnalogConv2d):
            module.training = True  # it adds noise in no other mode
    return found


def ours(model, plan, noise, seed=0):
    chosen = NonIdealities(adc_bits=6, adc_range=RANGE, output_noise=noise)
    return simulate(model, plan, chosen, digital=["11"], seed=seed)


@torch.no_grad()
def layer_errors(model, network, x):
    """For each convolution, fed with the ideal run's input: its error over the ideal output's deviation."""
    errors, hooks = {}, []
    places = [number for number, layer in enumerate(model) if isinstance(layer, QuantConv2d)]
    for number in places:

        def look(_, inputs, output, number=number):
            errors[number] = (network[number](inputs[0]) - output) / output.std()

        hooks.append(model[number].register_forward_hook(look))
    with evaluating(model):
        model(x)
    for hook in hooks:
        hook.remove()
    return errors


def test_converters_agree_code_by_code(quantised):
    """Without noise both are deterministic; only rounding next to the middle of two codes may differ."""
    model, plan, x, labels = quantised
    network, other = ours(model, plan, 0.0), twin(model, 0.0)
    mine, theirs = layer_errors(model, network, x), layer_errors(model, other, x)
    for number in mine:
        differ = (mine[number] - theirs[number]).abs() > 1e-4
        assert mine[number].abs().max() > 1e-3  # the converters are coarse enough to be seen
        assert differ.double().mean() < 2e-3
    with torch.no_grad():
        agree = (network(x).argmax(1) == other(x).argmax(1)).double().mean()
        assert agree > 0.99
        assert (model(x).argmax(1) == labels).double().mean() > 0.8
    assert all(
        not layer.arrays[size].is_exact(layer.converter(size))
        for layer in simulated_layers(network)
        for size in layer.arrays
    )


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_errors_and_accuracies_agree_statistically(quantised, noise):
    """Moments of each layer's error within 4 standard errors of a difference, accuracies of 4 binomial."""
    model, plan, x, labels = quantised
    network, other = ours(model, plan, noise), twin(model, noise)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        mine, theirs = layer_errors(model, network, x), layer_errors(model, other, x)
        for number in mine:
            a, b = mine[number].double(), theirs[number].double()
            # Errors of one output channel share its tiles' converters but not their noise; count pixels as
            # independent.
            count, deviation = a.numel(), float(a.std())
            assert abs(float(a.mean() - b.mean())) < 4 * deviation * (2 / count) ** 0.5
            assert float(a.std() / b.std()) == pytest.approx(1, abs=4 * (1 / count) ** 0.5)
        repeats = 5
        accuracy = [0.0, 0.0]
        with torch.no_grad():
            for _ in range(repeats):
                for place, found in enumerate((network, other)):
                    accuracy[place] += float((found(x).argmax(1) == labels).double().mean()) / repeats
    share = sum(accuracy) / 2
    assert abs(accuracy[0] - accuracy[1]) < 4 * (2 * share * (1 - share) / (repeats * len(x))) ** 0.5
