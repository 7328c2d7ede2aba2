"""Low-rank pairs in ONNX files: those that torch layers get, exact at full rank, and run by onnxruntime."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import nn

from common.graphs import model, save, weight
from rankfold.calibration.onnx import Runner, layer_moments, output_errors, random_feeds
from rankfold.errors import InputError
from rankfold.lowrank import decompose, full_rank, output_error
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, LowRank, Plan, SharedSupport, uniform_plan
from rankfold.plan.kinds import LowRankLayer
from rankfold.surgery.by_weights import compress_by_weights_
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.workload.onnx.layers import analyse_onnx

pytest.importorskip("onnxruntime")
node = helper.make_node
ARRAY = ArraySpec(32, 32)


def all_low_rank(network, groups):
    """Every layer low-rank, at full rank."""
    layers = []
    for shape in {layer.weight: layer for layer in network.layers}.values():
        layers.append(LayerPlan(shape.weight, LowRankLayer(groups, full_rank(shape, groups))))
    return Plan(network.name, network.input, ARRAY, tuple(layers))


@given(data=st.data())
@settings(max_examples=30)
def test_at_full_rank_nothing_changes(data, tmp_path_factory):
    """For convolutions of any attributes and for products of all forms, in old and new opsets."""

    def pair(low, high):
        return list(data.draw(st.tuples(st.integers(low, high), st.integers(low, high))))

    opset = data.draw(st.sampled_from([11, 13, 17]))
    conv_groups, groups = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1, 2]))
    options = {
        "strides": pair(1, 2),
        "dilations": pair(1, 2),
        "group": conv_groups,
        "pads": pair(0, 2) + pair(0, 2),
    }
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
        weight("w", 8, 4 // conv_groups, *kernel),
        weight("b", 8, seed=1),
        weight("v", 8, 8, 3, 2, seed=2),
        weight("fc.weight", 6, 8, seed=3),
        weight("fc.bias", 6, seed=4),
        weight("mm", 6, 4, seed=5),
    ]
    folder = tmp_path_factory.mktemp("net")
    path = save(folder, model(nodes, stored, [("x", (2, 4, 11, 12))], opset=opset))
    source = analyse_onnx(path)
    made, reports = decompose_onnx(source, all_low_rank(source.network, groups))
    assert [report.name for report in reports] == ["w", "v", "fc", "mm"]
    assert max(report.error for report in reports) < 1e-6
    feeds = random_feeds(source, 2, 0)
    assert max(output_errors(Runner(path), Runner(made), feeds).values()) < 1e-5


def small_graph():
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
    return model(nodes, stored, [("x", ("n", 4, 8, 8))])


@pytest.fixture
def small(tmp_path):
    return save(tmp_path, small_graph())


def tensors(made):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer}


class Torch(nn.Module):
    """The same network in torch."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.b = nn.Conv2d(8, 12, 3)
        self.fc = nn.Linear(48, 5, bias=False)

    def forward(self, x):
        return self.fc(self.b(torch.relu(self.a(x))).flatten(1))


@pytest.mark.parametrize("on_data", [False, True])
def test_factors_are_those_of_the_torch_layer(on_data, small):
    source = analyse_onnx(small)
    plan = uniform_plan(source.network, ARRAY, LowRank(groups=2, rank=2, linear=True, force=True))
    low_rank = {layer.name for layer in plan.changed}
    moments = None
    if on_data:
        places = [place for place in source.layers if place.shape.weight in low_rank]
        moments = layer_moments(source, places, random_feeds(source, 40, 0))
    made, reports = decompose_onnx(source, plan, moments)
    twin = Torch()
    twin.load_state_dict({name: torch.tensor(source.file.array(name)) for name in twin.state_dict()})
    in_torch = {report.name: report for report in compress_by_weights_(twin, plan, moments)}
    stored = tensors(made)
    assert low_rank == {report.name for report in reports}
    for report in reports:
        other = in_torch[report.name]
        assert (report.error, report.plain_error) == (other.error, other.plain_error)
        assert report.output_error == other.output_error
        pair = twin.get_submodule(report.name)
        assert report.parameters_after == pair.reduce.weight.numel() + pair.expand.weight.numel()
        np.testing.assert_array_equal(
            stored[f"{report.name}.reduce.weight"], pair.reduce.weight.detach().numpy()
        )
        np.testing.assert_array_equal(
            stored[f"{report.name}.expand.weight"], pair.expand.weight.detach().numpy()
        )


