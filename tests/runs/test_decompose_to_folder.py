"""A decomposed ONNX file with its plan and record, and the calibration inputs that are read for it."""

import json
import sys
import zipfile

import numpy as np
import pytest
from onnx import helper

from common.graphs import model, save, weight
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.runs import decompose_onnx as module
from rankfold.runs.decompose_onnx import decompose_to_folder, read_feeds
from rankfold.workload.onnx.layers import analyse_onnx, read_onnx

pytest.importorskip("onnxruntime")
node = helper.make_node
ARRAY = ArraySpec(32, 32)


@pytest.fixture
def source(tmp_path):
    """A network of a strided convolution, a second one and a classifier."""
    nodes = [
        node("Conv", ["x", "a.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "b.weight", "b.bias"], ["b"]),
        node("Flatten", ["b"], ["f"]),
        node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    stored = [
        weight("a.weight", 8, 4, 3, 3),
        weight("b.weight", 12, 8, 3, 3),
        weight("b.bias", 12),
        weight("fc.weight", 5, 48),
    ]
    return analyse_onnx(save(tmp_path, model(nodes, stored, [("x", ("n", 4, 8, 8))])))


@pytest.fixture
def plan(source):
    return uniform_plan(source.network, ARRAY, LowRank(groups=2, rank=2, force=True))


def test_the_pair_stores_fewer_weights_and_is_read_back(source, plan, tmp_path):
    made = decompose_to_folder(source, plan, tmp_path / "out", command="rankfold compress")
    (layer,) = made.layers
    assert (layer.name, layer.setting) == ("b", {"groups": 2, "rank": 2})
    assert layer.parameters_after == 2 * 72 + 12 * 4
    saved = layer.parameters_before - layer.parameters_after
    assert made.parameters_before - made.parameters_after == saved
    again = read_onnx(tmp_path / "out" / "model.onnx")
    assert again.parameters == made.parameters_after
    assert [(shape.name, shape.groups, shape.kernel) for shape in again.layers] == [
        ("a", 1, (3, 3)),
        ("b.reduce", 2, (3, 3)),
        ("b.expand", 1, (1, 1)),
        ("fc", 1, (1, 1)),
    ]
    assert Plan.load(tmp_path / "out" / "plan.json") == plan


def test_the_record_has_the_keys_that_it_always_had(source, plan, tmp_path):
    made = decompose_to_folder(source, plan, tmp_path / "out", command="rankfold compress")
    content = json.loads((tmp_path / "out" / "decomposition.json").read_text())
    # What came later stands behind.
    assert list(content)[:9] == [
        "_type",
        "_version",
        "model",
        "command",
        "layers",
        "outputs",
        "inputs",
        "parameters_before",
        "parameters_after",
    ]
    assert (content["_type"], content["_version"]) == ("rankfold.decomposition", 1)
    assert content["command"] == "rankfold compress"
    assert list(content["layers"][0]) == [
        "name",
        "groups",
        "rank",
        "error",
        "plain_error",
        "output_error",
        "parameters_before",
        "parameters_after",
        "becomes",
    ]
    assert content["layers"][0]["error"] == made.layers[0].error > 0
    assert content["outputs"]["y"] > 0


def test_inputs_are_used_for_factors_unless_they_are_not_to_be(source, plan, tmp_path):
    draw = np.random.default_rng(0)
    feeds = [{"x": draw.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(16)]
    aware = decompose_to_folder(source, plan, tmp_path / "data", feeds)
    nearest = decompose_to_folder(source, plan, tmp_path / "nearest", feeds, for_data=False)
    plain = decompose_to_folder(source, plan, tmp_path / "plain")
    assert aware.inputs == nearest.inputs == "the calibration inputs"
    assert plain.inputs == "4 batches of normal numbers, seed 0"
    assert aware.outputs["y"] < nearest.outputs["y"]
    files = [(tmp_path / name / "model.onnx").read_bytes() for name in ("data", "nearest", "plain")]
    assert files[0] != files[1] == files[2]


def test_without_onnxruntime_nothing_is_compared(source, plan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = decompose_to_folder(source, plan, tmp_path / "out")
    assert made.outputs is None and "onnxruntime is not installed" in made.inputs


def test_a_folder_in_use_is_refused_before_any_work(source, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "decompose_onnx", None)
    with pytest.raises(InputError, match="is not an empty folder"):
        decompose_to_folder(source, plan, tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"z": np.zeros((2, 4, 8, 8))}, r"holds z, and the model takes x"),
        ({"x": np.zeros((2, 4, 9, 8))}, r"x has shape \(2, 4, 9, 8\), and the model takes Nx4x8x8"),
        ({"x": np.zeros((0, 4, 8, 8))}, r"x has shape \(0, 4, 8, 8\), .* N at least 1"),
        ({"x": np.float32(1)}, r"x has shape \(\), and the model takes Nx4x8x8"),
        (
            {"x": np.zeros((2, 4, 8, 8), np.int64)},
            "x holds int64, and the model takes float32; convert it",
        ),
        ({"x": np.array([{}])}, "it holds no plain arrays, or is damaged"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_refused(content, message, source, tmp_path):
    np.savez(tmp_path / "inputs.npz", **content)
    with pytest.raises(InputError, match=message):
        read_feeds(tmp_path / "inputs.npz", source)


def test_inputs_come_in_the_type_that_the_model_takes(source, tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 8, 8))
    np.savez(tmp_path / "double.npz", x=values)
    np.save(tmp_path / "alone.npy", values)
    for name in ("double.npz", "alone.npy"):
        feeds = read_feeds(tmp_path / name, source)
        assert [feed["x"].dtype for feed in feeds] == [np.float32] * 3
        np.testing.assert_array_equal(np.concatenate([feed["x"] for feed in feeds]), values.astype("f4"))


def test_a_damaged_file_of_inputs_is_refused(source, tmp_path):
    np.savez(tmp_path / "whole.npz", x=np.ones((2, 4, 8, 8)))
    for content in (b"no array", b"", (tmp_path / "whole.npz").read_bytes()[:200]):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(InputError, match="it holds no plain arrays, or is damaged"):
            read_feeds(tmp_path / "damaged.npz", source)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as file:
        file.writestr("x", "no array")
    with pytest.raises(InputError, match="it holds no plain arrays, or is damaged"):
        read_feeds(tmp_path / "text.npz", source)
    with pytest.raises(InputError, match=r"cannot read calibration inputs .*none.npz: No such file"):
        read_feeds(tmp_path / "none.npz", source)
