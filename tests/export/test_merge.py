"""Merged networks: plain layers that compute the same, with weights that fit the original network."""

import copy

import pytest
import torch
from torch import nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.export.dense import merge
from rankfold.mapping import ArraySpec
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.quantised import LayerBits, QuantConv2d
from rankfold.plan import LowRank, SharedSupport, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.workload import trace

IMAGE = (3, 16, 16)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.Flatten(),
        nn.Linear(12 * 49, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )


def compressed(method, bits=None):
    """The network after compression, and quantisation where there are bits."""
    model = network()
    plan = uniform_plan(trace(model, IMAGE), ArraySpec(32, 32), method, bits=bits)
    compress_(model, plan)
    if bits is not None:
        insert_quantisers_(model, plan.with_signs({layer.name: True for layer in plan.layers}))
        calibrate_(model, [torch.randn(32, *IMAGE)])
    return model.eval()


def test_it_computes_the_same_and_fits_the_original():
    model = compressed(LowRank(groups=2, rank=3, linear=True, force=True))
    before = copy.deepcopy(model.state_dict())
    merged = merge(model)
    assert isinstance(model[2], LowRankConv2d)
    assert type(merged[2]) is nn.Conv2d and type(merged[4]) is nn.Linear
    x = torch.randn(4, *IMAGE)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-4, atol=1e-5)
    network().load_state_dict(merged.state_dict())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_quantised_one_has_the_rounded_weights():
    model = compressed(LowRank(groups=2, rank=3, force=True), bits=4)
    merged = merge(model)
    assert {type(module) for module in merged} == {nn.Conv2d, nn.Linear, nn.ReLU, nn.Flatten}
    first = model[0]
    torch.testing.assert_close(merged[0].weight, first.weight_quantiser(first.weight))
    reduce, expand = (stage.weight_quantiser(stage.weight) for stage in (model[2].reduce, model[2].expand))
    left, right = expand[:, :, 0, 0].reshape(12, 2, 3), reduce.reshape(2, 3, -1)
    product = torch.einsum("mgr,grn->mgn", left, right).reshape(12, 8, 3, 3)
    torch.testing.assert_close(merged[2].weight, product)


@pytest.mark.parametrize("bits", [None, 2])
def test_dropped_positions_stay_zero(bits):
    model = compressed(SharedSupport(entries=2), bits=bits)
    mask = model[2].mask
    merged = merge(model)
    assert type(merged[2]) is nn.Conv2d and not mask.all()
    assert (merged[2].weight[~mask] == 0).all()
    x = torch.randn(4, *IMAGE)
    if bits is None:
        torch.testing.assert_close(merged(x), model(x))


def test_a_layer_under_two_names_stays_one():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    plan = uniform_plan(trace(model, (4, 8, 8)), ArraySpec(32, 32), bits=4)
    insert_quantisers_(model, plan.with_signs({layer.name: True for layer in plan.layers}))
    calibrate_(model, [torch.randn(2, 4, 8, 8)])
    merged = merge(model)
    assert type(merged[0]) is nn.Conv2d and merged[0] is merged[2]


def test_a_network_that_is_one_layer_is_merged_too():
    layer = QuantConv2d.from_float(nn.Conv2d(2, 3, 3), LayerBits(4, 4, True)).train()
    merged = merge(layer)
    assert type(merged) is nn.Conv2d and merged.training
    torch.testing.assert_close(merged.weight, layer.weight_quantiser(layer.weight))
