"""Moments of patches, and surgery that uses them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.moments import paired_moments, patch_moments
from rankfold.errors import InputError
from rankfold.lowrank import decompose, decompose_for_data, reconstruct
from rankfold.mapping import ArraySpec
from rankfold.plan import uniform_plan
from rankfold.surgery.compress import compress_, compress_on_data_
from rankfold.workload import trace


def small(**arguments):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, **arguments),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": (2, 1), "dilation": (1, 2)},
        {"groups": 4, "padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_moments_are_those_of_the_patches(arguments, monkeypatch):
    """The output power of any weight follows from them, which holds only if patches are ordered as weights are."""
    monkeypatch.setattr("rankfold.calibration.moments.CHUNK", 5000)  # so that batches are taken in parts
    model, batches = small(**arguments), [torch.randn(5, 3, 11, 10), torch.randn(2, 3, 11, 10)]
    moments = patch_moments(model, batches, ["2"])["2"]
    conv, inputs = model[2], torch.cat([model[:2](batch) for batch in batches])
    shown = copy.deepcopy(conv)
    shown.bias = None
    power = shown(inputs).double().square().mean(dim=(0, 2, 3)).detach().numpy()
    weight = conv.weight.detach().double().numpy().reshape(conv.groups, 12 // conv.groups, -1)
    found = np.einsum("gmi,gij,gmj->gm", weight, moments.second, weight).reshape(-1)
    assert np.allclose(found, power, rtol=1e-4)
    assert moments.cross is None


def test_paired_moments_of_the_same_network_are_equal():
    model, batch = small(), torch.randn(4, 3, 9, 9)
    moments = paired_moments(model, copy.deepcopy(model), [batch], "2")
    assert np.allclose(moments.second, moments.cross)


@pytest.mark.parametrize("sequential", [False, True])
def test_factors_for_data_keep_the_output_better_than_plain_ones(sequential):
    model = small()
    inputs = torch.randn(64, 3, 9, 9) * torch.tensor([4.0, 1.0, 0.1])[:, None, None]
    plan = uniform_plan(trace(model, (3, 9, 9), "small"), ArraySpec(16, 16), 2, 3)
    model.requires_grad_(False)
    wanted = model(inputs)
    lost = {}
    for name, change in (
        ("plain", compress_),
        ("data", lambda m, p: compress_on_data_(m, p, lambda: inputs.split(16), sequential)),
    ):
        changed = copy.deepcopy(model)
        reports = change(changed, plan)
        lost[name] = float((changed(inputs) - wanted).detach().norm() / wanted.norm())
        assert [report.name for report in reports] == [layer.name for layer in plan.layers]
        for report in reports:
            assert (report.output_error is not None) == (name == "data" and report.kind == "low-rank")
    assert lost["data"] < 0.9 * lost["plain"]


@pytest.mark.parametrize("paired", [False, True])
def test_inputs_that_never_change_have_no_centred_moments(paired):
    """Not even those of rounding, from which no factors could be made; the layer is decomposed as if nothing were known."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 1))
    inputs = torch.tensor([0.3, 1e3, 0.0, 7e-4])[:, None, None].expand(50, 4, 7, 7)
    moments = (
        paired_moments(model, copy.deepcopy(model), [inputs], "0")
        if paired
        else patch_moments(model, [inputs], ["0"])["0"]
    )
    centred = moments.centred()
    assert not centred.second.any()
    assert not paired or not centred.cross.any()
    weight = model[0].weight.detach().double().numpy()
    found = decompose_for_data(weight, 1, 1, 2, centred.second, centred.cross)
    assert np.allclose(reconstruct(found, 1, 1), reconstruct(decompose(weight, 1, 1, 2), 1, 1))


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(input=x)


def test_a_convolution_that_is_called_by_keyword():
    model, batch = Keyword(), torch.randn(2, 3, 6, 6)
    plain = patch_moments(nn.Sequential(model.conv), [batch], ["0"])["0"]
    assert np.array_equal(patch_moments(model, [batch], ["conv"])["conv"].second, plain.second)


class PartlyUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.used(x)


def test_what_is_refused():
    with pytest.raises(InputError, match="layer unused never ran on the calibration data"):
        patch_moments(PartlyUsed(), [torch.randn(1, 3, 4, 4)], ["used", "unused"])
    with pytest.raises(InputError, match=r"layer 1 of the network is no nn.Conv2d"):
        patch_moments(small(), [torch.randn(1, 3, 9, 9)], ["1"])
    with pytest.raises(InputError, match="layer 2 never ran"):
        patch_moments(small(), [], ["2"])
