"""Surgery by plan: every layer of a network becomes what the plan says, and is reported."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.quantisers import calibrate_
from rankfold.cost import network_cycles
from rankfold.cost.energy import energy_of
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.masked import masks_of
from rankfold.nn.quantised import QuantConv2d, QuantLinear
from rankfold.plan import (
    DenseLayer,
    LayerPlan,
    LowRank,
    LowRankLayer,
    Pairs,
    PatDNN,
    SharedSupport,
    check_plan,
    uniform_plan,
)
from rankfold.simulator import simulate
from rankfold.surgery.by_weights import build_
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import insert_quantisers_, open_signs, quantise_, with_observed_signs
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supports import with_supports
from rankfold.workload import trace

ARRAY = ArraySpec(64, 64)


class Branches(nn.Module):
    """A convolution that is shared, registered twice, and a functional and a transposed one beside it."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding="same")
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        own = nn.Conv2d(8, 8, 3, padding=1)
        self.branches = nn.ModuleList([nn.Sequential(self.shared, nn.ReLU()), nn.Sequential(own, nn.ReLU())])
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.first(x)
        x = self.shared(self.branches[0](x) + self.branches[1](x))
        x = F.conv2d(self.up(x), self.kernel, padding=1)
        return self.head(x.mean((2, 3)))


def test_shared_modules_are_replaced_once_in_all_places():
    model = Branches()
    plan = uniform_plan(trace(model, (3, 8, 8)), ARRAY, LowRank(groups=2, rank="1/4", force=True), bits=4)
    reports = compress_(model, plan)
    assert [(report.name, report.kind) for report in reports] == [
        ("first", DenseLayer()),
        ("shared", LowRankLayer(2, 2)),
        ("branches.1.0", LowRankLayer(2, 2)),
        ("up", DenseLayer()),
        ("kernel", DenseLayer()),
        ("head", DenseLayer()),
    ]
    assert isinstance(model.shared, LowRankConv2d)
    assert model.branches[0][0] is model.shared
    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    insert_quantisers_(model, plan)
    calibrate_(model, [torch.randn(4, 3, 8, 8)])
    assert isinstance(model.branches[0][0].reduce, QuantConv2d)
    assert model.branches[0][0].expand is model.shared.expand
    assert isinstance(model.head, QuantLinear)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    copied = copy.deepcopy(model)
    copied.load_state_dict(model.state_dict())


def test_surgery_at_full_rank_keeps_the_function():
    model = build("resnet8", 10).eval()
    x = torch.randn(2, 3, 32, 32)
    plan = uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, LowRank(rank=16, force=True))
    compress_(model, plan)
    assert sum(isinstance(module, LowRankConv2d) for module in model.modules()) == 6
    # 16 outputs have full rank 16: layer1 is exact, so the two outputs after it agree.
    other = build("resnet8", 10).eval()
    torch.testing.assert_close(
        model.layer1(model.conv1(x)), other.layer1(other.conv1(x)), rtol=1e-4, atol=1e-4
    )


def test_refusals_leave_the_model_as_it_was():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), normed)
    plan = uniform_plan(trace(model, (3, 12, 12)), ARRAY, LowRank(rank=2, force=True))
    assert [layer.kind for layer in plan.layers] == [DenseLayer(), LowRankLayer(1, 2), DenseLayer()]
    assert plan.layers[2].reason.startswith("has a parametrised weight; remove it first")
    forced = replace(plan, layers=(*plan.layers[:2], LayerPlan("2", LowRankLayer(1, 2))))
    with pytest.raises(UnsupportedLayerError, match="layer 2 has a parametrised weight; remove it first"):
        compress_(model, forced)
    with pytest.raises(InputError, match="layer 2: it cannot be low-rank: has a parametrised weight"):
        check_plan(forced, trace(model, (3, 12, 12)))
    assert type(model[1]) is nn.Conv2d
    hooked = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    plan = uniform_plan(trace(hooked, (3, 12, 12)), ARRAY, LowRank(rank=2, force=True))
    hooked[1].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedLayerError, match="layer 1 has hooks"):
        compress_(hooked, plan)
    with pytest.raises(InputError, match="the plan names layer 1, which the network does not have"):
        compress_(nn.Sequential(nn.Conv2d(3, 8, 3)), plan)


def test_open_signs_name_the_module_that_gets_the_input():
    network = trace(build("resnet8", 10), (3, 32, 32))
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank="1/4", force=True), bits=4)
    names = open_signs(plan)
    assert names["conv1"] == ("conv1",)
    assert names["layer1.0.conv1"] == ("layer1.0.conv1.reduce",)
    with pytest.raises(InputError, match="layer conv1: input_signed is open"):
        insert_quantisers_(build("resnet8", 10), plan)


class ByKeyword(nn.Module):
    """Gives its layers their input by name, and uses one convolution's weight without calling it."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.idle = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.conv(input=self.first(input=x))
        x = F.conv2d(x, self.idle.weight, padding=1)
        return self.head(input=x.mean((2, 3)))


def test_inputs_given_by_keyword():
    model = ByKeyword()
    network = trace(model, (3, 8, 8), "keyword")
    assert [layer.name for layer in network.layers] == ["first", "conv", "idle", "head"]
    assert [bool(layer.fixed) for layer in network.layers] == [False, False, True, False]
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank=2, force=True), bits=4)
    compress_(model, plan)
    batches = [torch.randn(4, 3, 8, 8)]
    insert_quantisers_(model, with_observed_signs(model, plan, batches))
    calibrate_(model, batches)
    assert model(batches[0]).shape == (4, 4)


def test_a_parametrised_convolution_is_not_taken_for_a_function():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    assert trace(nn.Sequential(normed), (3, 8, 8)).untouched == ()


class Hidden(nn.Module):
    """Convolutions, a hidden fully connected layer and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.hidden, self.fc = nn.Linear(4 * 8 * 8, 24), nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.hidden(self.features(x))))

    def features(self, x):
        return self.conv(self.stem(x)).flatten(1)


