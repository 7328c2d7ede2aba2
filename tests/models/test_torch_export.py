"""Networks from torch.export files: the layers that they had, and no tricks with the archive."""

import copy
import io
import pathlib
import zipfile

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.torch_export import load_exported
from rankfold.nn.sub_pixel import replace_transposed_
from rankfold.plan import LowRank, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.workload import trace
from rankfold.workload.onnx.layers import read_onnx

ARRAY = ArraySpec(64, 64)
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporters


class Zoo(nn.Module):
    """One of everything.

    Residual, dense and depthwise-separable blocks, shared weights, strides, dilation, groups.
    """

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


def test_torch_onnx_and_export_files_give_one_network(zoo):
    model, folder = zoo
    traced = trace(model, (3, 17, 14))
    assert [layer.name for layer in traced.layers].count("shared#2") == 1
    read = read_onnx(folder / "zoo.onnx")
    # Transposed convolutions of files are what `load_model` makes of them.
    replaced = copy.deepcopy(model)
    replace_transposed_(replaced)
    loaded = trace(replaced, (3, 17, 14))
    assert read.layers == loaded.layers
    assert read.flow == loaded.flow
    assert read.flow is not None and len(read.flow.joins) > 2
    module, inputs, _ = load_exported(folder / "zoo.pt2")
    exported = trace(module, None, inputs=inputs)
    # A weight that runs twice stays a function call in a torch.export file; all else is the same.
    assert [layer.anonymous for layer in exported.layers] == [layer.anonymous for layer in traced.layers]
    assert [layer.name for layer in exported.layers if layer.fixed] == ["shared", "shared#2", "up"]
    assert exported.untouched == traced.untouched
    assert exported.parameters == traced.parameters


def test_an_exported_network_is_compressed_as_the_module_itself(zoo):
    model, folder = zoo
    module, inputs, _ = load_exported(folder / "zoo.pt2")
    x = torch.randn(1, 3, 17, 14)
    assert torch.allclose(module(x), model(x), atol=1e-6)
    plan = uniform_plan(trace(module, None, inputs=inputs), ARRAY, LowRank(rank=2, groups=2, force=True))
    reports = compress_(module, plan)
    assert [report.name for report in reports if report.kind.name == "low-rank"] == ["grouped.0", "grouped.1"]
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
