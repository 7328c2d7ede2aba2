"""The blocks of a network: whole residual sums, each layer in one of them at most."""

import copy

import pytest
import torch
from torch import nn

from rankfold.calibration.blocks import blocks
from rankfold.calibration.importance import module_importance
from rankfold.models.zoo import build


def found(model, inputs, other=None):
    return {block.name: block.layers for block in blocks(model, other or copy.deepcopy(model), inputs)}


def conv(inputs=4, outputs=4):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Sum(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return x + self.inside(x)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()


class Joined(nn.Module):
    """A skip around all of the network, as in a U-Net, and a layer that reads two tensors."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(conv(), nn.ReLU(inplace=True), Sum(nn.Sequential(conv(), conv())))
        self.up = nn.Bilinear(4, 4, 4)
        self.last = conv(4, 2)

    def forward(self, x):
        y = self.down(x)
        y = self.up(y.movedim(1, -1).contiguous(), x.movedim(1, -1).contiguous()).movedim(-1, 1)
        return self.last(y)


@pytest.mark.parametrize("name", ["resnet20", "wrn16-4"])
def test_networks_of_the_zoo_fall_into_residual_blocks(name):
    model = build(name, 10, 3)
    images = torch.randn(2, 3, 16, 16)
    parts = blocks(model, copy.deepcopy(model), images)
    layers = [layer for part in parts for layer in part.layers]
    weights = {name for name, one in model.named_modules() if isinstance(one, (nn.Conv2d, nn.Linear))}
    assert set(layers) == weights and len(layers) == len(weights)
    names = [part.name for part in parts]
    assert (
        names[0] == "conv1" and names[-1] == "fc" and [part.is_last for part in parts][-2:] == [False, True]
    )
    for name in names[1:-1]:
        assert {f"{name}.conv1", f"{name}.conv2"} <= set(layers) and name.count(".") == 1


def test_a_gate_within_a_sum_belongs_to_the_sum():
    net = nn.Sequential(conv(), Sum(nn.Sequential(conv(), Gate(), conv())), Gate(), conv())
    assert found(net, torch.randn(2, 4, 5, 5)) == {
        "0": ("0",),
        "1": ("1.inside.0", "1.inside.1.squeeze", "1.inside.2"),
        "2": ("2.squeeze",),
        "3": ("3",),
    }


def test_a_sum_over_the_whole_network_is_no_block():
    # `up` reads two tensors, and no module but the network holds it.
    assert found(Joined(), torch.randn(2, 4, 5, 5)) == {
        "down.0": ("down.0",),
        "down.2": ("down.2.inside.0", "down.2.inside.1"),
        "last": ("last",),
    }


def test_a_layer_that_runs_twice_is_trained_with_what_is_around_it():
    shared = conv()
    net = nn.Sequential(nn.Sequential(shared, nn.ReLU(), shared), conv())
    assert found(net, torch.randn(2, 4, 5, 5)) == {"0": ("0.0",), "1": ("1",)}


def test_outputs_of_another_shape_are_wanted_of_nobody():
    net = nn.Sequential(conv(), nn.ReLU(), conv(), nn.Flatten(), nn.Linear(100, 3))
    pruned = nn.Sequential(conv(4, 2), nn.ReLU(), conv(2, 4), nn.Flatten(), nn.Linear(100, 3))
    assert found(net, torch.randn(2, 4, 5, 5), pruned) == {"2": ("2",), "4": ("4",)}


def test_what_no_output_depends_on_is_no_block():
    """As layers that only skipped ones read; here the branch is skipped in one of the networks."""

    class Branch(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight
            self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            branch = self.second(self.first(x))
            if self.weight == 0:
                branch = branch.detach()
            return {"y": self.last(x + branch)}

    found = [blocks(Branch(1), Branch(weight), torch.randn(3, 4)) for weight in (1, 0)]
    assert [[block.name for block in one] for one in found] == [["first", "second", "last"], ["last"]]


def test_importance_is_that_of_the_scores():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 4, bias=False))
    with torch.no_grad():
        # The second output counts twice as much in each score as the first, the third in none.
        net[1].weight[:, 1] = 2 * net[1].weight[:, 0]
        net[1].weight[:, 2] = 0
    importance = module_importance(net, [torch.randn(9, 3)], ["0"])["0"]
    torch.testing.assert_close(importance, torch.tensor([1.0, 4.0, 0.0]) * 3 / 5)
