"""Low-rank pairs in ONNX files: exact at full rank, smaller below, and run by onnxruntime."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rankfold.calibration.onnx import Runner, layer_moments, output_errors, random_feeds
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.lowrank import full_rank, output_error
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, Plan, uniform_plan
from rankfold.runs.decompose_onnx import decompose_to_folder, read_feeds
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.workload.onnx.layers import analyse_onnx, read_onnx

sys.path.insert(0, str(Path(__file__).parents[1] / "workload"))
from graphs import model, save, weight

pytest.importorskip("onnxruntime")
node = helper.make_node
ARRAY = ArraySpec(32, 32)


def all_low_rank(network, groups, rank=None):
    """Every layer low-rank, at full rank by default."""
    shapes = {layer.weight: layer for layer in network.layers}
    layers = [LayerPlan(name, "low-rank", groups, rank or full_rank(shape, groups)) for name, shape in shapes.items()]
    return Plan(network.name, network.input, ARRAY, tuple(layers))


@given(data=st.data())
@settings(max_examples=30)
def test_at_full_rank_nothing_changes(data, tmp_path_factory):
    """For convolutions of any attributes and for products of all forms, in old and new opsets."""
    pair = lambda low, high: list(data.draw(st.tuples(st.integers(low, high), st.integers(low, high))))  # noqa: E731
    opset = data.draw(st.sampled_from([11, 13, 17]))
    conv_groups, groups = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1, 2]))
    options = {"strides": pair(1, 2), "dilations": pair(1, 2), "group": conv_groups, "pads": pair(0, 2) + pair(0, 2)}
    kernel = pair(1, 3)
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], **options),
        node("Conv", ["c", "v"], ["d"], auto_pad="SAME_LOWER"),
        node("Conv", ["d", "v"], ["e"], auto_pad="SAME_LOWER"),  # the same weight again
        node("GlobalAveragePool", ["e"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["g"], transB=1, beta=0.5),
        node("MatMul", ["g", "mm"], ["y"]),
    ]
    stored = [
        weight("w", 8, 4 // conv_groups, *kernel), weight("b", 8, seed=1), weight("v", 8, 8, 3, 2, seed=2),
        weight("fc.weight", 6, 8, seed=3), weight("fc.bias", 6, seed=4), weight("mm", 6, 4, seed=5),
    ]  # fmt: skip
    path = save(tmp_path_factory.mktemp("net"), model(nodes, stored, [("x", (2, 4, 11, 12))], opset=opset))
    source = analyse_onnx(path)
    made, reports = decompose_onnx(source, all_low_rank(source.network, groups))
    assert [report.name for report in reports] == ["w", "v", "fc", "mm"]
    assert max(report.error for report in reports) < 1e-6
    feeds = random_feeds(source, 2, 0)
    assert max(output_errors(Runner(path), Runner(made), feeds).values()) < 1e-5


@pytest.fixture
def small(tmp_path):
    """A network of a strided convolution, a second one and a classifier."""
    nodes = [
        node("Conv", ["x", "a.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "b.weight", "b.bias"], ["b"]),
        node("Flatten", ["b"], ["f"]),
        node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    stored = [weight("a.weight", 8, 4, 3, 3), weight("b.weight", 12, 8, 3, 3), weight("b.bias", 12), weight("fc.weight", 5, 48)]
    return save(tmp_path, model(nodes, stored, [("x", ("n", 4, 8, 8))]))


def test_the_pair_stores_fewer_weights_and_is_read_back(small, tmp_path):
    source = analyse_onnx(small)
    plan = uniform_plan(source.network, ARRAY, 2, 2)
    found = decompose_to_folder(source, plan, tmp_path / "out")
    (layer,) = found.layers
    assert (layer.name, layer.groups, layer.rank) == ("b", 2, 2)
    assert layer.parameters_after == 2 * 72 + 12 * 4
    assert found.parameters_before - found.parameters_after == layer.parameters_before - layer.parameters_after
    again = read_onnx(tmp_path / "out" / "model.onnx")
    assert again.parameters == found.parameters_after
    assert [(s.name, s.groups, s.kernel) for s in again.layers] == [
        ("a", 1, (3, 3)), ("b.reduce", 2, (3, 3)), ("b.expand", 1, (1, 1)), ("fc", 1, (1, 1)),
    ]  # fmt: skip
    assert Plan.load(tmp_path / "out" / "plan.json") == plan
    content = json.loads((tmp_path / "out" / "decomposition.json").read_text())
    assert content["layers"][0]["error"] == layer.error > 0
    assert content["outputs"]["y"] > 0


def test_factors_for_data_keep_the_output_better(small):
    source = analyse_onnx(small)
    draw = np.random.default_rng(0)
    base = draw.normal(size=(32, 1, 8, 8))
    feeds = [{"x": (base[i : i + 1] * [[[[1.0]], [[2.0]], [[0.1]], [[0.5]]]]).astype(np.float32)} for i in range(32)]
    layer = source.layers[1]
    moments = layer_moments(source, [layer], feeds)
    plan = uniform_plan(source.network, ARRAY, 2, 2)
    (plain,), (aware,) = (decompose_onnx(source, plan, given)[1] for given in (None, moments))
    assert plain.output_error is None
    factors_error = aware.output_error
    weight_ = source.file.array("b.weight")
    from rankfold.lowrank import decompose

    assert factors_error < output_error(weight_, decompose(weight_, 1, 2, 2), 1, 2, moments["b"])
    errors = [
        output_errors(Runner(small), Runner(decompose_onnx(source, plan, given)[0]), feeds)["y"] for given in (None, moments)
    ]
    assert errors[1] < errors[0]


def test_moments_are_those_of_the_convolution(small):
    """The power of the layer's output, from the moments and from onnxruntime."""
    source = analyse_onnx(small)
    feeds = random_feeds(source, 3, 0)
    layer = source.layers[1]
    second = layer_moments(source, [layer], feeds)["b"][0]
    weights = source.file.array("b.weight").reshape(12, -1).astype(float)
    opened = onnx.load(small)
    opened.graph.node[2].input.pop()  # without bias
    opened.graph.output.append(helper.make_empty_tensor_value_info("b"))
    runner = Runner(opened)
    outputs = np.concatenate([runner(feed, ["b"])[0] for feed in feeds])
    assert np.trace(weights @ second @ weights.T) == pytest.approx((outputs**2).sum() / outputs[:, 0].size, rel=1e-5)


