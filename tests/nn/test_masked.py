"""Pruned layers: the mask survives training, quantisation and files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.cost import network_cycles
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.masked import MaskedConv2d, masks_of
from rankfold.nn.quantised import LayerBits, QuantConv2d, replace_by_quantised_
from rankfold.plan import load_masks, pruned_plan
from rankfold.surgery.compress import compress_, kept_parameters, quantise_by_plan_
from rankfold.surgery.save import save_weights
from rankfold.training.loop import optimiser
from rankfold.training.recipe import Recipe
from rankfold.workload import trace

ARRAY = ArraySpec(32, 32)


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


def test_masks_are_saved_with_the_weights(tmp_path):
    model = build("resnet8", 10)
    network = trace(model, (3, 32, 32), "resnet8")
    plan = pruned_plan(network, ARRAY, "patdnn", 4, 4)
    reports = compress_(model, plan)
    masks = masks_of(model)
    assert {report.name for report in reports if report.kind == "pattern-pruned"} == set(masks)
    assert all(mask.sum() * 9 == mask.size * 4 for mask in masks.values())
    assert kept_parameters(model) == kept_parameters(build("resnet8", 10)) - sum(
        int((~mask).sum()) for mask in masks.values()
    )
    assert sum(report.parameters_before - report.parameters_after for report in reports) == sum(
        int((~mask).sum()) for mask in masks.values()
    )
    assert all(0 < report.error < 1 for report in reports if report.kind == "pattern-pruned")
    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    quantise_by_plan_(model, plan)
    save_weights(tmp_path / "model.safetensors", model)
    found = load_masks(tmp_path / "model.safetensors")
    assert found.keys() == masks.keys()
    assert all((found[name] == masks[name]).all() for name in masks)
    rebuilt = build("resnet8", 10, seed=1)
    compress_(rebuilt, plan, decompose=False)
    quantise_by_plan_(rebuilt, plan)
    rebuilt.load_state_dict(model.state_dict())
    assert all((masks_of(rebuilt)[name] == masks[name]).all() for name in masks)
    costs = network_cycles(network, plan, masks=found)
    assert costs.total["pruned-sdk"] == costs.chosen_cycles
    ideal = replace(
        plan, layers=tuple(replace(layer, steering=layer.steering and "ideal") for layer in plan.layers)
    )
    steered = network_cycles(network, ideal, masks=found)
    assert steered.total == costs.total
    assert steered.chosen_cycles == costs.total["ideal-sdk"] < costs.chosen_cycles
    with pytest.raises(
        InputError, match=r"layer layer1\.0\.conv1 is pattern-pruned: counting its cycles needs its mask"
    ):
        network_cycles(network, plan)


def test_what_cannot_be_pruned_is_refused(tmp_path):
    model = build("resnet8", 10)
    plan = pruned_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, "pairs", 4)
    model.layer1[0].conv1.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedLayerError, match=r"layer layer1\.0\.conv1 has hooks"):
        compress_(model, plan)
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    with pytest.raises(InputError, match="is truncated or damaged"):
        load_masks(tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="does not exist"):
        load_masks(tmp_path / "none.safetensors")
