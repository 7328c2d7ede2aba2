"""Channel pruning: chosen by torch-pruning, described by the plan, rebuilt without it."""

import copy
import sys
from dataclasses import replace

import pytest
import torch

from rankfold.cost import CostKey, network_cycles
from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.models.zoo import build
from rankfold.plan import ChannelLayer, ChannelPruning, DenseLayer, LowRankLayer, check_plan
from rankfold.surgery.by_weights import build_
from rankfold.surgery.channels import channel_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.workload import trace

ARRAY = ArraySpec(64, 64)
HALF = ChannelPruning(0.5)


@pytest.fixture(params=["resnet20", "wrn16-4", "vgg9"])
def case(request):
    model = build(request.param, 10).eval()
    size = 32 if request.param == "vgg9" else 12
    network = trace(model, (3, size, size), request.param)
    return model, network, channel_plan(model, network, ARRAY, HALF, bits=4)


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
        if entry.kind.changes_weight:
            assert entry.kind == ChannelLayer(shape.in_channels, shape.m)
    halves = [entry for entry in plan.changed if "output" in entry.reason]
    assert len(halves) >= 5
    assert plan.layers[0] not in halves
    smaller = sum(report.parameters_after for report in reports)
    assert smaller < sum(report.parameters_before for report in reports)
    costs = network_cycles(network, plan)
    for layer in costs.layers:
        alike = next(shape for shape in left.convolutions if shape.name == layer.shape.name)
        cycles = map_layer(alike, ARRAY, "sdk").cycles
        assert layer.chosen.cycles == layer.cycles[CostKey("channel", "sdk")] == cycles


def test_the_network_is_rebuilt_from_the_plan_alone(case, monkeypatch):
    model, _, plan = case
    pruned = copy.deepcopy(model)
    compress_(pruned, plan)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    rebuilt = build(plan.model, 10, seed=1).eval()
    build_(rebuilt, plan)
    rebuilt.load_state_dict(pruned.state_dict())
    x = torch.randn(2, *plan.input)
    assert torch.equal(rebuilt(x), pruned(x))


def test_what_is_frozen_stays_frozen(case):
    model, _, plan = case
    model.requires_grad_(False)
    compress_(model, plan)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def changed(plan, kinds):
    """The plan with other kinds for some layers, by name."""
    layers = []
    for layer in plan.layers:
        layers.append(replace(layer, kind=kinds.get(layer.name, layer.kind)))
    return replace(plan, layers=tuple(layers))


def test_the_least_important_channels_go():
    """Channels whose weights are zero lose nothing: the function stays."""
    model = build("resnet8", 10).eval()
    with torch.no_grad():
        model.layer1[0].conv1.weight[::2] = 0
        model.layer1[0].conv2.weight[:, ::2] = 0
    network = trace(model, (3, 32, 32), "resnet8")
    plan = channel_plan(model, network, ARRAY, HALF)
    others = {layer.name: DenseLayer() for layer in plan.layers if not layer.name.startswith("layer1")}
    x = torch.randn(2, 3, 32, 32)
    before = model(x)
    compress_(model, changed(plan, others))
    assert model.layer1[0].conv1.out_channels == 8
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_plans_that_do_not_fit_are_refused_before_anything_changes():
    model = build("resnet8", 10).eval()
    network = trace(model, (3, 32, 32), "resnet8")
    plan = channel_plan(model, network, ARRAY, HALF)
    before = copy.deepcopy(model.state_dict())
    narrow = changed(plan, {"layer1.0.conv2": ChannelLayer(5, 16)})
    with pytest.raises(
        InputError,
        match=r"layer layer1\.0\.conv2: in_channels \(=5\) and out_channels \(=16\) must be 8 and 16",
    ):
        compress_(model, narrow)
    with pytest.raises(InputError, match="the plan's numbers of channels do not fit each other"):
        build_(model, narrow)
    mixed = changed(plan, {"layer2.0.conv1": LowRankLayer(1, 2)})
    with pytest.raises(
        InputError, match="a plan with channel-pruned layers cannot have low-rank ones too; make two"
    ):
        compress_(model, mixed)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_no_plan_can_be_made_of(monkeypatch):
    model = build("resnet8", 10).eval()
    network = trace(model, (3, 32, 32), "resnet8")
    for ratio in (0.0, 1.0, -0.5):
        with pytest.raises(InputError, match=rf"ratio \(={ratio}\) must be the share of channels to remove"):
            channel_plan(model, network, ARRAY, ChannelPruning(ratio))
    with pytest.raises(InputError, match=r"mapping \(=magic\) must be one of im2col"):
        channel_plan(model, network, ARRAY, HALF, mapping="magic")
    with pytest.raises(InputError, match=r"bits \(=9\) must be a whole number from 1 to 8"):
        channel_plan(model, network, ARRAY, HALF, bits=9)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(
        MissingDependencyError, match=r"needs torch-pruning: pip install 'rankfold\[channels\]'"
    ):
        channel_plan(model, network, ARRAY, HALF)