def test_on_the_command_line(small, tmp_path, capsys):
    common = ["compress", small, "--epochs", "0", "--rank", "2", "--groups", "2"]
    np.savez(tmp_path / "inputs.npz", x=np.random.default_rng(0).normal(size=(16, 4, 8, 8)).astype(np.float32))
    assert main([*common, "--out", str(tmp_path / "plain")]) == 0
    assert main([*common, "--out", str(tmp_path / "data"), "--data", str(tmp_path / "inputs.npz")]) == 0
    printed = capsys.readouterr().out
    assert "relative error" in printed and "low-rank: 1 layer" in printed
    assert "on the calibration inputs" in printed
    nearest = [*common, "--decomposition", "svd", "--data", str(tmp_path / "inputs.npz")]
    assert main([*nearest, "--out", str(tmp_path / "nearest")]) == 0
    assert "on the calibration inputs" in capsys.readouterr().out
    plain, data, nearest = ((tmp_path / name / "model.onnx").read_bytes() for name in ("plain", "data", "nearest"))
    assert plain == nearest != data
    Plan("other", (4, 8, 8), ARRAY, (LayerPlan("conv", "dense"),)).save(tmp_path / "other.json")
    wrong = {
        "is decomposed but not trained here; add --epochs 0": ["compress", small, "--rank", "2", "--out", str(tmp_path / "w")],
        "leave --bits away": [*common, "--bits", "4", "--out", str(tmp_path / "w")],
        "needs a rank": [*common[:4], "--out", str(tmp_path / "w")],
        "is not an empty folder": [*common, "--out", str(tmp_path / "plain")],
        "--adc-bits says nothing where an ONNX file": [*common, "--adc-bits", "4", "--out", str(tmp_path / "w")],
        "decomposed layer by layer": [*common, "--decomposition", "sequential", "--out", str(tmp_path / "w")],
        "--decomposition data needs calibration inputs": [*common, "--decomposition", "data", "--out", str(tmp_path / "w")],
        "leave --groups away": [
            *common[:4],
            "--groups",
            "2",
            "--plan",
            str(tmp_path / "plain" / "plan.json"),
            "--out",
            str(tmp_path / "w"),
        ],
        "the plan": [*common[:4], "--plan", str(tmp_path / "other.json"), "--out", str(tmp_path / "w")],
        "cannot read calibration inputs": [*common, "--out", str(tmp_path / "w"), "--data", str(tmp_path / "none.npz")],
    }
    for message, arguments in wrong.items():
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert message in error[-1], error
        assert not (tmp_path / "w").exists()


