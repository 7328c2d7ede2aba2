"""Tracing of torch networks that are written in awkward ways, and of torch.export files and other libraries' networks."""

import io
import pathlib
import sys
import types
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec
from rankfold.models.libraries import LibraryModel, preferred_image
from rankfold.models.load import load_model
from rankfold.models.torch_export import load_exported
from rankfold.plan import LayerRule, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.workload import trace
from rankfold.workload.onnx.layers import read_onnx

ARRAY = ArraySpec(64, 64)


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
        nn.Conv2d(3, 8, 3), OwnConv(8, 8, 2, stride=2), normed, hooked, nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), shared, tied, nn.Linear(8, 2),
    )  # fmt: skip
    network = trace(model, (3, 12, 12))
    assert [(layer.name, layer.input, layer.output) for layer in network.layers[:3]] == [
        ("0", (12, 12), (10, 10)), ("1", (11, 11), (5, 5)), ("2", (5, 5), (3, 3)),
    ]  # fmt: skip
    why = {layer.name: layer.fixed for layer in network.layers}
    assert why["1"] == "is a OwnConv, not a plain nn.Conv2d, so its behaviour would be lost"
    assert why["2"].startswith("has a parametrised weight")
    assert why["3"].startswith("has hooks")
    assert (why["7"], why["8"]) == ("shares its weight with 8", "shares its weight with 7")
    plan = uniform_plan(network, ARRAY, 1, 2, bits=4, linear=True)
    assert [layer.reason for layer in plan.layers[1:4]] == [why["1"], why["2"], why["3"]]
    assert plan.layers[1].weight_bits is None
    with pytest.raises(InputError, match=r"include rule 1: the layer cannot be low-rank: is a OwnConv"):
        uniform_plan(network, ARRAY, 1, 2, rules=[LayerRule("1", True)])


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
    plan = uniform_plan(network, ARRAY, 1, 2)
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


class Zoo(nn.Module):
    """One of everything: residual, dense and depthwise-separable blocks, shared weights, strides, dilation, groups."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, (5, 3), (2, 1), (2, 0), bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.shared = nn.Conv2d(8, 8, 3, padding="same", dilation=2)
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1))
        self.grouped = nn.ModuleList(
            [nn.Conv2d(8 * k, 8, 3, 1, 1, groups=2, padding_mode="zeros") for k in (1, 2)]
        )
        self.up = nn.ConvTranspose2d(24, 6, 2, 2)
        self.head = nn.Linear(6, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.shared(torch.relu(self.shared(x)))
        x = x + self.depth(x)
        for conv in self.grouped:
            x = torch.cat((x, conv(x)), 1)
        return self.head(self.up(x).mean((2, 3)))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The network, and its ONNX and torch.export files."""
    folder = tmp_path_factory.mktemp("zoo")
    torch.manual_seed(0)
    model = Zoo().eval()
    image = torch.zeros(1, 3, 17, 14)
    torch.onnx.export(model, (image,), folder / "zoo.onnx", dynamo=True, optimize=False, verbose=False)
    torch.export.save(torch.export.export(model, (image,)), folder / "zoo.pt2")
    return model, folder


pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporters


def test_torch_onnx_and_export_files_give_one_network(zoo):
    model, folder = zoo
    traced = trace(model, (3, 17, 14))
    assert [layer.name for layer in traced.layers].count("shared#2") == 1
    assert read_onnx(folder / "zoo.onnx").layers == traced.layers
    module, inputs, _ = load_exported(folder / "zoo.pt2")
    exported = trace(module, None, inputs=inputs)
    # A weight that runs twice stays a function call in a torch.export file; all else is the same.
    assert [layer.anonymous for layer in exported.layers] == [layer.anonymous for layer in traced.layers]
    assert [layer.name for layer in exported.layers if layer.fixed] == ["shared", "shared#2"]
    assert exported.untouched == traced.untouched
    assert exported.parameters == traced.parameters


def test_an_exported_network_is_compressed_as_the_module_itself(zoo):
    model, folder = zoo
    module, inputs, _ = load_exported(folder / "zoo.pt2")
    x = torch.randn(1, 3, 17, 14)
    assert torch.allclose(module(x), model(x), atol=1e-6)
    plan = uniform_plan(trace(module, None, inputs=inputs), ARRAY, 2, 2)
    reports = compress_(module, plan)
    assert [report.name for report in reports if report.kind == "low-rank"] == ["grouped.0", "grouped.1"]
    assert not torch.allclose(module(x), model(x))
    module.train()(x).sum().backward()


