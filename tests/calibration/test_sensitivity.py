"""Predicted loss.

The exact quadratic form where there is one, finite differences elsewhere, and what is refused.
"""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankfold.calibration import backward
from rankfold.calibration.network_sensitivities import sensitivities
from rankfold.calibration.patches import patches
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.errors import InputError


def weight_of(model, name):
    return dict(model.named_modules())[name].weight.detach().double().numpy()


def drawn(scores, seed, temperature):
    """The labels that `sensitivities` draws for scores of a single batch."""
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial((scores.detach().double() / temperature).softmax(1), 1, generator=generator)[
        :, 0
    ]


def image_gradients(model, name, x, labels, temperature):
    """(B, m, ...): the weight gradient of each image's loss, by autograd, one image after another."""
    layer, found = dict(model.named_modules())[name], []
    for index in range(len(x)):
        scores = model(x[index : index + 1])
        ascent = (scores.detach() / temperature).softmax(1) - F.one_hot(
            labels[index : index + 1], scores.shape[1]
        )
        found.append(torch.autograd.grad(scores, layer.weight, ascent)[0])
    return torch.stack(found)


class Shared(nn.Module):
    """A convolution that runs twice, an activation in place, and a linear layer on tokens."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.act = nn.ReLU(inplace=True)
        self.grouped = nn.Conv2d(4, 6, (3, 2), stride=2, groups=2)
        self.tokens = nn.Linear(6, 5)
        self.windows = nn.Linear(5, 3)

    def forward(self, x):
        x = self.act(self.first(self.act(self.first(x))))
        x = self.tokens(self.grouped(x).flatten(2).transpose(1, 2))
        return self.windows(x.flatten(0, 1)).reshape(len(x), -1, 3).mean(1)


def network(seed=0):
    torch.manual_seed(seed)
    return Shared().double()


def kronecker(channels, kernel):
    """(G, C, C) and (G, P, P) -> (G, C*P, C*P)."""
    return np.stack([np.kron(c, p) for c, p in zip(channels, kernel, strict=True)])


NAMES = ("first", "grouped", "tokens", "windows")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk, largest", [(1 << 24, 2304), (700, 2304), (1 << 24, 10)])
def test_power_is_that_of_each_images_weight_gradient(name, chunk, largest, monkeypatch):
    """Gradients by autograd, one image at a time.

    What is kept is their second moment in the basis, and E[g g^T]'s trace.
    """
    monkeypatch.setattr("rankfold.calibration.curvature.CHUNK", chunk)
    monkeypatch.setattr("rankfold.calibration.curvature.LARGEST_BASIS", largest)
    model, x = network(), torch.randn(6, 4, 7, 8, dtype=torch.float64)
    found = sensitivities(model, [x], [name], seed=3, temperature=2.0)[name]
    each = image_gradients(model, name, x, drawn(model(x), 3, 2.0), 2.0).numpy()
    groups, outputs, n = found.power.shape
    each = each.reshape(len(x), groups, outputs, n)
    inputs = found.inputs[0] if len(found.inputs) == 1 else kronecker(*found.inputs)
    assert len(found.inputs) == (2 if largest == 10 and name in ("first", "grouped") else 1)
    rotated = found.outputs.swapaxes(1, 2) @ each @ inputs
    assert np.allclose(found.power, (rotated**2).mean(axis=0), rtol=1e-5, atol=1e-12)
    for basis in (found.outputs, inputs):
        assert np.allclose(basis @ basis.swapaxes(1, 2), np.eye(basis.shape[1]))
    # The trace of the curvature does not depend on the basis.
    assert found.power.sum() == pytest.approx((each**2).sum() / len(x), rel=1e-5)
    step = np.random.default_rng(0).normal(size=weight_of(model, name).shape)
    along = found.outputs.swapaxes(1, 2) @ step.reshape(groups, outputs, n) @ inputs
    wanted = np.sum(found.power * along**2) / 2
    # In float32 where the basis has two factors.
    assert predicted_loss(weight_of(model, name), weight_of(model, name) - step, found) == pytest.approx(
        wanted, rel=1e-5 if len(found.inputs) == 2 else 1e-6
    )


def test_one_layer_equals_the_exact_quadratic_form():
    """One input and one class against another.

    Curvature has a single direction, and the second order term is exact.
    """
    model = nn.Sequential(nn.Linear(1, 2, bias=False)).double()
    x = torch.full((400, 1), 1.5, dtype=torch.float64)
    found = sensitivities(model, [x], ["0"], temperature=1.0)["0"]
    weight, step = weight_of(model, "0"), np.array([[0.3], [-0.1]])
    p = model(x)[0].softmax(0).detach().numpy()
    share = drawn(model(x), 0, 1.0).double().mean().item()  # of the second class among the labels drawn
    slope = np.array([p[0] - 1, p[1]]), np.array([p[0], p[1] - 1])
    power = [(1.5 * float(step[:, 0] @ s)) ** 2 for s in slope]
    assert predicted_loss(weight, weight - step, found) == pytest.approx(
        ((1 - share) * power[0] + share * power[1]) / 2, rel=1e-9
    )
    fisher = 2.25 * step[:, 0] @ (np.diag(p) - np.outer(p, p)) @ step[:, 0] / 2
    assert predicted_loss(weight, weight - step, found) == pytest.approx(fisher, rel=0.2)


def test_small_steps_raise_the_loss_as_foreseen():
    """Finite differences on a network with convolutions.

    KL from the network's own outputs, for steps along eigenvectors.
    """
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3)
    ).double()
    x = torch.randn(3000, 2, 6, 6, dtype=torch.float64)
    before = model(x).detach().log_softmax(1)
    for name, found in sensitivities(model, x.split(500), ["0", "2"], temperature=1.0).items():
        weight = weight_of(model, name)
        order = np.argsort(found.power[0].reshape(-1))[::-1]
        for place in order[:4]:
            row, column = np.unravel_index(place, found.power[0].shape)
            step = 1e-2 * np.outer(found.outputs[0][:, row], found.inputs[0][0][:, column]).reshape(
                weight.shape
            )
            rises = []
            for sign in (1, -1):
                changed = copy.deepcopy(model)
                with torch.no_grad():
                    changed.get_submodule(name).weight.copy_(torch.from_numpy(weight + sign * step))
                    after = changed(x).log_softmax(1)
                rises.append(float((before.exp() * (before - after)).sum(1).mean()))
            assert predicted_loss(weight, weight + step, found) == pytest.approx(np.mean(rises), rel=0.1)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 10), st.integers(0, 3))
def test_scales(factor, which):
    """The prediction grows with the error squared, and stays where a factor moves to the next layer."""
    name = NAMES[which]
    model, x = (
        network(),
        torch.randn(5, 4, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    found = sensitivities(model, [x], NAMES)
    weight = weight_of(model, name)
    error = np.random.default_rng(0).normal(size=weight.shape)
    once = predicted_loss(weight, weight + error, found[name])
    assert once > 0
    assert predicted_loss(weight, weight, found[name]) == 0
    assert predicted_loss(weight, weight + factor * error, found[name]) == pytest.approx(factor**2 * once)
    scaled = copy.deepcopy(model)  # tokens and windows have only linear maps between them
    with torch.no_grad():
        scaled.tokens.weight.mul_(factor)
        scaled.tokens.bias.mul_(factor)
        scaled.windows.weight.div_(factor)
    moved = sensitivities(scaled, [x], ["tokens", "windows"])
    for layer, by in (("tokens", factor), ("windows", 1 / factor)):
        before = weight_of(model, layer)
        error = np.random.default_rng(1).normal(size=before.shape)
        wanted = predicted_loss(before, before + error, found[layer])
        assert predicted_loss(by * before, by * (before + error), moved[layer]) == pytest.approx(
            wanted, rel=1e-5
        )


def test_batches_and_state_do_not_matter():
    """However images are batched; frozen parameters; and modes, gradients and torch's random state stay."""
    model, x = network().train(), torch.randn(8, 4, 7, 8, dtype=torch.float64)
    state = torch.get_rng_state()
    whole = sensitivities(model, [x], NAMES)
    model.requires_grad_(False)
    parts = sensitivities(model, (part for part in x.split(3)), NAMES)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    for name in NAMES:
        weight = weight_of(model, name)
        error = np.random.default_rng(0).normal(size=weight.shape)
        first, second = (predicted_loss(weight, weight + error, found[name]) for found in (whole, parts))
        assert first == pytest.approx(second, rel=1e-6)
    assert whole["first"].positions == 2 * 7 * 8
    assert whole["grouped"].gradient.shape == (2, 3, 3)


