"""Constant errors of replaced layers: which batch norm takes them, and that none is left."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.correction import correct_, following_norms
from rankfold.calibration.layer_moments import paired_moments, patch_moments
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.on_data import compress_on_data_
from rankfold.workload import trace


class Wired(nn.Module):
    """One convolution, one norm, and what `way` says in between."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.conv, self.norm, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x)
        if self.way == "used twice":
            return self.norm(y) + y.relu()
        if self.way == "given back too":
            return {"out": [self.norm(y)], "raw": y}
        if self.way == "changed first":
            return self.norm(y + 0)
        if self.way == "changed in place":
            y[:, :, 0] = 1
        if self.way == "a norm for two":
            return self.norm(y) + self.norm(self.other(x))
        if self.way == "not at all":
            return y
        if self.way == "asked for its shape":
            return self.norm(y).reshape(y.shape[0], y.size(1), -1)
        return self.norm(y)


@pytest.mark.parametrize("way", ["directly", "asked for its shape"])
def test_a_norm_that_follows_is_found(way):
    model = Wired(way).train()
    before = copy.deepcopy(model.state_dict())
    assert following_norms(model, [torch.randn(2, 3, 6, 6)], ["conv", "other"]) == {"conv": "norm"}
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "way",
    ["used twice", "given back too", "changed first", "changed in place", "a norm for two", "not at all"],
)
def test_a_norm_that_is_not_alone_is_not_taken(way):
    assert following_norms(Wired(way), [torch.randn(2, 3, 6, 6)], ["conv"]) == {}


def test_norms_of_linear_layers():
    vectors = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    assert following_norms(vectors, [torch.randn(3, 5)], ["0"]) == {"0": "1"}
    assert (
        following_norms(vectors, [torch.randn(3, 4, 5)], ["0"]) == {}
    )  # its norm is over the second axis, not the last
    bare = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False))
    assert following_norms(bare, [torch.randn(3, 5)], ["0"]) == {}


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_mean_and_variance_are_those_of_the_dense_layer(paired, bias, normed):
    """Any replacement.

    Behind the norm (or the bias alone) the outputs have the dense layer's mean on the calibration data.
    """
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, groups=2, bias=bias), nn.BatchNorm2d(6)
    dense = nn.Sequential(conv, norm) if normed else nn.Sequential(conv)
    inputs = torch.randn(16, 4, 8, 8) * 2 + 1
    dense.train()
    norm.momentum = None
    dense(inputs)  # the norm's statistics are those of these inputs
    dense.eval()
    changed = copy.deepcopy(dense)
    seen = inputs * 1.5 if paired else inputs
    # A network whose earlier layers give something else: here the scaling.
    first, second = nn.Sequential(nn.Identity(), dense), nn.Sequential(Scaled(1.5), changed)
    name = "1.0"
    moments = (
        paired_moments(second, first, [inputs], name)
        if paired
        else patch_moments(first, [inputs], [name])[name]
    )
    before = conv.weight.detach().clone()
    with torch.no_grad():
        changed[0].weight.copy_(before + 0.3 * torch.randn_like(before))
    correct_(changed[0].bias, changed[1] if normed else None, before, changed[0].weight, moments)
    with torch.no_grad():
        wanted, found = dense(inputs), changed(seen)
    if bias or normed:
        assert torch.allclose(found.mean(dim=(0, 2, 3)), wanted.mean(dim=(0, 2, 3)), atol=1e-4)
    if normed:
        assert torch.allclose(found.var(dim=(0, 2, 3)), wanted.var(dim=(0, 2, 3)), rtol=1e-2)


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_silent_outputs_keep_their_variance():
    norm, conv = nn.BatchNorm2d(2), nn.Conv2d(3, 2, 1, bias=False)
    moments = patch_moments(nn.Sequential(conv), [torch.randn(2, 3, 4, 4)], ["0"])["0"]
    with torch.no_grad():
        conv.weight[0] = 0
    correct_(None, norm, conv.weight, conv.weight / 2, moments)
    assert norm.running_var.tolist() == pytest.approx([1.0, 0.25])


@pytest.mark.parametrize("paired", [False, True])
def test_outputs_that_fall_silent_keep_the_variance_of_the_norm(paired):
    """They are constant wherever the mean lies.

    A variance of nothing would make an error of it 300 times as large.
    """
    torch.manual_seed(0)
    norm, conv = nn.BatchNorm2d(2), nn.Conv2d(3, 2, 1, bias=False)
    model, inputs = nn.Sequential(conv), torch.randn(2, 3, 4, 4)
    moments = (
        paired_moments(model, copy.deepcopy(model), [inputs], "0")
        if paired
        else patch_moments(model, [inputs], ["0"])["0"]
    )
    after = conv.weight.detach().clone()
    after[0] = 0
    correct_(None, norm, conv.weight, after, moments)
    wanted = float(conv(inputs)[:, 1].detach().var(unbiased=False)) if paired else 1.0
    assert norm.running_var.tolist() == pytest.approx([1.0, wanted], rel=1e-4)


@pytest.mark.parametrize("sequential", [False, True])
def test_factors_for_data_leave_no_constant_error(sequential):
    """Inputs far from zero mean.

    The corrected network keeps its output better than with the same factors left as they are.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
    )
    inputs = torch.randn(64, 3, 9, 9) + 2
    model.train().requires_grad_(False)
    for _ in range(200):
        model(inputs)
    wanted = model.eval()(inputs)
    plan = uniform_plan(
        trace(model, (3, 9, 9), "small"), ArraySpec(16, 16), LowRank(rank=2, groups=2, force=True)
    )
    lost = {}
    for name, change in (
        ("svd", compress_),
        ("data", lambda m, p: compress_on_data_(m, p, inputs.split(16), sequential=sequential)),
    ):
        changed = copy.deepcopy(model)
        change(changed, plan)
        found = changed(inputs).detach()
        lost[name] = float((found - wanted).norm() / wanted.norm())
        shift = (found - wanted).mean(dim=(0, 2, 3))
    assert lost["data"] < 0.7 * lost["svd"]
    if sequential:  # the last layer takes back what all before it have left
        assert np.allclose(shift, 0, atol=1e-5)