def test_calibration_inputs_must_fit(small, tmp_path):
    source = analyse_onnx(small)
    for name, content, message in (
        ("a", {"z": np.zeros((2, 4, 8, 8))}, r"holds z, and the model takes x"),
        ("b", {"x": np.zeros((2, 4, 9, 8))}, r"x has shape \(2, 4, 9, 8\), and the model takes Nx4x8x8"),
        ("d", {"x": np.float32(1)}, r"x has shape \(\), and the model takes Nx4x8x8"),
        ("e", {"x": np.zeros((2, 4, 8, 8), np.int64)}, "x holds int64, and the model takes float32; convert it"),
        ("f", {"x": np.array([{}])}, "it holds no plain arrays, or is damaged"),
    ):
        np.savez(tmp_path / f"{name}.npz", **content)
        with pytest.raises(InputError, match=message):
            read_feeds(tmp_path / f"{name}.npz", source)
    np.savez(tmp_path / "double.npz", x=np.ones((2, 4, 8, 8)))
    assert [feed["x"].dtype for feed in read_feeds(tmp_path / "double.npz", source)] == [np.float32] * 2
    for content in (b"no array", (tmp_path / "double.npz").read_bytes()[:200]):
        (tmp_path / "c.npz").write_bytes(content)
        with pytest.raises(InputError, match="it holds no plain arrays, or is damaged"):
            read_feeds(tmp_path / "c.npz", source)


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_weights_behind_quantisers_are_decomposed(opset, tmp_path):
    draw = np.random.default_rng(0)
    sizes = {"first": (4, 3, 3, 3), "second": (8, 4, 3, 3), "last": (5, 8, 1, 1)}
    stored, nodes, x = [], [], "x"
    for name, size in sizes.items():
        parts = {"levels": draw.integers(-8, 8, size).astype(np.int8), "scale": np.float32(0.25), "zero": np.int8(0)}
        stored += [onnx.numpy_helper.from_array(np.asarray(value), f"{name}.weight_{key}") for key, value in parts.items()]
        nodes.append(node("DequantizeLinear", [f"{name}.weight_{key}" for key in parts], [f"{name}.weight"]))
        nodes.append(node("Conv", [x, f"{name}.weight"], [x := f"{name}.out"]))
    ends = [
        helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, dims) for value, dims in (("x", [1, 3, 8, 8]), (x, None))
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "qdq", ends[:1], ends[1:], stored), opset_imports=[helper.make_opsetid("", opset)]
    )
    made.ir_version = 8
    onnx.save(made, tmp_path / "qdq.onnx")
    source = analyse_onnx(tmp_path / "qdq.onnx")
    pairs, reports = decompose_onnx(source, uniform_plan(source.network, ARRAY, 2, 8))
    assert len(reports) == 1 and reports[0].error < 1e-6  # full rank
    assert output_errors(Runner(source.file.path), Runner(pairs), random_feeds(source, 1, 0))[x] < 1e-5


def test_half_precision_stays_so(tmp_path):
    weights = {"first.weight": (4, 3, 3, 3), "second.weight": (8, 4, 3, 3), "last.weight": (5, 8, 1, 1)}
    draw = np.random.default_rng(0)
    stored = [onnx.numpy_helper.from_array(draw.normal(size=size).astype(np.float16), name) for name, size in weights.items()]
    values = ["x", "a", "b", "y"]
    nodes = [helper.make_node("Conv", [values[i], name], [values[i + 1]]) for i, name in enumerate(weights)]
    half = onnx.TensorProto.FLOAT16
    ends = [helper.make_tensor_value_info("x", half, [1, 3, 8, 8])], [helper.make_tensor_value_info("y", half, None)]
    model = helper.make_model(helper.make_graph(nodes, "half", *ends, stored), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "half.onnx")
    source = analyse_onnx(tmp_path / "half.onnx")
    made, _ = decompose_onnx(source, uniform_plan(source.network, ARRAY, 2, 8))
    assert {tensor.data_type for tensor in made.graph.initializer} == {half}
    feeds = random_feeds(source, 1, 0)
    assert output_errors(Runner(source.file.path), Runner(made), feeds)["y"] < 0.02  # full rank: rounding alone


def test_plans_that_need_training_are_refused(small):
    source = analyse_onnx(small)
    with pytest.raises(InputError, match="an ONNX file is decomposed in float; make the plan without bits"):
        decompose_onnx(source, uniform_plan(source.network, ARRAY, 2, 2, bits=4))