def test_factors_for_data_keep_the_output_better(small):
    source = analyse_onnx(small)
    draw = np.random.default_rng(0)
    base = draw.normal(size=(32, 1, 8, 8))
    scales = np.array([1.0, 2.0, 0.1, 0.5]).reshape(1, 4, 1, 1)
    feeds = [{"x": (base[i : i + 1] * scales).astype(np.float32)} for i in range(32)]
    layer = source.layers[1]
    moments = layer_moments(source, [layer], feeds)
    plan = uniform_plan(source.network, ARRAY, LowRank(groups=2, rank=2, force=True))
    (plain,), (aware,) = (decompose_onnx(source, plan, known)[1] for known in (None, moments))
    assert plain.output_error is None
    nearest = decompose(source.file.array("b.weight"), 1, 2, 2)
    assert aware.output_error < output_error(
        source.file.array("b.weight"), nearest, 1, 2, moments["b"].second
    )
    errors = []
    for known in (None, moments):
        made, _ = decompose_onnx(source, plan, known)
        errors.append(output_errors(Runner(small), Runner(made), feeds)["y"])
    assert errors[1] < errors[0]


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_weights_behind_quantisers_are_decomposed(opset, tmp_path):
    draw = np.random.default_rng(0)
    sizes = {"first": (4, 3, 3, 3), "second": (8, 4, 3, 3), "last": (5, 8, 1, 1)}
    stored, nodes, x = [], [], "x"
    for name, size in sizes.items():
        parts = {
            "levels": draw.integers(-8, 8, size).astype(np.int8),
            "scale": np.float32(0.25),
            "zero": np.int8(0),
        }
        for key, value in parts.items():
            stored.append(onnx.numpy_helper.from_array(np.asarray(value), f"{name}.weight_{key}"))
        inputs = [f"{name}.weight_{key}" for key in parts]
        nodes.append(node("DequantizeLinear", inputs, [f"{name}.weight"]))
        nodes.append(node("Conv", [x, f"{name}.weight"], [x := f"{name}.out"]))
    path = save(tmp_path, model(nodes, stored, outputs=(x,), opset=opset))
    source = analyse_onnx(path)
    full = LowRank(groups=2, rank=8, force=True)
    pairs, reports = decompose_onnx(source, uniform_plan(source.network, ARRAY, full))
    assert len(reports) == 1 and reports[0].error < 1e-6
    assert "second.weight_levels" not in tensors(pairs)
    assert output_errors(Runner(path), Runner(pairs), random_feeds(source, 1, 0))[x] < 1e-5


def test_half_precision_stays_so(tmp_path):
    sizes = {"first.weight": (4, 3, 3, 3), "second.weight": (8, 4, 3, 3), "last.weight": (5, 8, 1, 1)}
    stored = [weight(name, *size, seed=1, kind=np.float16) for name, size in sizes.items()]
    values = ["x", "a", "b", "y"]
    nodes = []
    for number, name in enumerate(sizes):
        nodes.append(node("Conv", [values[number], name], [values[number + 1]]))
    made = model(nodes, stored)
    half = onnx.TensorProto.FLOAT16
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.elem_type = half
    source = analyse_onnx(save(tmp_path, made))
    full = LowRank(groups=2, rank=8, force=True)
    pairs, _ = decompose_onnx(source, uniform_plan(source.network, ARRAY, full))
    assert {tensor.data_type for tensor in pairs.graph.initializer} == {half}
    errors = output_errors(Runner(source.file.path), Runner(pairs), random_feeds(source, 1, 0))
    assert errors["y"] < 0.02  # of rounding alone


def test_what_needs_training_is_refused(small):
    source = analyse_onnx(small)
    network = source.network
    wrong = {
        "an ONNX file is decomposed in float; make the plan without bits": uniform_plan(
            network, ARRAY, LowRank(groups=2, rank=2, force=True), bits=4
        ),
        "layer b: an ONNX file is decomposed with all kernel positions; omit entries": uniform_plan(
            network, ARRAY, LowRank(rank=2, entries=3, force=True)
        ),
        "layer b: an ONNX file can have low-rank layers only, this one is pattern-pruned": uniform_plan(
            network, ARRAY, SharedSupport(3)
        ),
    }
    for message, plan in wrong.items():
        with pytest.raises(InputError, match=message):
            decompose_onnx(source, plan)


@pytest.mark.parametrize("name", ["b.reduce.weight", "b.expand.weight", "b.reduce.out"])
def test_a_name_that_is_taken_is_not_given_twice(name, tmp_path):
    made = small_graph()
    made.graph.initializer.append(weight(name, 5))
    made.graph.node[4].input.append(name)
    source = analyse_onnx(save(tmp_path, made))
    plan = uniform_plan(source.network, ARRAY, LowRank(groups=2, rank=2, force=True))
    with pytest.raises(InputError, match=f"layer b: the model has a value called {name} already"):
        decompose_onnx(source, plan)


def test_the_source_is_left_as_it_was(small):
    source = analyse_onnx(small)
    before = source.file.model.SerializeToString(deterministic=True)
    decompose_onnx(source, all_low_rank(source.network, 2))
    assert source.file.model.SerializeToString(deterministic=True) == before


def test_weights_beside_the_file_come_along(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(small_graph(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    source = analyse_onnx(path)
    made, _ = decompose_onnx(source, all_low_rank(source.network, 2))
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in made.graph.initializer)
    assert output_errors(Runner(path), Runner(made), random_feeds(source, 1, 0))["y"] < 1e-5
