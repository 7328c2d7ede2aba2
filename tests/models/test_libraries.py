"""Networks of other libraries by name, with stand-ins for the libraries."""

import sys
import types

import pytest
import torch
from torch import nn

from rankfold.errors import InputError, MissingDependencyError
from rankfold.models.libraries import LibraryModel, preferred_image
from rankfold.models.load import load_model
from rankfold.workload import trace


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
