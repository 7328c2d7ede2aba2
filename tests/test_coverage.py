"""The coverage report, the rules that choose layers, and fully connected layers that are mapped and made low-rank."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.moments import patch_moments
from rankfold.calibration.quantisers import calibrate_
from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.lowrank import decompose
from rankfold.mapping import ArraySpec, map_layer, map_low_rank
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LayerRule, check_plan, coverage, match_rules, pruned_plan, uniform_plan
from rankfold.surgery.compress import compress_, compress_on_data_, quantise_by_plan_
from rankfold.workload import trace, zoo_network

ARRAY = ArraySpec(32, 32)
NAMES = ["stem", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"]


def include(pattern):
    return LayerRule(pattern, True)


def exclude(pattern):
    return LayerRule(pattern, False)


class Net(nn.Module):
    """Convolutions, hidden fully connected layers, and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 4, 2, 2)
        self.hidden, self.fc = nn.Linear(4 * 8 * 8, 24), nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.hidden(self.features(x))))

    def features(self, x):
        return F.avg_pool2d(self.up(self.conv(self.stem(x))), 2).flatten(1)


def test_exact_names_go_before_patterns_and_the_first_pattern_decides():
    rules = [exclude("layer1.*"), include("*.conv1"), include("layer1.0.conv2")]
    found = match_rules(rules, NAMES)
    assert {name: match.rule.include for name, match in found.items()} == {
        "layer1.0.conv1": False, "layer1.0.conv2": True, "layer2.0.conv1": True,
    }  # fmt: skip
    assert [name for name, match in found.items() if match.exact] == ["layer1.0.conv2"]


@given(st.permutations([exclude("layer1.*"), include("*.conv1"), exclude("fc")]), st.sampled_from(NAMES))
def test_an_exact_name_wins_in_any_order(rules, name):
    for verb in (include, exclude):
        if LayerRule(name, not verb(name).include) not in rules:
            assert match_rules([*rules, verb(name)], NAMES)[name].rule == verb(name)


def test_wrong_rules_are_refused():
    with pytest.raises(InputError, match=r"exclude rule conv9\* matches no layer; the first ones are stem, layer1.0.conv1"):
        match_rules([exclude("conv9*")], NAMES)
    with pytest.raises(InputError, match="layer fc is both included and excluded; keep one of the two rules"):
        match_rules([exclude("fc"), include("fc")], NAMES)
    network = zoo_network("mobilenetv2")
    with pytest.raises(InputError, match=r"exclude rule \* chooses low-rank layers, so it needs a rank too"):
        uniform_plan(network, ARRAY, rules=[exclude("*")])
    with pytest.raises(InputError, match=r"include rule features.1.conv.0.0: the layer cannot be low-rank: depthwise"):
        uniform_plan(network, ARRAY, 1, 2, rules=[include("features.1.conv.0.0")])
    with pytest.raises(InputError, match="no layer of mobilenetv2 can be low-rank"):
        uniform_plan(network, ARRAY, 1, 2, rules=[exclude("*")], pointwise=True)


def test_rules_go_before_the_defaults():
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ARRAY, 1, 2, bits=4, rules=[include("conv1"), include("fc"), exclude("layer3.*")])
    kinds = {layer.name: (layer.kind, layer.reason, layer.weight_bits) for layer in plan.layers}
    assert kinds["conv1"] == ("low-rank", "rank 2", 8)
    assert kinds["fc"] == ("low-rank", "rank 2", 8)
    assert kinds["layer3.0.conv1"] == ("dense", "excluded by layer3.*", 4)
    assert kinds["layer2.0.conv1"][0] == "low-rank"
    check_plan(plan, network)


def test_fit_takes_the_next_lower_groups_and_rank():
    network = zoo_network("resnet18", image=(3, 32, 32))
    with pytest.raises(InputError, match=r"rank 1/7 of 64 output channels is not a whole number; .* --fit the next lower"):
        uniform_plan(network, ARRAY, 3, "1/7")
    plan = uniform_plan(network, ARRAY, 3, "1/7", fit=True)
    assert (plan.layer("layer1.0.conv1").groups, plan.layer("layer1.0.conv1").rank) == (2, 9)
    assert plan.layer("layer4.1.conv2").rank == 73
    check_plan(plan, network)
    # Ranks above full rank come down to it: 4 groups of 16 inputs of a 1x1 convolution.
    plan = uniform_plan(network, ARRAY, 4, 100, pointwise=True, fit=True)
    assert plan.layer("layer2.0.downsample.0").rank == 16


