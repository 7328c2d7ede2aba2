"""Channel pruning: chosen by torch-pruning, described by the plan, rebuilt without it."""

import copy
import sys
from dataclasses import replace

import pytest
import torch

from rankfold.cost import network_cycles
from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.models.zoo import build
from rankfold.plan import NARROWED, check_plan
from rankfold.surgery.channels import channel_plan
from rankfold.surgery.compress import compress_, kept_parameters
from rankfold.workload import trace

ARRAY = ArraySpec(64, 64)


@pytest.fixture(params=["resnet20", "wrn16-4", "vgg9"])
def case(request):
    model = build(request.param, 10).eval()
    size = 32 if request.param == "vgg9" else 12
    network = trace(model, (3, size, size), request.param)
    return model, network, channel_plan(model, network, ARRAY, 0.5, 4)


def test_the_plan_describes_what_is_left(case):
    model, network, plan = case
    check_plan(plan, network)
    before = kept_parameters(model)
    pruned = copy.deepcopy(model)
    reports = compress_(pruned, plan)
    assert kept_parameters(pruned) < before == kept_parameters(model)
    left = trace(pruned, network.input, network.name)
    for shape in left.layers:
        entry = plan.layer(shape.name)
        if entry.kind == NARROWED:
            assert (shape.in_channels, shape.m) == (entry.in_channels, entry.out_channels)
    halves = [entry for entry in plan.layers if entry.kind == NARROWED and "output" in entry.reason]
    assert len(halves) >= 5
    assert plan.layers[0].kind == "dense" or "output" not in plan.layers[0].reason
    assert sum(report.parameters_after for report in reports) < sum(report.parameters_before for report in reports)
    costs = network_cycles(network, plan)
    for layer in costs.layers:
        alike = next(shape for shape in left.convolutions if shape.name == layer.shape.name)
        assert layer.chosen.cycles == layer.cycles["channel-sdk"] == map_layer(alike, ARRAY, "sdk").cycles


def test_the_network_is_rebuilt_from_the_plan_alone(case, monkeypatch):
    model, _, plan = case
    pruned = copy.deepcopy(model)
    compress_(pruned, plan)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    rebuilt = build(plan.model, 10, seed=1).eval()
    compress_(rebuilt, plan, decompose=False)
    rebuilt.load_state_dict(pruned.state_dict())
    x = torch.randn(2, *plan.input)
    assert torch.equal(rebuilt(x), pruned(x))


def test_the_least_important_channels_go():
    """Channels whose weights are zero lose nothing: the function stays."""
    model = build("resnet8", 10).eval()
    conv = model.layer1[0].conv1
    with torch.no_grad():
        conv.weight[::2] = 0
        model.layer1[0].conv2.weight[:, ::2] = 0
    network = trace(model, (3, 32, 32), "resnet8")
    plan = channel_plan(model, network, ARRAY, 0.5)
    kept = tuple(
        layer if layer.name.startswith("layer1") else replace(layer, kind="dense", in_channels=None, out_channels=None)
        for layer in plan.layers
    )
    x = torch.randn(2, 3, 32, 32)
    before = model(x)
    compress_(model, replace(plan, layers=kept))
    assert model.layer1[0].conv1.out_channels == 8
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_plans_that_do_not_fit_are_refused(monkeypatch):
    model = build("resnet8", 10).eval()
    network = trace(model, (3, 32, 32), "resnet8")
    plan = channel_plan(model, network, ARRAY, 0.5)
    layers = tuple(replace(layer, in_channels=5) if layer.name == "layer1.0.conv2" else layer for layer in plan.layers)
    with pytest.raises(InputError, match=r"layer layer1\.0\.conv2: in_channels \(=5\) and out_channels \(=16\) must be 8 and 16"):
        compress_(copy.deepcopy(model), replace(plan, layers=layers))
    with pytest.raises(InputError, match="the plan's numbers of channels do not fit each other"):
        compress_(copy.deepcopy(model), replace(plan, layers=layers), decompose=False)
    mixed = tuple(
        replace(layer, kind="low-rank", groups=1, rank=2, in_channels=None, out_channels=None)
        if layer.name == "layer2.0.conv1"
        else layer
        for layer in plan.layers
    )
    with pytest.raises(InputError, match="a plan with channel-pruned layers cannot have low-rank or pattern-pruned ones too"):
        compress_(copy.deepcopy(model), replace(plan, layers=mixed))
    for ratio in (0.0, 1.0, -0.5):
        with pytest.raises(InputError, match=rf"ratio \(={ratio}\) must be the share of channels to remove"):
            channel_plan(model, network, ARRAY, ratio)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingDependencyError, match=r"needs torch-pruning: pip install 'rankfold\[channels\]'"):
        channel_plan(model, network, ARRAY, 0.5)
