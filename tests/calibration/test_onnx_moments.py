"""Moments of the inputs of layers in ONNX files: those of the patches, whatever reads them."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from common.graphs import model, save, weight
from rankfold.calibration.onnx import Runner, layer_moments, random_feeds
from rankfold.errors import InputError
from rankfold.workload.onnx.layers import analyse_onnx

pytest.importorskip("onnxruntime")
node = helper.make_node
PAIRS = st.tuples(st.integers(1, 2), st.integers(1, 2))


def power(weights, moments):
    """(m,) E[y^2] of the outputs y = W x, without bias."""
    groups = len(moments.second)
    matrices = weights.astype(float).reshape(groups, len(weights) // groups, -1)
    return np.einsum("gmi,gij,gmj->gm", matrices, moments.second, matrices).reshape(-1)


@given(
    stride=PAIRS,
    dilation=PAIRS,
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    groups=st.sampled_from([1, 2]),
)
@settings(max_examples=25)
def test_moments_give_the_power_of_the_output(tmp_path_factory, stride, dilation, kernel, pads, groups):
    """Whatever the attributes: patches are ordered as weights are, and padded on the right sides."""
    conv = node("Conv", ["x", "w"], ["y"], strides=stride, dilations=dilation, pads=pads, group=groups)
    graph = model([conv], [weight("w", 6, 4 // groups, *kernel)], [("x", (3, 4, 9, 8))])
    source = analyse_onnx(save(tmp_path_factory.mktemp("net"), graph))
    feeds = random_feeds(source, 2, 0)
    moments = layer_moments(source, source.layers, feeds)["w"]
    runner = Runner(source.file.path)
    outputs = np.concatenate([runner(feed)[0] for feed in feeds]).astype(float)
    assert np.allclose(power(source.file.array("w"), moments), (outputs**2).mean(axis=(0, 2, 3)), rtol=1e-4)


def test_one_weight_that_is_read_in_two_ways_has_the_average(tmp_path):
    """Each reading has its own patches: with another padding there are more of them."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "w"], ["b"], strides=[2, 2]),
        node("Flatten", ["a"], ["c"]),
        node("Flatten", ["b"], ["d"]),
        node("Concat", ["c", "d"], ["y"], axis=1),
    ]
    path = save(tmp_path, model(nodes, [weight("w", 5, 2, 3, 3)], [("x", (2, 2, 7, 7))]))
    source = analyse_onnx(path)
    feeds = random_feeds(source, 1, 0)
    together = layer_moments(source, source.layers, feeds)["w"]
    wide, narrow = (layer_moments(source, [layer], feeds)["w"] for layer in source.layers)
    patches = np.array([7 * 7, 3 * 3])
    for name in ("second", "mean"):
        both = np.stack([getattr(wide, name), getattr(narrow, name)])
        assert np.allclose(getattr(together, name), np.average(both, axis=0, weights=patches), rtol=1e-12)


def test_products_and_the_mean(tmp_path):
    """A product's patches are the rows of its data."""
    product = node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path, model([product], [weight("w", 6, 3)], [("x", (4, 5, 6))]))
    source = analyse_onnx(path)
    (feed,) = random_feeds(source, 1, 0)
    moments = layer_moments(source, source.layers, [feed])["w"]
    rows = feed["x"].reshape(-1, 6).astype(float)
    assert np.allclose(moments.second[0], rows.T @ rows / len(rows), rtol=1e-12)
    assert np.allclose(moments.mean[0], rows.mean(axis=0), rtol=1e-12)
    assert moments.cross is None


def test_layers_of_too_many_inputs_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("rankfold.calibration.onnx.LARGEST_MOMENTS", 10)
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("MatMul", ["z", "v"], ["y"])]
    path = save(tmp_path, model(nodes, [weight("w", 11, 10), weight("v", 10, 2)], [("x", (1, 11))]))
    source = analyse_onnx(path)
    assert list(layer_moments(source, source.layers, random_feeds(source, 1, 0))) == ["v"]


def test_there_must_be_inputs(tmp_path):
    graph = model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 3, 2)], [("x", (1, 3))])
    source = analyse_onnx(save(tmp_path, graph))
    with pytest.raises(InputError, match="there are no calibration inputs; give at least one batch"):
        layer_moments(source, source.layers, [])
    assert onnx.load(source.file.path).graph.output[0].name == "y"
