"""What a plan does with every weight of a network, and why."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.cli.main import main
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, SharedSupport, coverage, uniform_plan
from rankfold.plan.coverage import fates
from rankfold.workload import trace

ARRAY = ArraySpec(32, 32)


class Net(nn.Module):
    """Convolutions, hidden fully connected layers, and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 4, 2, 2)
        self.hidden, self.fc = nn.Linear(4 * 8 * 8, 24), nn.Linear(24, 5)

    def forward(self, x):
        features = F.avg_pool2d(self.up(self.conv(self.stem(x))), 2).flatten(1)
        return self.fc(torch.relu(self.hidden(features)))


def test_coverage_adds_up_and_says_why():
    network = trace(Net(), (3, 8, 8))
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank=2, force=True), bits=4)
    covered = coverage(network, plan)
    assert [(layer.name, layer.what, layer.fate, layer.why) for layer in covered.layers] == [
        ("stem", "3x3 3->8", "dense", "first convolution, 8 bits"),
        ("conv", "3x3 8->16", "low-rank", "2 groups of rank 2, 4 bits"),
        (
            "up",
            "1x1 16->16",
            "dense",
            "is a transposed convolution, mapped as the sub-pixel convolution it equals "
            "(surgery.replace_transposed_ puts that in its place)",
        ),
        ("hidden", "fully connected 256->24", "not mapped", "fully connected layer, 4 bits"),
        ("fc", "fully connected 24->5", "not mapped", "classifier, 8 bits"),
    ]
    assert sum(layer.macs for layer in covered.layers) == covered.macs
    assert sum(layer.mac_share for layer in covered.layers) == pytest.approx(1)
    biases = 8 + 16 + 4 + 24 + 5
    assert sum(layer.parameters for layer in covered.layers) == covered.parameters - biases
    assert sum(layer.parameter_share for layer in covered.layers) == pytest.approx(
        1 - biases / covered.parameters
    )
    assert covered.layers[2].macs == 64 * 16 * 4 * 4
    assert [layer.name for layer in covered.of("not mapped")] == ["hidden", "fc"]
    assert {layer.fate for layer in covered.layers} <= set(fates())


def test_linear_layers_are_mapped_where_asked_for():
    network = trace(Net(), (3, 8, 8))
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank=2, force=True), bits=4)
    assert [layer.fate for layer in coverage(network, plan, linear=True).layers][3:5] == ["dense", "dense"]
    changed = uniform_plan(network, ARRAY, LowRank(rank=2, linear=True, force=True), bits=4)
    assert [layer.fate for layer in coverage(network, changed).layers][3:5] == ["low-rank", "dense"]


def test_coverage_of_a_pruned_plan():
    network = trace(Net(), (3, 8, 8))
    pruned = coverage(network, uniform_plan(network, ARRAY, SharedSupport(4))).layers
    assert [layer.fate for layer in pruned][:4] == ["dense", "pattern-pruned", "dense", "not mapped"]


def test_shares_are_of_all_runs_of_a_layer():
    network = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)), (3, 12, 12))
    first, second = network.layers
    again = replace(second, name=f"{second.name}#2", weight=second.weight)
    twice = replace(network, layers=(first, second, again))
    covered = coverage(twice, uniform_plan(network, ARRAY))
    assert covered.layers[1].macs == 2 * second.macs
    assert covered.layers[1].parameters == second.parameters


def test_map_shows_the_coverage_first(capsys):
    arguments = ["--groups", "4", "--rank", "1/8", "--coverage", "--exclude", "layer1.*"]
    assert main(["map", "resnet8", *arguments]) == 0
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
