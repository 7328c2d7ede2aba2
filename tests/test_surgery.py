"""Low-rank modules, surgery by plan, loading of models and weights."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, check_classes, load_model, read_weights
from rankfold.models.zoo import build
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.quantised import QuantConv2d, QuantLinear
from rankfold.plan import LayerPlan, check_plan, uniform_plan
from rankfold.surgery.compress import compress_, open_signs, quantise_by_plan_
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
    plan = uniform_plan(trace(model, (3, 8, 8)), ARRAY, 2, "1/4", bits=4)
    reports = compress_(model, plan)
    assert [(report.name, report.kind) for report in reports] == [
        ("first", "dense"), ("shared", "low-rank"), ("branches.1.0", "low-rank"), ("kernel", "dense"), ("head", "dense"),
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


def test_surgery_at_full_rank_keeps_the_function():
    model = build("resnet8", 10).eval()
    x = torch.randn(2, 3, 32, 32)
    plan = uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, 1, "16")
    compress_(model, plan)
    assert sum(isinstance(module, LowRankConv2d) for module in model.modules()) == 6
    # 16 outputs have full rank 16: layer1 is exact, so the two outputs after it agree.
    other = build("resnet8", 10).eval()
    torch.testing.assert_close(model.layer1(model.conv1(x)), other.layer1(other.conv1(x)), rtol=1e-4, atol=1e-4)


def test_refusals_leave_the_model_as_it_was():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), normed)
    plan = uniform_plan(trace(model, (3, 12, 12)), ARRAY, 1, 2)
    assert [layer.kind for layer in plan.layers] == ["dense", "low-rank", "dense"]
    assert plan.layers[2].reason.startswith("has a parametrised weight; remove it first")
    forced = replace(plan, layers=(*plan.layers[:2], LayerPlan("2", "low-rank", 1, 2)))
    with pytest.raises(UnsupportedLayerError, match="layer 2 has a parametrised weight; remove it first"):
        compress_(model, forced)
    with pytest.raises(InputError, match="layer 2: it cannot be low-rank: has a parametrised weight"):
        check_plan(forced, trace(model, (3, 12, 12)))
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
        ("mine:nothing", "returned a int; it must return"),
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
    with pytest.raises(InputError, match=r"checkpoint w\.pt is for another network or number of classes: fc"):
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
    plan = uniform_plan(network, ARRAY, 2, 2, bits=4)
    compress_(model, plan)
    batches = [torch.randn(4, 3, 8, 8)]
    seen = observe_signs(model, batches, open_signs(plan).values())
    plan = plan.with_signs({name: seen[module] for name, module in open_signs(plan).items()})
    quantise_by_plan_(model, plan)
    calibrate_(model, batches)
    assert model(batches[0]).shape == (4, 4)


def test_a_parametrised_convolution_is_not_taken_for_a_function():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    assert trace(nn.Sequential(normed), (3, 8, 8)).untouched == ()