def test_coverage_adds_up_and_says_why():
    network = trace(Net(), (3, 8, 8))
    plan = uniform_plan(network, ARRAY, 2, 2, bits=4)
    found = coverage(network, plan)
    assert [(layer.name, layer.what, layer.fate, layer.why) for layer in found.layers] == [
        ("stem", "3x3 3->8", "dense", "first convolution, 8 bits"),
        ("conv", "3x3 8->16", "low-rank", "2 groups of rank 2, 4 bits"),
        ("hidden", "fully connected 256->24", "not mapped", "fully connected layer, 4 bits"),
        ("fc", "fully connected 24->5", "not mapped", "classifier, 8 bits"),
        ("up", "ConvTranspose2d", "left alone", "neither a 2-d convolution nor fully connected"),
    ]
    assert sum(layer.macs for layer in found.layers) == found.macs
    assert sum(layer.mac_share for layer in found.layers) == pytest.approx(1)
    biases = 8 + 16 + 4 + 24 + 5
    assert sum(layer.parameters for layer in found.layers) == found.parameters - biases
    assert found.layers[4].macs == 64 * 16 * 4 * 4
    assert [layer.fate for layer in coverage(network, plan, linear=True).layers][2:4] == ["dense", "dense"]
    pruned = coverage(network, pruned_plan(network, ARRAY, "support", 4)).layers
    assert [layer.fate for layer in pruned][:3] == ["dense", "pattern-pruned", "not mapped"]


def test_map_shows_the_coverage_first(capsys):
    assert main(["map", "resnet8", "--groups", "4", "--rank", "1/8", "--coverage", "--exclude", "layer1.*"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split() == ["layer", "what", "MACs", "parameters", "becomes", "because"]
    assert printed.index("excluded by layer1.*") < printed.index("cycles per image")
    assert "  low-rank: 4 layers, " in printed
    assert main(["map", "resnet8", "--linear", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [entry["fate"] for entry in content["coverage"]] == ["dense"] * 8
    assert content["layers"][-1]["name"] == "fc"
    assert main(["map", "resnet8", "--exclude", "nothing", "--rank", "2"]) == 2
    assert "exclude rule nothing matches no layer" in capsys.readouterr().err


def test_linear_layers_are_counted_where_asked_for_or_low_rank():
    network = trace(Net(), (3, 8, 8))
    dense = uniform_plan(network, ARRAY)
    assert [layer.shape.name for layer in network_cycles(network, dense).layers] == ["stem", "conv"]
    both = network_cycles(network, dense, linear=True)
    assert both.layers[2].chosen == map_layer(network.layers[2], ARRAY, "sdk")
    assert both.layers[2].cycles["im2col"] == 256 // 32  # 8 row tiles, one column tile, one pixel
    plan = uniform_plan(network, ARRAY, 2, 4, linear=True)
    assert [layer.kind for layer in plan.layers] == ["dense", "low-rank", "low-rank", "dense"]
    counted = network_cycles(network, plan)
    assert counted.layers[2].chosen == map_low_rank(network.layers[2], ARRAY, 2, 4, "sdk")
    only = trace(nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Linear(8, 2)), (3, 4, 4))
    with pytest.raises(InputError, match=r"has no two-dimensional convolution; count its fully connected layers \(--linear\)"):
        network_cycles(only, uniform_plan(only, ARRAY))
    assert network_cycles(only, uniform_plan(only, ARRAY), linear=True).layers[0].cycles["im2col"] == 2


@given(st.sampled_from([1, 2, 3]), st.integers(1, 4), st.sampled_from([(), (3,), (2, 5)]))
def test_a_low_rank_linear_layer_is_the_linear_layer_of_its_factors(groups, rank, places):
    torch.manual_seed(rank)
    linear = nn.Linear(12, 7, bias=bool(groups % 2)).double()
    module, factors = LowRankLinear.from_linear(linear, groups, rank)
    dense = module.to_dense()
    x = torch.randn(2, *places, 12, dtype=torch.float64)
    torch.testing.assert_close(module(input=x), dense(x))
    expected = decompose(linear.weight.detach().numpy()[:, :, None, None], 1, groups, rank)
    assert factors.error == pytest.approx(expected.error)
    assert factors.error <= factors.plain_error + 1e-12
    lost = torch.linalg.norm((dense.weight - linear.weight).detach()) / torch.linalg.norm(linear.weight)
    assert lost.item() == pytest.approx(factors.error, abs=1e-9)
    full, _ = LowRankLinear.from_linear(linear, 1, 7)
    torch.testing.assert_close(full(x), linear(x))


def test_linear_layers_go_through_the_whole_plan():
    torch.manual_seed(0)
    model = Net()
    network = trace(model, (3, 8, 8))
    plan = uniform_plan(network, ARRAY, 2, 4, bits=4, linear=True)
    batches = [torch.randn(8, 3, 8, 8)]
    moments = patch_moments(model, batches, ["hidden"])["hidden"].second
    inputs = model.features(batches[0]).detach().double()
    torch.testing.assert_close(torch.from_numpy(moments[0]), inputs.T @ inputs / 8)
    reports = compress_on_data_(model, plan, lambda: batches)
    hidden = next(report for report in reports if report.name == "hidden")
    assert hidden.kind == "low-rank" and hidden.output_error is not None
    assert hidden.parameters_after == 4 * 256 + 24 * 8 + 24
    quantise_by_plan_(model, plan.with_signs(dict.fromkeys([layer.name for layer in plan.layers], True)))
    calibrate_(model, batches)
    assert isinstance(model.hidden.reduce, QuantConv2d)
    model(batches[0]).sum().backward()
    assert model.hidden.reduce.weight.grad is not None
    again = Net()
    compress_(again, plan, decompose=False)
    quantise_by_plan_(again, plan.with_signs(dict.fromkeys([layer.name for layer in plan.layers], True)))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(batches[0]), model(batches[0]))