def test_patches_times_weight_are_the_layer():
    model = network()
    for name, shape in (
        ("first", (2, 4, 7, 8)),
        ("grouped", (2, 4, 7, 8)),
        ("tokens", (2, 9, 6)),
        ("windows", (7, 5)),
    ):
        layer, x = model.get_submodule(name), torch.randn(*shape, dtype=torch.float64)
        found = patches(layer, x)
        weight = layer.weight.reshape(found.shape[1], -1, found.shape[2])
        outputs = (weight @ found).flatten(1, 2)
        if isinstance(layer, nn.Conv2d):
            wanted = layer(x).flatten(2)
        else:
            wanted = layer(x).reshape(len(x), -1, layer.out_features).transpose(1, 2)
        assert torch.allclose(outputs + layer.bias[:, None], wanted)


def test_what_is_refused():
    model, x = network(), torch.randn(2, 4, 7, 8, dtype=torch.float64)
    found = sensitivities(model, [x], ["first"])["first"]
    with pytest.raises(InputError, match="same shape"):
        predicted_loss(np.zeros((4, 4, 3, 3)), np.zeros((4, 4, 3, 2)), found)
    with pytest.raises(InputError, match="4 outputs"):
        predicted_loss(np.zeros((4, 2, 3, 3)), np.zeros((4, 2, 3, 3)), found)
    with pytest.raises(InputError, match="give at least one batch"):
        sensitivities(model, [], ["first"])
    with pytest.raises(InputError, match="temperature"):
        sensitivities(model, [x], ["first"], temperature=0)
    with pytest.raises(InputError, match=r"outputs \(=scores:3\) are over dimension 3"):
        sensitivities(model, [x], ["first"], outputs="scores:3")
    with pytest.raises(InputError, match="no nn"):
        sensitivities(model, [x], ["act"])


