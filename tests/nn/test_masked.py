"""Masked convolutions: what the mask drops is zero, before and after training and quantisation."""

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.nn.masked import MaskedConv2d, masks_of
from rankfold.nn.quantised import LayerBits, QuantConv2d, replace_by_quantised_
from rankfold.training.optimiser import optimiser
from rankfold.training.recipe import Recipe


def random_mask(conv, seed=0):
    mask = np.random.default_rng(seed).random(tuple(conv.weight.shape)) < 0.5
    mask.flat[0] = True
    return mask


@pytest.mark.parametrize("bits", [None, 1, 2, 4])
def test_dropped_weights_stay_zero_through_training(bits):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, padding=1)
    mask = random_mask(conv)
    model = nn.Sequential(MaskedConv2d.from_conv(conv, mask), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 3))
    if bits is not None:
        replace_by_quantised_(model, {"0": LayerBits(bits, 8, True)})
        calibrate_(model, [torch.randn(8, 4, 5, 5)])
        assert isinstance(model[0], QuantConv2d)
    sgd = optimiser(model, Recipe(peak_rate=0.1, weight_decay=0.01))
    before = model[0].weight.detach().clone()
    for _ in range(5):
        sgd.zero_grad()
        model(torch.randn(8, 4, 5, 5)).square().mean().backward()
        assert not model[0].weight.grad[~torch.from_numpy(mask)].any()
        sgd.step()
    kept = torch.from_numpy(mask)
    assert (model[0].weight[~kept] == 0).all()
    assert (model[0].weight[kept] != before[kept]).float().mean() > 0.9
    assert (masks_of(model)["0"] == mask).all()


def test_a_masked_convolution_is_that_of_the_masked_weight():
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, padding_mode="circular").eval()
    mask = random_mask(conv)
    x = torch.randn(2, 4, 9, 9)
    other = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, padding_mode="circular")
    other.load_state_dict(conv.state_dict())
    with torch.no_grad():
        other.weight.mul_(torch.from_numpy(mask))
    pruned = MaskedConv2d.from_conv(conv, mask)
    assert pruned.weight is conv.weight and not pruned.training
    torch.testing.assert_close(pruned(x), other(x))


def test_masks_are_found_under_every_name_of_a_layer():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    mask = random_mask(conv)
    masked = MaskedConv2d.from_conv(conv, mask)
    model = nn.Sequential(masked, nn.Conv2d(4, 4, 3), masked)
    assert masks_of(model).keys() == {"0", "2"}
    assert all((kept == mask).all() for kept in masks_of(model).values())
