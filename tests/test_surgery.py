"""Low-rank modules, surgery by plan, loading of models and weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.lowrank import RankRule, decompose, full_rank, reconstruct
from rankfold.mapping import ArraySpec
from rankfold.nn.load import apply_weights, check_classes, load_model, read_weights
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.models import build
from rankfold.nn.quantise import QuantConv2d, QuantLinear, calibrate_
from rankfold.nn.surgery import compress_, open_signs, quantise_by_plan_
from rankfold.plan import uniform_plan
from rankfold.workload import ConvShape, trace

ARRAY = ArraySpec(64, 64)


@st.composite
def problems(draw):
    """A weight (m, C_in/G, kh, kw), its G, and a (g, r) that fits."""
    conv_groups, groups = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 2, 4]))
    m = conv_groups * draw(st.integers(1, 8))
    channels = groups * draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    rank = draw(st.integers(1, min(m // conv_groups, channels // groups * kernel[0] * kernel[1])))
    weight = np.random.default_rng(draw(st.integers(0, 999))).standard_normal((m, channels, *kernel))
    return weight, conv_groups, groups, rank


@given(problems())
def test_factors(problem):
    weight, conv_groups, groups, rank = problem
    factors = decompose(weight, conv_groups, groups, rank)
    distance = np.linalg.norm(weight - reconstruct(factors, conv_groups, groups)) / np.linalg.norm(weight)
    assert factors.error == pytest.approx(distance, abs=1e-12)
    assert factors.error <= factors.plain_error + 1e-12  # Theorem 1 of Jeon et al. (2025)
    if groups == conv_groups == 1:  # Eckart & Young: the tail of the spectrum
        values = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)
        assert factors.error**2 == pytest.approx(np.sum(values[rank:] ** 2) / np.sum(values**2), abs=1e-10)
    # The scale is shared evenly: column norms of L equal row norms of R_, for every rank of every block.
    left = factors.expand.reshape(conv_groups, len(weight) // conv_groups, groups, rank)
    right = factors.reduce.reshape(conv_groups, groups, rank, -1)
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=3), atol=1e-10)


@given(problems())
def test_full_rank_reconstructs(problem):
    weight, conv_groups, groups, _ = problem
    shape = ConvShape("w", weight.shape[1] * conv_groups, len(weight), weight.shape[2:], weight.shape[2:], groups=conv_groups)
    factors = decompose(weight, conv_groups, groups, full_rank(shape, groups))
    np.testing.assert_allclose(reconstruct(factors, conv_groups, groups), weight, atol=1e-10)


def test_rank_rules():
    shape = ConvShape("w", 16, 24, (3, 3), (8, 8))
    assert RankRule.parse("1/8").rank(shape) == RankRule.parse("0.125").rank(shape) == RankRule.parse("3").rank(shape) == 3
    with pytest.raises(InputError, match="rank 1/5 of 24 output channels is not a whole number"):
        RankRule.parse("1/5").rank(shape)
    for text in ("0", "-1", "3/2", "abc", "1/0", ""):
        with pytest.raises(InputError, match="must be a whole number such as 4 or a fraction"):
            RankRule.parse(text)


@st.composite
def convolutions(draw):
    conv_groups, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(["valid", "same"])))
    if padding == "same":
        stride = (1, 1)
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = nn.Conv2d(
        4 * conv_groups, 6 * conv_groups, kernel, stride, padding, draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        conv_groups, draw(st.booleans()), draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])), dtype=torch.float64,
    )  # fmt: skip
    return conv, groups, draw(st.integers(1, min(6, 4 // groups * kernel[0] * kernel[1])))


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@settings(max_examples=80)
@given(convolutions())
def test_module_equals_its_dense_convolution(problem):
    conv, groups, rank = problem
    module, factors = LowRankConv2d.from_conv(conv, groups, rank)
    x = torch.randn(2, conv.in_channels, 9, 10, dtype=torch.float64)
    dense = module.to_dense()
    torch.testing.assert_close(module(x), dense(x), rtol=0, atol=1e-10)
    distance = (dense.weight - conv.weight).norm() / conv.weight.norm()
    assert factors.error == pytest.approx(distance.item(), abs=1e-9)
    other = LowRankConv2d(conv, groups, rank)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))


class Branches(nn.Module):
    """A shared convolution in two places, a ModuleList, a functional convolution and a transposed one."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding="same")
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.branches = nn.ModuleList([nn.Sequential(self.shared, nn.ReLU()), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())])
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.first(x)
        x = self.shared(self.branches[0](x) + self.branches[1](x))
        x = F.conv2d(self.up(x), self.kernel, padding=1)
        return self.head(x.mean((2, 3)))


def test_trace_of_a_branched_network():
    model = Branches().train()
    network = trace(model, (3, 10, 12), "branched")
    assert [layer.name for layer in network.layers] == ["first", "shared", "branches.1.0", "shared#2", "head"]
    assert [layer.weight for layer in network.layers] == ["first", "shared", "branches.1.0", "shared", "head"]
    assert network.layers[0].padding == (1, 1, 1, 1)
    assert network.layers[0].input == (10, 12)
    assert [name for name, _ in network.untouched] == ["up", "functional.1"]
    assert all(module.training for module in model.modules())
    with pytest.raises(InputError, match=r"branched fails on an image of 5x10x12 .*pass its real input size"):
        trace(model, (5, 10, 12), "branched")
    with pytest.raises(InputError, match="runs no nn.Conv2d"):
        trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 2, 2), "flat")