class ByName(nn.Module):
    """A network that is called with its inputs by name, one of which is no image."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, pixels, scale):
        return self.inner(pixels * scale[:, None, None, None])


def test_inputs_by_name_and_by_position_are_as_one_tensor():
    torch.manual_seed(0)
    inner, x = Shared().eval(), torch.randn(6, 4, 9, 8)
    scale = torch.linspace(0.5, 1.5, 6)
    (alone,) = sensitivities(inner, [x * scale[:, None, None, None]], ["grouped"]).values()
    for inputs in ({"pixels": x, "scale": scale}, (x, scale)):
        (given,) = sensitivities(ByName(inner), [inputs], ["inner.grouped"]).values()
        np.testing.assert_allclose(given.gradient, alone.gradient, rtol=1e-9)
        np.testing.assert_allclose(given.power, alone.power, rtol=1e-6)
        assert given.positions == alone.positions


@pytest.mark.parametrize("images", [1, 3])
def test_what_is_kept_for_the_way_back_does_not_change_what_is_found(monkeypatch, images):
    """A batch goes back in parts where all of it would keep too much: the same labels, the same sums."""
    torch.manual_seed(0)
    model, batches = Shared(), [torch.randn(7, 4, 6, 6), torch.randn(2, 4, 6, 6)]
    names = ["first", "grouped"]
    whole = sensitivities(model, batches, names)
    kept = []

    def outputs(_module, _inputs, output):
        kept.append(output.numel())

    every = [*names, "tokens", "windows"]  # also those that are not asked for
    hooks = [model.get_submodule(name).register_forward_hook(outputs) for name in every]
    model(batches[0][:1])
    for hook in hooks:
        hook.remove()
    monkeypatch.setattr(backward, "KEPT", images * sum(kept))
    seen = []
    model.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    for name, found in sensitivities(model, batches, names).items():
        np.testing.assert_allclose(found.gradient, whole[name].gradient, rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(found.power.sum(), whole[name].power.sum(), rtol=1e-4)
        np.testing.assert_allclose(found.moments.second, whole[name].moments.second, atol=1e-6)
        assert found.positions == whole[name].positions
    assert max(seen) == images
