"""Tracing of torch networks that are written in awkward ways."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerRule, LowRank, coverage, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.workload import trace

ARRAY = ArraySpec(64, 64)
IMAGES = torch.zeros(1, 3, 8, 8)


class Sideways(nn.Module):
    """Products and convolutions in every spelling but a module's."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.mix = nn.Parameter(torch.randn(8, 6))
        self.turn = nn.Parameter(torch.randn(5, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.recurrent = nn.LSTM(6, 4, batch_first=True)
        self.scale = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = torch.conv2d(self.stem(x), self.kernel, padding=1)
        x = F.conv2d(x, self.scale.weight * 2)  # computed from a parameter
        tokens = x.flatten(2).transpose(1, 2) @ self.mix  # (B, HW, 6)
        tokens, _ = self.attention(tokens, tokens, tokens)
        tokens = tokens + self.recurrent(tokens)[0].sum(-1, keepdim=True)
        return torch.einsum("bti,oi->bto", tokens, self.turn)


def test_no_spelling_hides_a_layer():
    network = trace(Sideways().eval(), (3, 4, 4))
    found = {
        layer.name: (layer.in_channels, layer.out_channels, layer.macs, bool(layer.fixed))
        for layer in network.layers
    }
    assert found == {
        "stem": (3, 8, 27 * 8 * 16, False),
        "kernel": (8, 8, 72 * 8 * 16, True),
        "mix": (8, 6, 48 * 16, True),
        "attention.in_proj_weight": (6, 18, 108 * 16, True),
        "attention.out_proj": (6, 6, 36 * 16, True),
        "turn": (6, 5, 30 * 16, True),
    }
    others = {other.name: (other.what, other.macs) for other in network.untouched}
    assert others["recurrent"] == ("LSTM is left alone", (16 * 6 + 16 * 4) * 16)
    assert others["functional.1"] == ("Conv2d with a computed weight of (8, 8, 1, 1) is left alone", 64 * 16)


class OwnConv(nn.Conv2d):
    """A subclass that pads by itself and standardises its weight."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight - self.weight.mean(), self.bias, self.stride)


def test_layers_that_cannot_be_replaced_are_mapped_and_say_why():
    shared = nn.Linear(8, 8)
    tied = nn.Linear(8, 8)
    tied.weight = shared.weight
    hooked = nn.Conv2d(8, 8, 1)
    hooked.register_forward_hook(lambda *_: None)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        OwnConv(8, 8, 2, stride=2),
        normed,
        hooked,
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        shared,
        tied,
        nn.Linear(8, 2),
    )
    network = trace(model, (3, 12, 12))
    assert [(layer.name, layer.input, layer.output) for layer in network.layers[:3]] == [
        ("0", (12, 12), (10, 10)),
        ("1", (11, 11), (5, 5)),
        ("2", (5, 5), (3, 3)),
    ]
    why = {layer.name: layer.fixed for layer in network.layers}
    assert why["1"] == "is a OwnConv, not a plain nn.Conv2d, so its behaviour would be lost"
    assert why["2"].startswith("has a parametrised weight")
    assert why["3"].startswith("has hooks")
    assert (why["7"], why["8"]) == ("shares its weight with 8", "shares its weight with 7")
    plan = uniform_plan(network, ARRAY, LowRank(rank=2, linear=True, force=True), bits=4)
    assert [layer.reason for layer in plan.layers[1:4]] == [why["1"], why["2"], why["3"]]
    assert plan.layers[1].weight_bits is None
    with pytest.raises(InputError, match=r"include rule 1: the layer cannot be low-rank: is a OwnConv"):
        uniform_plan(network, ARRAY, LowRank(rank=2, include_exclude=(LayerRule("1", True),)))


class Both(nn.Module):
    """Runs a convolution as a module and once more as a function."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.last = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
        )

    def forward(self, x):
        return self.last(F.conv2d(self.conv(self.stem(x)), self.conv.weight, padding=1))


def test_a_weight_that_is_used_in_two_ways_is_fixed_in_both():
    network = trace(Both(), (3, 6, 6))
    found = [(layer.name, bool(layer.fixed)) for layer in network.layers]
    assert found == [("stem", False), ("conv", True), ("conv#2", True), ("last", False)]
    plan = uniform_plan(network, ARRAY, LowRank(rank=2, force=True))
    model = Both()
    compress_(model, plan)
    assert model(torch.zeros(1, 3, 6, 6)).shape == (1, 8, 6, 6)


class TwoInputs(nn.Module):
    """Takes an image and, by keyword, a vector."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

    def forward(self, image, *, vector):
        return self.conv(image) + self.fc(vector)[:, :, None, None]


def test_several_inputs():
    network = trace(TwoInputs(), None, inputs={"image": torch.zeros(1, 3, 6, 7), "vector": torch.zeros(1, 5)})
    assert network.input == (3, 6, 7)
    assert [layer.name for layer in network.layers] == ["conv", "fc"]
    with pytest.raises(InputError, match="needs the size of an image, or inputs to be called with"):
        trace(TwoInputs(), None)


def test_a_linear_layer_on_a_plane_counts_every_pixel():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 6)

        def forward(self, x):
            return self.fc(self.conv(x).permute(0, 2, 3, 1))

    layer = trace(Last(), (3, 5, 7)).layers[1]
    assert (layer.input, layer.macs) == ((5, 7), 35 * 24)


def test_lazy_layers_are_refused():
    with pytest.raises(InputError, match="has lazy layers"):
        trace(nn.Sequential(nn.LazyConv2d(4, 3)), (3, 6, 6))


class TiedEmbedding(nn.Module):
    """Its last layer has the weight of its first."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.mix = nn.Linear(16, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.mix(self.table(tokens)))


def test_a_table_that_is_a_layers_weight_too_counts_once():
    model = TiedEmbedding()
    network = trace(model, None, inputs=(torch.randint(50, (1, 7)),))
    covered = coverage(network, uniform_plan(network, ARRAY), linear=True)
    assert covered.parameters == sum(parameter.numel() for parameter in model.parameters())
    counted = {layer.name: layer.parameters for layer in covered.layers}
    assert counted == {"mix": 256, "head": 800, "table": 0}
    assert covered.layers[-1].why == "its weight is that of head, and counts there"


@pytest.mark.parametrize("compiled", [torch.jit.script, lambda model: torch.jit.trace(model, IMAGES)])
def test_torchscript_is_mapped_and_stays(compiled):
    """As a whole and as a part; its layers are no modules that could be replaced."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5)).eval()
    shapes = [replace(layer, fixed="") for layer in trace(body, (3, 8, 8)).layers]
    for model, place in ((compiled(body), ""), (nn.Sequential(nn.Identity(), compiled(body)), "1.")):
        layers = trace(model, (3, 8, 8)).layers
        assert all("only modules can be replaced" in layer.fixed for layer in layers)
        named = [replace(shape, name=place + shape.name, weight=place + shape.weight) for shape in shapes]
        assert [replace(layer, fixed="") for layer in layers] == named