def test_linear_layers_go_through_the_whole_plan():
    torch.manual_seed(0)
    model = Hidden()
    plan = uniform_plan(
        trace(model, (3, 8, 8)), ARRAY, LowRank(groups=2, rank=4, linear=True, force=True), bits=4
    )
    batches = [torch.randn(8, 3, 8, 8)]
    moments = patch_moments(model, batches, ["hidden"])["hidden"].second
    inputs = model.features(batches[0]).detach().double()
    torch.testing.assert_close(torch.from_numpy(moments[0]), inputs.T @ inputs / 8)
    hidden = compress_(model, plan, batches)[2]
    assert hidden.kind == LowRankLayer(2, 4) and hidden.output_error is not None
    assert hidden.parameters_before == 24 * 256 + 24
    assert hidden.parameters_after == 4 * 256 + 24 * 8 + 24
    plan = quantise_(model, plan, batches)
    assert isinstance(model.hidden.reduce, QuantConv2d)
    model(batches[0]).sum().backward()
    assert model.hidden.reduce.weight.grad is not None
    again = Hidden()
    build_(again, plan)
    insert_quantisers_(again, plan)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(batches[0]), model(batches[0]))


def test_building_reads_no_weight():
    """Weights of a run are loaded into a network whose own are any."""
    model = build("resnet8", 10)
    with torch.no_grad():
        model.layer1[0].conv1.weight.fill_(float("nan"))
    plan = uniform_plan(
        trace(build("resnet8", 10), (3, 32, 32), "resnet8"), ARRAY, LowRank(groups=2, rank=4, force=True)
    )
    with pytest.raises(InputError, match="no numbers"):
        compress_(copy.deepcopy(model), plan)
    build_(model, plan)
    made = build("resnet8", 10)
    compress_(made, plan)
    assert model.state_dict().keys() == made.state_dict().keys()


def test_the_ways_to_decompose_are_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    plan = uniform_plan(trace(model, (3, 12, 12)), ARRAY, LowRank(rank=2, force=True))
    with pytest.raises(InputError, match=r"decomposition \(=tucker\) must be one of svd, data, sequential"):
        compress_(model, plan, decomposition="tucker")
    assert type(model[1]) is nn.Conv2d


def test_a_network_that_is_a_single_layer_is_refused():
    model = nn.Conv2d(8, 8, 3)
    plan = uniform_plan(
        trace(nn.Sequential(nn.Conv2d(3, 8, 3), model), (3, 12, 12)), ARRAY, LowRank(rank=2, force=True)
    )
    alone = replace(plan, layers=(replace(plan.layers[1], name=""),))
    with pytest.raises(InputError, match=r"the network is a single layer; wrap it in nn\.Sequential"):
        compress_(model, alone)


def test_a_parameter_of_a_function_call_is_left_alone_and_reported():
    model = Branches()
    plan = uniform_plan(trace(model, (3, 8, 8)), ARRAY, LowRank(groups=2, rank=2, force=True))
    reports = {report.name: report for report in compress_(model, plan)}
    assert reports["kernel"].kind == DenseLayer()
    assert reports["kernel"].parameters_before == reports["kernel"].parameters_after == 8 * 8 * 9
    forced = []
    for layer in plan.layers:
        if layer.name == "kernel":
            layer = replace(layer, kind=LowRankLayer(1, 2))
        forced.append(layer)
    with pytest.raises(
        UnsupportedLayerError,
        match=r"layer kernel is called as a function, .*; leave it dense in the plan, or exclude",
    ):
        compress_(Branches(), replace(plan, layers=tuple(forced)))


def test_quantising_what_was_not_compressed_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten())
    model.append(nn.Linear(8 * 4 * 4, 4))
    before = copy.deepcopy(model.state_dict())
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), LowRank(rank=2, force=True), bits=4)
    with pytest.raises(InputError, match="call compress_ with this plan first"):
        quantise_(model, plan, [torch.randn(8, 3, 8, 8)])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    "method", [PatDNN(4), Pairs(4), SharedSupport(4), LowRank(rank="1/4", entries=3, force=True)]
)
def test_the_plan_of_a_quantised_network_needs_nothing_more(method, tmp_path):
    """Cycles, energy and arrays come from the network and the plan that `quantise_` gave, or `load_`."""
    model = build("resnet8", 10)
    network = trace(model, (3, 16, 16))
    plan = uniform_plan(network, ArraySpec(64, 64), method, bits=4)
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    compress_(model, plan, [x])
    settled = quantise_(model, plan, [x])
    known = masks_of(model)
    counted = network_cycles(network, settled)
    assert counted == network_cycles(network, with_supports(settled, model), masks=known)
    priced = energy_of(network, settled)
    assert priced == energy_of(network, settled, masks=known)
    simulate(model, settled)
    save(model, settled, tmp_path)
    loaded = load_(build("resnet8", 10), tmp_path)
    assert loaded == settled and network_cycles(network, loaded) == counted
