"""Layers of networks read from ONNX files: what is recognised, and under which names."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from common.graphs import conv, ints, model, run, save, weight
from rankfold.mapping import ArraySpec
from rankfold.plan import coverage, uniform_plan
from rankfold.workload import Untouched
from rankfold.workload.onnx.layers import read_onnx

node = helper.make_node
pytest.importorskip("onnxruntime")


@given(data=st.data())
@settings(max_examples=40)
def test_a_convolution_of_any_attributes_has_the_output_that_onnxruntime_gives_it(data, tmp_path_factory):
    pair = lambda low, high: list(data.draw(st.tuples(st.integers(low, high), st.integers(low, high))))  # noqa: E731
    groups = data.draw(st.sampled_from([1, 2, 4]))
    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 2)
    options = {"strides": stride, "dilations": dilation, "group": groups}
    automatic = data.draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if automatic == "NOTSET":
        options["pads"] = pair(0, 2) + pair(0, 2)
    else:
        options["auto_pad"] = automatic
        if automatic != "VALID":
            options["dilations"] = [
                1,
                1,
            ]  # onnxruntime does not pad dilated kernels by itself as the standard says
    made = model([conv(**options)], [weight("w", 8, 4 // groups, *kernel)], [("x", (1, 4, 9, 11))])
    folder = tmp_path_factory.mktemp("onnx")
    path = save(folder, made)
    (layer,) = read_onnx(path).layers
    found = run(path, x=np.ones((1, 4, 9, 11), np.float32))
    assert (layer.out_channels, *layer.output) == found.shape[1:]
    assert (layer.groups, layer.kernel, layer.stride, layer.input) == (
        groups,
        tuple(kernel),
        tuple(stride),
        (9, 11),
    )


def test_same_lower_puts_the_odd_zero_above_and_left(tmp_path):
    """A kernel of ones on an image whose last pixel is 1: the output says which pixels each kernel sees."""
    for automatic, padding in (("SAME_UPPER", (0, 1, 0, 1)), ("SAME_LOWER", (1, 0, 1, 0))):
        made = model(
            [conv(auto_pad=automatic)],
            [numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "w")],
            [("x", (1, 1, 3, 3))],
        )
        path = save(tmp_path, made)
        (layer,) = read_onnx(path).layers
        assert layer.padding == padding
        corner = np.zeros((1, 1, 3, 3), np.float32)
        corner[0, 0, 0, 0] = 1
        # The corner is seen by one kernel where zeros are added below and right, by four where they are
        # above and left.
        assert run(path, x=corner).sum() == (1 if padding[0] == 0 else 4)


def test_products_are_fully_connected_layers(tmp_path):
    nodes = [
        node("Flatten", ["x"], ["flat"]),
        node("Gemm", ["flat", "a.weight", "bias"], ["a"], transB=1),
        node("MatMul", ["a", "b"], ["b_out"], name="second"),
        node("MatMul", ["c", "b_out_t"], ["y"], name="left"),
        node("Transpose", ["b_out"], ["b_out_t"]),
    ]
    nodes = [*nodes[:3], nodes[4], nodes[3]]
    stored = [weight("a.weight", 5, 192), weight("bias", 5), weight("b", 5, 7), weight("c", 3, 7)]
    layers = read_onnx(save(tmp_path, model(nodes, stored))).layers
    assert [(s.name, s.in_channels, s.out_channels, s.kind, bool(s.fixed)) for s in layers] == [
        ("a", 192, 5, "linear", False),
        ("b", 5, 7, "linear", False),
        ("c", 7, 3, "linear", True),
    ]


def test_a_product_of_two_computed_matrices_is_no_layer(tmp_path):
    """Though what it adds is a constant matrix."""
    nodes = [
        conv("c"),
        node("Reshape", ["c", "sizes"], ["m"]),
        node("Gemm", ["m", "m", "added"], ["y"], transB=1),
    ]
    stored = [weight("w", 4, 3, 3, 3), ints("sizes", 4, -1), weight("added", 4, 4)]
    network = read_onnx(save(tmp_path, model(nodes, stored)))
    assert [layer.name for layer in network.layers] == ["w"]
    (other,) = network.untouched
    # 4x36 times 36x4.
    assert (other.name, other.macs, other.parameters) == ("y (products)", 4 * 36 * 4, 0)


def test_a_product_over_tokens_runs_once_for_each(tmp_path):
    nodes = [node("Reshape", ["x", "sizes"], ["tokens"]), node("MatMul", ["tokens", "w"], ["y"])]
    stored = [ints("sizes", 0, 16, 12), weight("w", 12, 5)]
    (layer,) = read_onnx(save(tmp_path, model(nodes, stored, [("x", ("batch", 3, 8, 8))]))).layers
    assert (layer.input, layer.macs) == ((16, 1), 16 * 12 * 5)


def test_shared_weights_and_names(tmp_path):
    nodes = [
        conv("a", "/block/block.0/conv/Conv", w="onnx::Conv_7", pads=[1, 1, 1, 1]),
        conv("b", "n1", x="a", w="shared.weight", pads=[1, 1, 1, 1]),
        conv("c", "n2", x="b", w="shared.weight", pads=[1, 1, 1, 1]),
        node("Constant", [], ["made"], value=weight("", 2, 3, 1, 1)),
        conv("y", "", x="c", w="made"),
    ]
    stored = [weight("onnx::Conv_7", 3, 3, 3, 3), weight("shared.weight", 3, 3, 3, 3)]
    layers = read_onnx(save(tmp_path, model(nodes, stored))).layers
    assert [(layer.name, layer.weight) for layer in layers] == [
        ("block.0.conv", "block.0.conv"),
        ("shared", "shared"),
        ("shared#2", "shared"),
        ("made", "made"),
    ]


def test_quantised_models_are_read_through_their_quantisers(tmp_path):
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")
    integers = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.int8), "conv.weight_quantized")
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("DequantizeLinear", ["conv.weight_quantized", "s", "z"], ["wd"]),
        node("Conv", ["xd", "wd"], ["c"]),
        node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        node("QLinearConv", ["cq", "s", "z", "w2", "s", "z", "s", "z"], ["q"], name="integer"),
        node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    stored = [scale, zero, integers, numpy_helper.from_array(np.ones((2, 4, 1, 1), np.int8), "w2")]
    network = read_onnx(save(tmp_path, model(nodes, stored)))
    assert [(layer.name, layer.kernel, layer.input) for layer in network.layers] == [
        ("conv", (3, 3), (8, 8)),
        ("w2", (1, 1), (6, 6)),
    ]
    assert network.layers[0].fixed == ""
    assert "QLinearConv" in network.layers[1].fixed


def test_layers_of_other_kinds_are_named_with_their_macs(tmp_path):
    nodes = [
        conv("c"),
        node("ConvTranspose", ["c", "up.weight"], ["u"], strides=[2, 2]),
        node("Reshape", ["u", "line"], ["l"]),
        node("Conv", ["l", "one.weight"], ["o"], name="line"),
        node("Cast", ["o"], ["index"], to=7),
        node("Gather", ["table", "index"], ["y"]),
    ]
    stored = [
        weight("w", 4, 3, 3, 3),
        weight("up.weight", 4, 2, 2, 2),
        ints("line", 1, 2, 144),
        weight("one.weight", 3, 2, 5),
        weight("table", 9, 140),
    ]
    network = read_onnx(save(tmp_path, model(nodes, stored)))
    assert network.untouched == (Untouched("table", "a lookup table (Gather) is left alone", 0, 9 * 140),)
    assert network.parameters == 4 * 27 + 32 + 30 + 9 * 140
    up, line = network.layers[1:]
    assert (up.name, up.kernel, up.out_channels, up.macs) == ("up.conv", (1, 1), 2 * 4, 36 * 32)
    assert up.fixed == ""
    assert (line.name, line.kernel, line.input, line.macs) == ("one", (1, 5), (1, 144), 140 * 30)
    assert line.fixed == "is a 1-d convolution, mapped as one of height 1"


def test_a_weight_that_two_nodes_read_is_stored_once(tmp_path):
    """Also where its name says nothing, and the names are those of the nodes."""
    nodes = [
        conv("a", "/first/conv/Conv", w="onnx::Conv_7", pads=[1, 1, 1, 1]),
        conv("b", "/second/conv/Conv", x="a", w="onnx::Conv_7", pads=[1, 1, 1, 1]),
        node("Cast", ["b"], ["places"], to=7),
        node("Gather", ["onnx::Conv_7", "places"], ["rows"], name="/table/Gather"),
        node("Gather", ["other", "places"], ["y"], name="/other/Gather"),
        node("Gather", ["other", "places"], ["z"], name="/again/Gather"),
    ]
    stored = [weight("onnx::Conv_7", 3, 3, 3, 3), weight("other", 5, 4)]
    network = read_onnx(save(tmp_path, model(nodes, stored)))
    assert [(layer.name, layer.weight) for layer in network.layers] == [
        ("first.conv", "first.conv"),
        ("first.conv#2", "first.conv"),
    ]
    assert [other.parameters for other in network.untouched] == [0, 20, 0]
    assert network.parameters == 81 + 20
    shares = coverage(network, uniform_plan(network, ArraySpec(32, 32))).layers
    assert sum(layer.parameters for layer in shares) == network.parameters


def test_attention_is_counted_and_named(tmp_path):
    """softmax(Q K^T) V over 16 places of two heads of 4, with the products in a module of their own."""
    nodes = [node("Reshape", ["x", "tokens"], ["t"])]
    for name in "qkv":
        nodes.append(node("MatMul", ["t", f"{name}.weight"], [f"{name}_out"]))
        nodes.append(node("Reshape", [f"{name}_out", "heads"], [f"{name}_heads"]))
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes.append(node("Transpose", [f"{name}_heads"], [f"{name}_turned"], perm=perm))
    nodes += [
        node("MatMul", ["q_turned", "k_turned"], ["scores"], name="/block/attention/MatMul"),
        node("Softmax", ["scores"], ["shares"]),
        node("MatMul", ["shares", "v_turned"], ["y"], name="/block/attention/MatMul_1"),
    ]
    stored = [ints("tokens", 0, 16, 12), ints("heads", 0, 16, 2, 4)]
    stored += [weight(f"{name}.weight", 12, 8) for name in "qkv"]
    network = read_onnx(save(tmp_path, model(nodes, stored, [("x", ("n", 3, 8, 8))])))
    (attention,) = network.untouched
    assert (attention.name, attention.macs) == ("block.attention (products)", 2 * (2 * 16 * 16 * 4))
    assert sum(layer.macs for layer in network.layers) == 3 * 16 * 12 * 8


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_1d_convolution_has_the_output_that_onnxruntime_gives_it(data, tmp_path_factory):
    number = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    groups = data.draw(st.sampled_from([1, 2]))
    options = {
        "strides": [number(1, 3)],
        "dilations": [number(1, 2)],
        "group": groups,
        "pads": [number(0, 2), number(0, 2)],
    }
    stored = [weight("w", 6, 4 // groups, number(1, 4))]
    path = save(tmp_path_factory.mktemp("line"), model([conv(**options)], stored, [("x", (1, 4, 11))]))
    (layer,) = read_onnx(path).layers
    found = run(path, x=np.ones((1, 4, 11), np.float32))
    assert (layer.out_channels, 1, found.shape[2]) == (6, *layer.output)
    assert layer.macs == found.size * (4 // groups) * layer.kernel[1]


def test_layers_in_branches_are_named(tmp_path):
    inner = helper.make_graph(
        [node("Conv", ["x", "v"], ["b"], name="inner")],
        "then",
        [],
        [helper.make_tensor_value_info("b", 1, None)],
        [weight("v", 4, 3, 3, 3)],
    )
    other = helper.make_graph(
        [node("Identity", ["c"], ["b2"])], "else", [], [helper.make_tensor_value_info("b2", 1, None)]
    )
    nodes = [conv("c"), node("If", ["flag"], ["y"], name="choice", then_branch=inner, else_branch=other)]
    made = model(nodes, [weight("w", 4, 3, 3, 3), numpy_helper.from_array(np.array(True), "flag")])
    network = read_onnx(save(tmp_path, made))
    assert network.untouched == (
        Untouched("inner", "a Conv inside node choice (If) is left alone", None, 108),
    )


@pytest.mark.parametrize("outputs", [5, 500])
def test_a_transposed_weight_is_a_layer_however_small(outputs, tmp_path):
    draw = np.random.default_rng(0)
    stored = [numpy_helper.from_array(draw.normal(size=(outputs, 8)).astype(np.float32), "fc.weight")]
    nodes = [
        helper.make_node("Transpose", ["fc.weight"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    info, real = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(nodes, "turned", [info("x", real, [1, 8])], [info("y", real, None)], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "turned.onnx")
    (layer,) = read_onnx(tmp_path / "turned.onnx").layers
    assert (layer.name, layer.in_channels, layer.out_channels) == ("fc", 8, outputs)