def test_shared_modules_are_replaced_once_in_all_places():
    model = Branches()
    plan = uniform_plan(trace(model, (3, 8, 8)), ARRAY, 2, "1/4", bits=4)
    reports = compress_(model, plan)
    assert [(report.name, report.kind) for report in reports] == [
        ("first", "dense"), ("shared", "low-rank"), ("branches.1.0", "low-rank"), ("head", "dense"),
    ]  # fmt: skip
    assert isinstance(model.shared, LowRankConv2d)
    assert model.branches[0][0] is model.shared
    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    quantise_by_plan_(model, plan)
    calibrate_(model, [torch.randn(4, 3, 8, 8)])
    assert isinstance(model.branches[0][0].reduce, QuantConv2d)
    assert model.branches[0][0].expand is model.shared.expand
    assert isinstance(model.head, QuantLinear)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    copied = copy.deepcopy(model)
    copied.load_state_dict(model.state_dict())


def test_full_rank_surgery_keeps_the_function():
    model = build("resnet8", 10).eval()
    x = torch.randn(2, 3, 32, 32)
    before = model(x)
    plan = uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, 1, "16")
    layers = tuple(replace(layer, rank=min(64, 144)) if layer.name.startswith("layer3.0.conv2") else layer for layer in plan.layers)
    compress_(model, replace(plan, layers=layers))
    kept = [name for name, module in model.named_modules() if isinstance(module, LowRankConv2d)]
    assert len(kept) == 6
    # 16 outputs have full rank 16: layer1 is exact, so the two outputs after it agree.
    other = build("resnet8", 10).eval()
    torch.testing.assert_close(model.layer1(model.conv1(x)), other.layer1(other.conv1(x)), rtol=1e-4, atol=1e-4)
    assert model(x).shape == before.shape


def test_refusals_leave_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)))
    plan = uniform_plan(trace(model, (3, 12, 12)), ARRAY, 1, 2)
    with pytest.raises(UnsupportedLayerError, match="layer 2 is a ParametrizedConv2d"):
        compress_(model, plan)
    assert type(model[1]) is nn.Conv2d
    hooked = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    plan = uniform_plan(trace(hooked, (3, 12, 12)), ARRAY, 1, 2)
    hooked[1].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedLayerError, match="layer 1 has hooks"):
        compress_(hooked, plan)
    with pytest.raises(InputError, match="the plan names layer 1, which the network does not have"):
        compress_(nn.Sequential(nn.Conv2d(3, 8, 3)), plan)


def test_open_signs_name_the_module_that_gets_the_input():
    plan = uniform_plan(trace(build("resnet8", 10), (3, 32, 32)), ARRAY, 2, "1/4", bits=4)
    names = open_signs(plan)
    assert names["conv1"] == "conv1"
    assert names["layer1.0.conv1"] == "layer1.0.conv1.reduce"
    with pytest.raises(InputError, match="layer conv1: input_signed is open"):
        quantise_by_plan_(build("resnet8", 10), plan)


def test_load_model(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def good(num_classes, in_channels=3): return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1))\n"
        "def bad(): raise RuntimeError('no such size')\ndef nothing(): return 3\nvalue = 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_model("mine:good", 7, 2)[0].weight.shape == (7, 2, 1, 1)
    state = torch.get_rng_state()
    first, second = load_model("resnet8", 10, seed=3), load_model("resnet8", 10, seed=3)
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    assert torch.equal(torch.get_rng_state(), state)
    for name, message in (
        ("resnet2000", "unknown model resnet2000; known are resnet8"),
        ("nowhere:make", "cannot be imported: No module named 'nowhere'"),
        ("mine:missing", "cannot be imported"),
        ("mine:bad", r"the factory of model mine:bad failed: no such size"),
        ("mine:nothing", "returned a int; it must return an nn.Module"),
        ("mine:value", "is a int; expected a function or class"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(name, 10)
    with pytest.raises(InputError, match=r"gives an output of \(1, 10\) for one image, the data has 12 classes"):
        check_classes(first, "resnet8", (3, 32, 32), 12)


def test_weights_of_another_network_are_refused(tmp_path):
    model = build("resnet8", 10)
    path = tmp_path / "w.pt"
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, path)
    apply_weights(build("resnet8", 10, seed=1), read_weights(path), "w.pt")
    with pytest.raises(InputError, match="checkpoint w.pt is for another network or number of classes: fc"):
        apply_weights(build("resnet8", 11), read_weights(path), "w.pt")
    with pytest.raises(InputError, match=r"is for another network: it lacks layer1\.1"):
        apply_weights(build("resnet20", 10), read_weights(path), "w.pt")
    with pytest.raises(InputError, match=r"it also holds layer1\.1"):
        apply_weights(model, build("resnet20", 10).state_dict(), "w.pt")
    whole = path.read_bytes()
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="is truncated, damaged or not a plain state dict"):
            read_weights(tmp_path / name)
    torch.save(model, tmp_path / "pickled.pt")
    with pytest.raises(InputError, match="not a plain state dict"):
        read_weights(tmp_path / "pickled.pt")
    with pytest.raises(InputError, match="does not exist"):
        read_weights(tmp_path / "none.pt")