def test_exported_files_with_pickles_or_code_are_refused(zoo, tmp_path):
    _, folder = zoo
    with zipfile.ZipFile(folder / "zoo.pt2") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}

    def written(change):
        path = tmp_path / "bad.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in change(parts).items():
                archive.writestr(name, content)
        return path

    pickled = written(
        lambda p: {k: v.replace(b'"use_pickle": false', b'"use_pickle": true') for k, v in p.items()}
    )
    with pytest.raises(InputError, match="holds pickled objects, which are not read"):
        load_exported(pickled)
    with pytest.raises(InputError, match="holds compiled code"):
        load_exported(written(lambda p: {**p, "zoo/data/aotinductor/model/x.so": b""}))
    unsafe = b'{"expr_str": "__import__(\'os\')"}'
    with pytest.raises(InputError, match=r"holds the formula .* which is not evaluated"):
        load_exported(written(lambda p: {**p, "zoo/models/model.json": unsafe}))
    (tmp_path / "text.pt2").write_text("no archive")
    for name, message in (
        ("text.pt2", "is not a torch.export file, or is damaged"),
        ("none.pt2", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            load_exported(tmp_path / name)


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_no_trick_with_the_archive_unpickles_anything(zoo, tmp_path):
    _, folder = zoo
    inputs, trap = "zoo/data/sample_inputs/model.pt", tmp_path / "unpickled"
    pickled = io.BytesIO()
    torch.save(Touches(trap), pickled)
    with zipfile.ZipFile(folder / "zoo.pt2") as whole:
        parts = [(name, whole.read(name)) for name in whole.namelist()]
    assert inputs in dict(parts)
    bad = (inputs, pickled.getvalue())
    others = [part for part in parts if part[0] != inputs]
    old = [
        ("version", b"8.0"),
        *((f"serialized_{name}.pt", bad[1]) for name in ("state_dict", "constants", "example_inputs")),
    ]
    cases = [
        ("holds pickled objects", [*others, bad]),
        ("holds pickled objects", [*others, (inputs.replace("model.pt", "MODEL.PT"), bad[1])]),
        ("entries of one name", [bad, *parts]),
        ("entries of one name", [*parts, (inputs.replace("model.pt", "MODEL.PT"), bad[1])]),
        ("outside its folder", [*parts, *old]),
        ("is no torch.export file", old),
    ]
    for message, entries in cases:
        with zipfile.ZipFile(tmp_path / "trick.pt2", "w") as archive:
            for name, content in entries:
                archive.writestr(name, content)
        with pytest.raises(InputError, match=message):
            load_exported(tmp_path / "trick.pt2")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt2")
    with pytest.raises(InputError, match=r"is no torch\.export file"):
        load_exported(tmp_path / "module.pt2")
    assert not trap.exists()


class FakeLibrary(types.ModuleType):
    """Stands for timm: `create_model` as it is called there."""

    def create_model(self, name, pretrained=False, num_classes=1000, in_chans=3):
        if name == "none":
            raise RuntimeError("Unknown model (none)")
        made = nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.Flatten(), nn.LazyLinear(num_classes))
        made[2] = nn.Linear(4 * 30 * 30, num_classes)
        made.pretrained_cfg, made.pretrained = {"input_size": (3, 32, 32)}, pretrained
        return made


def test_networks_of_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", FakeLibrary("timm"))
    model = load_model("timm:small", 7, 1)
    assert (model[0].in_channels, model[2].out_features, model.pretrained) == (1, 7, False)
    assert load_model("timm:small:pretrained", 7).pretrained
    assert preferred_image(model) == (3, 32, 32)
    with pytest.raises(InputError, match=r"timm cannot make none for 3 channels: Unknown model \(none\)"):
        load_model("timm:none", 7)


def test_networks_of_torchvision(monkeypatch):
    models = types.ModuleType("torchvision.models")
    asked = []

    def get_model(name, weights=None, num_classes=1000):
        asked.append((name, weights))
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, num_classes))

    models.get_model = get_model
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert load_model("torchvision:resnet50", 7)[2].out_features == 7
    with pytest.raises(
        InputError, match="published weights by unpickling them, which is never done here; save their state"
    ):
        load_model("torchvision:resnet50:pretrained", 7)
    assert asked == [("resnet50", None)]
    with pytest.raises(InputError, match="torchvision's networks take 3 channels, the images have 1"):
        load_model("torchvision:resnet50", 7, 1)


def test_networks_of_hugging_face(monkeypatch):
    class Answer:
        def __init__(self, logits):
            self.logits = logits

    class Classifier(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config
            self.conv, self.head = nn.Conv2d(config.num_channels, 4, 3), nn.Linear(4, config.num_labels)

        def forward(self, pixel_values=None):
            return Answer(self.head(self.conv(pixel_values).mean((2, 3))))

    config = types.SimpleNamespace(num_channels=3, num_labels=1000, image_size=20)
    package = types.ModuleType("transformers")
    package.AutoConfig = types.SimpleNamespace(
        from_pretrained=lambda name, **known: types.SimpleNamespace(**{**vars(config), **known})
    )
    package.AutoModelForImageClassification = types.SimpleNamespace(from_config=Classifier)
    monkeypatch.setitem(sys.modules, "transformers", package)
    model = load_model("hf:someone/net", 7)
    assert preferred_image(model) == (3, 20, 20)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert [layer.name for layer in trace(model, (3, 8, 8)).layers] == ["conv", "head"]


@pytest.mark.parametrize(
    "prefix, package", [("timm", "timm"), ("torchvision", "torchvision"), ("hf", "transformers")]
)
def test_a_missing_library_says_how_to_install_it(prefix, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingDependencyError, match=rf"{prefix}:net needs the package {package}, .*: pip install {package}"
    ):
        load_model(f"{prefix}:net", 10)


def test_other_names_are_no_library_s():
    assert LibraryModel.parse("mypackage:net") is None
    with pytest.raises(
        InputError, match=r"model timm: names no network; write timm:NAME, such as timm:resnet50"
    ):
        LibraryModel.parse("timm:")
