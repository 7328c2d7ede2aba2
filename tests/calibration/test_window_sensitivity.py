"""How sensitive the loss is to the matrices of windows: by autograd on a network that computes windows."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.backward import LayerRun
from rankfold.calibration.moments import PixelMoments
from rankfold.calibration.network_sensitivities import network_sensitivities, sensitivities
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.calibration.windows import WindowView
from rankfold.mapping.window_cover import PlanePart
from rankfold.nn.window import WindowConv2d

SIDES = st.integers(1, 4)


class Twice(nn.Module):
    """A strided convolution, and one in groups that runs twice, with a padding of its own values."""

    def __init__(self):
        super().__init__()
        self.strided = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(4, 4, (3, 2), padding="same", groups=2, padding_mode="reflect")
        self.scores = nn.Linear(4, 3)

    def forward(self, x):
        x = self.grouped(torch.tanh(self.grouped(torch.tanh(self.strided(x)))))
        return self.scores(x.mean((2, 3)))


@given(SIDES, SIDES, st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 2]))
def test_gradients_by_window_are_put_in_place_as_outputs_are(a, b, height, width, groups):
    """And those beyond the plane are zero."""
    conv = nn.Conv2d(2, 4, 1, groups=groups)
    gradient = torch.randn(3, 4, height, width)
    run = WindowView.of(conv, (a, b)).run(LayerRun(conv, torch.zeros(3, 2, height, width), gradient))
    by_window = run.gradient.unflatten(2, (-(-height // a), -(-width // b)))
    placed = WindowConv2d(conv, (a, b)).placed(by_window, (height, width))
    assert torch.equal(placed, gradient)
    assert run.gradient.square().sum().item() == pytest.approx(gradient.square().sum().item(), rel=1e-5)


def image_gradients(model, name, x, seed, temperature):
    """(B, N m, C_in/G, ph, pw) of each image's loss over the matrix, of which the bias of each output takes
    the mean back; one image after another.
    """
    scores = model(x).detach()
    chance = (scores.double() / temperature).softmax(1)
    labels = torch.multinomial(chance, 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    ascents = chance - F.one_hot(labels, scores.shape[1])
    matrix, found = model.get_submodule(name).matrix, []
    for index in range(len(x)):
        scores = model(x[index : index + 1])
        found.append(torch.autograd.grad(scores, (matrix.weight, matrix.bias), ascents[index : index + 1]))
    slopes, shifts = (torch.stack(one).numpy() for one in zip(*found, strict=True))
    return slopes, shifts


@pytest.mark.parametrize(("name", "window"), [("strided", (2, 2)), ("strided", (3, 1)), ("grouped", (2, 3))])
def test_losses_of_windows_are_those_of_autograd(name, window):
    """On planes of 4x5 and 8x10 pixels: some windows reach over the edge."""
    torch.manual_seed(0)
    model = Twice().double()
    x = torch.randn(9, 2, 8, 10, dtype=torch.float64)
    found = network_sensitivities(model, [x[:4], x[4:]], [name], {name: [window]}, seed=3, temperature=2.0)
    known = found.windows[name][window]
    alone = network_sensitivities(model, [x[:4], x[4:]], [name], {}, seed=3, temperature=2.0)
    assert predicted_loss_of_layer(found, name) == pytest.approx(
        predicted_loss_of_layer(alone, name), rel=1e-6
    )
    # The same function, of which autograd can tell the slope over the matrix.
    windows = copy.deepcopy(model)
    windows.set_submodule(name, WindowConv2d.from_conv(model.get_submodule(name), window))
    assert torch.allclose(windows(x), model(x))
    slopes, shifts = image_gradients(windows, name, x, 3, 2.0)
    groups, outputs, inputs = known.power.shape
    slopes = slopes.reshape(len(x), groups, outputs, inputs)
    # Each output's bias takes the mean back over the windows that have it.
    means = np.zeros((groups * outputs, inputs))
    everywhere = PixelMoments(np.ones(window[0] * window[1], bool), known.moments, 1.0)
    for part in known.moments.by_pixel or (everywhere,):
        own = part.outputs(len(means), groups)
        means[own] = np.repeat(part.moments.mean, own.sum() // groups, axis=0)
    centred = slopes - shifts.reshape(len(x), groups, outputs, 1) * means.reshape(groups, outputs, inputs)
    rotated = known.outputs.swapaxes(1, 2) @ centred @ known.inputs[0]
    assert np.allclose(known.power, (rotated**2).mean(axis=0), rtol=1e-5, atol=1e-14)
    # Along one direction of the basis nothing is neglected: it is 1/2 E[(sum over windows g^T D x)^2].
    weight = windows.get_submodule(name).weight.detach().numpy()
    for place in np.argsort(known.power.reshape(-1))[::-5]:
        group, row, column = np.unravel_index(place, known.power.shape)
        change = np.zeros((groups, outputs, inputs))
        change[group] = np.outer(known.outputs[group][:, row], known.inputs[0][group][:, column])
        direct = np.square((centred * change).sum(axis=(1, 2, 3))).mean() / 2
        predicted = predicted_loss(weight, weight - change.reshape(weight.shape), known)
        assert predicted == pytest.approx(direct, rel=1e-5, abs=1e-14)


def predicted_loss_of_layer(found, name):
    """Of no weight at all."""
    known = found.layers[name]
    weight = np.ones((known.power.shape[0] * known.power.shape[1], known.power.shape[2]))
    return predicted_loss(weight, 0 * weight, known)


def test_a_window_of_one_pixel_is_the_layer():
    """But for the means of its inputs, which its bias takes back."""
    torch.manual_seed(1)
    model = Twice().double()
    x = torch.randn(7, 2, 8, 10, dtype=torch.float64)
    layer = sensitivities(model, [x], ["grouped"])["grouped"]
    pixel = network_sensitivities(model, [x], ["grouped"], {"grouped": [(1, 1)]}).windows["grouped"][1, 1]
    assert np.allclose(pixel.gradient, layer.gradient)
    assert np.allclose(pixel.moments.second, layer.moments.second)
    assert pixel.positions == layer.positions


def test_a_part_that_is_the_plane_is_as_sensitive_as_its_windows():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    torch.manual_seed(0)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(3 * 25, 4)).eval()
    images = torch.randn(16, 2, 5, 5)
    part = PlanePart((0, 0), (5, 5), (2, 3))
    found = network_sensitivities(model, [images], ["0"], {"0": [(2, 3), part]}).windows["0"]
    whole, own = found[2, 3], found[part]
    np.testing.assert_allclose(own.moments.second, whole.moments.second, rtol=1e-6)
    np.testing.assert_allclose(own.gradient, whole.gradient, rtol=1e-6)
    np.testing.assert_allclose(own.power, whole.power, rtol=1e-4, atol=1e-9)
    assert own.positions == whole.positions == 6
