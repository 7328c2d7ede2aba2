"""Networks read from ONNX files: what is recognised, with which sizes and names, and what is refused."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from common.graphs import ints, model, save, weight
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import coverage, uniform_plan
from rankfold.workload import ConvShape, Untouched
from rankfold.workload.onnx.layers import read_onnx

node = helper.make_node
runtime = pytest.importorskip("onnxruntime")


def conv(out="y", name="conv", x="x", w="w", **options):
    return node("Conv", [x, w], [out], name=name, **options)


def run(path, **inputs):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


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


def test_sizes_that_the_graph_computes_are_followed(tmp_path):
    """The reshape is told its sizes by arithmetic on the shape of its input, as exporters write it."""
    nodes = [
        conv("c"),
        node("Shape", ["c"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "zeros"], ["first"]),
        node("Concat", ["first", "rest"], ["wanted"], axis=0),
        node("Reshape", ["c", "wanted"], ["flat"]),
        node("Gemm", ["flat", "fc.weight"], ["y"], transB=1),
    ]
    stored = [
        weight("w", 4, 3, 3, 3),
        numpy_helper.from_array(np.array(0), "zero"),
        ints("zeros", 0),
        ints("rest", -1),
        weight("fc.weight", 2, 144),
    ]
    network = read_onnx(save(tmp_path, model(nodes, stored, [("x", ("n", 3, 8, 8))])))
    assert network.layers[1] == ConvShape("fc", 144, 2, (1, 1), (1, 1), kind="linear")


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
    assert network.untouched == (
        Untouched("up", "a ConvTranspose is left alone", 36 * 32, 32),
        Untouched("table", "a lookup table (Gather) is left alone", 0, 9 * 140),
    )
    assert network.parameters == 4 * 27 + 32 + 30 + 9 * 140
    line = network.layers[1]
    assert (line.name, line.kernel, line.input, line.macs) == ("one", (1, 5), (1, 144), 140 * 30)
    assert line.fixed == "is a 1-d convolution, mapped as one of height 1"


def test_open_sizes_and_channels_last(tmp_path):
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), conv(x="t")]
    path = save(tmp_path, model(nodes, [weight("w", 4, 3, 3, 3)], [("x", ("b", "h", "w_", 3))]))
    network = read_onnx(path, (3, 10, 12))
    assert (network.input, network.layers[0].input) == ((3, 10, 12), (10, 12))
    with pytest.raises(
        InputError, match=r"input x has the open size 1xhxw_x3; give the size of an image: --input CxHxW"
    ):
        read_onnx(path)


def test_weights_beside_the_file(tmp_path):
    made = model([conv()], [weight("w", 64, 3, 3, 3)])
    path = save(tmp_path, made, save_as_external_data=True, location="net.data", size_threshold=0)
    assert read_onnx(path).layers[0].out_channels == 64
    whole = (tmp_path / "net.data").read_bytes()
    (tmp_path / "net.data").write_bytes(whole[:100])
    with pytest.raises(
        InputError, match=r"weight w of node conv \(Conv\) ends at byte 6,912 of net.data, which has 100"
    ):
        read_onnx(path)
    (tmp_path / "net.data").unlink()
    with pytest.raises(
        InputError,
        match=r"weight w of node conv \(Conv\) is in the file net.data, which is missing; put it beside",
    ):
        read_onnx(path)
    outside = onnx.load(path, load_external_data=False)
    outside.graph.initializer[0].external_data[0].value = "../net.data"
    onnx.save(outside, path)
    with pytest.raises(InputError, match="lies outside the file's folder"):
        read_onnx(path)


def test_wrong_files_are_refused_in_one_sentence(tmp_path):
    stored = [weight("w", 4, 3, 3, 3)]
    good = model([conv()], stored)
    cases = {
        "none.onnx": (None, "cannot read .*none.onnx: No such file"),
        "text.onnx": (b"this is no model", "is not an ONNX file, or is damaged"),
        "cut.onnx": (good.SerializeToString()[:-60], "is not an ONNX file, or is damaged"),
        "empty.onnx": (b"", "holds no graph"),
        "old.onnx": (model([conv()], stored, opset=6).SerializeToString(), "has opset 6, and 7 or later"),
        "loose.onnx": (
            model([conv(x="nothing")], stored).SerializeToString(),
            r"node conv \(Conv\) reads nothing,",
        ),
        "plain.onnx": (
            model([node("Relu", ["x"], ["y"])], []).SerializeToString(),
            "has nothing to map: no Conv, Gemm or MatMul",
        ),
        "wide.onnx": (model([conv()], [weight("w", 4, 5, 3, 3)]).SerializeToString(), r"conv"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_onnx(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_input_flag_must_agree(tmp_path):
    path = save(tmp_path, model([conv()], [weight("w", 4, 3, 3, 3)]))
    with pytest.raises(
        InputError, match=r"input x is fixed to 1x3x8x8, which --input 3x9x9 \(C x H x W\) contradicts"
    ):
        read_onnx(path, (3, 9, 9))
    flat = save(
        tmp_path,
        model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 8, 2)], [("x", (1, 8))]),
        "flat.onnx",
    )
    with pytest.raises(
        InputError, match=r"inputs have 1 sizes .*, and --input 3x9x9 has 3; omit it, or give"
    ):
        read_onnx(flat, (3, 9, 9))
    open_ = save(
        tmp_path,
        model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 8, 2)], [("x", (1, "t", 8))]),
        "open.onnx",
    )
    with pytest.raises(
        InputError, match=r"open size 1xtx8; give its sizes without the batch, such as --input 128x8"
    ):
        read_onnx(open_)


def test_an_operator_that_stops_inference_leaves_alone_what_is_behind_it(tmp_path):
    nodes = [
        conv("c"),
        node("NonZero", ["c"], ["where"], name="finder"),
        node("Cast", ["where"], ["w_float"], to=1),
        node("Unsqueeze", ["w_float", "axes"], ["plane"]),
        conv(x="plane", w="v"),
    ]
    stored = [ints("axes", 0, 1), weight("w", 4, 3, 3, 3), weight("v", 1, 1, 1, 1)]
    network = read_onnx(save(tmp_path, model(nodes, stored)))
    assert [layer.name for layer in network.layers] == ["w"]
    assert network.untouched == (
        Untouched(
            "v",
            "a Conv behind node finder (NonZero) is left alone: what comes from there has no known size",
            None,
            1,
        ),
    )
    # The coverage of a convolution must not say that it is none.
    row = coverage(network, uniform_plan(network, ArraySpec(64, 64))).layers[-1]
    assert (row.what, row.why) == (
        "a Conv behind node finder (NonZero)",
        "what comes from there has no known size",
    )
    with pytest.raises(
        InputError,
        match=r"has nothing to map: a Conv behind node finder \(NonZero\) is left alone: .* \(1\)$",
    ):
        read_onnx(
            save(tmp_path, model([node("NonZero", ["x"], ["where"], name="finder"), *nodes[2:]], stored))
        )


def noted(tmp_path, sizes, note):
    """A convolution behind an operator that nobody knows, whose sizes the exporter noted."""
    nodes = [
        conv("c"),
        node("Mystery", ["c"], ["m"], name="mystery", domain="com.example"),
        conv(x="m", w="v"),
    ]
    stored = [weight("w", 4, 3, 3, 3), weight("v", 2, 5, 1, 1)]
    made = model(nodes, stored, [("x", sizes)])
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    if note:
        made.graph.value_info.append(helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, note))
    return save(tmp_path, made)


def test_an_unknown_operator_is_left_alone_and_its_noted_sizes_are_believed(tmp_path):
    network = read_onnx(noted(tmp_path, (1, 3, 8, 8), (1, 5, 4, 3)))
    assert [(layer.name, layer.input) for layer in network.layers] == [("w", (8, 8)), ("v", (4, 3))]
    # A symbol of the inputs means the same in notes.
    network = read_onnx(noted(tmp_path, ("n", 3, "side", 8), ("n", 5, "side", 3)), (3, 6, 8))
    assert [layer.input for layer in network.layers] == [(6, 8), (6, 3)]
    for path in (
        noted(tmp_path, (1, 3, 8, 8), None),
        noted(tmp_path, (1, 3, 8, 8), ("n", 5, 4, 3)),
        # Of which size the note is cannot be told.
        noted(tmp_path, (1, 3, "", 8), (1, 5, 4, 3)),
    ):
        network = read_onnx(path, (3, 8, 8))
        assert [layer.name for layer in network.layers] == ["w"]
        (other,) = network.untouched
        assert "behind node mystery (Mystery)" in other.what and other.parameters == 10


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


def test_inputs_of_any_dimensions_are_fixed(tmp_path):
    nodes = [node("Unsqueeze", ["x", "one"], ["line"]), conv(x="line", strides=[4])]
    path = save(tmp_path, model(nodes, [ints("one", 1), weight("w", 4, 1, 10)], [("x", (1, "samples"))]))
    with pytest.raises(
        InputError, match="open size 1xsamples; give its sizes without the batch, such as --input"
    ):
        read_onnx(path)
    (layer,) = read_onnx(path, (16000,)).layers
    assert (layer.input, layer.output) == ((1, 16000), (1, 3998))
    with pytest.raises(InputError, match=r"inputs have 1 sizes .*, and --input 3x8x8 has 3; give as many"):
        read_onnx(path, (3, 8, 8))
    assert run(path, x=np.ones((1, 16000), np.float32)).shape == (1, 4, 3998)


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


def residual(opset):
    """A network with a sum, a concatenation and pools; in old files, operators say more in attributes."""
    nodes = [
        conv("a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["r"]),
        conv("b", "second", x="r", w="v", pads=[1, 1, 1, 1]),
        node("Add", ["r", "b"], ["s"]),
        node("Concat", ["s", "r"], ["both"], axis=1),
    ]
    stored = [weight("w", 4, 3, 3, 3), weight("v", 4, 4, 3, 3), weight("u", 6, 8, 1, 1), weight("fc", 6, 5)]
    if opset < 10:
        nodes.append(node("Slice", ["both"], ["cut"], axes=[2], starts=[1], ends=[7]))
        stored.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
        nodes.append(node("Upsample", ["cut", "scales"], ["wide"]))
    else:
        nodes.append(node("Slice", ["both", "from", "to", "axis"], ["cut"]))
        stored += [ints("from", 1), ints("to", 7), ints("axis", 2)]
        stored.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
        before = ["cut", "scales"] if opset < 11 else ["cut", "", "scales"]
        nodes.append(node("Resize", before, ["wide"]))
    nodes += [
        conv("c", "last", x="wide", w="u"),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "fc"], ["y"]),
    ]
    return model(nodes, stored, opset=opset)


@pytest.mark.parametrize("opset", [9, 10])
def test_older_files_are_read_as_they_are(opset, tmp_path):
    wanted = read_onnx(save(tmp_path, residual(17), "new.onnx"))
    found = read_onnx(save(tmp_path, residual(opset), "old.onnx"))
    assert (found.layers, found.untouched) == (wanted.layers, wanted.untouched)
    assert [layer.input for layer in found.layers] == [(8, 8), (8, 8), (12, 16), (1, 1)]


def test_files_of_integer_operators_have_the_layers_of_their_float_ones(tmp_path):
    """As onnxruntime writes them: QLinearConv, QLinearAdd, QLinearConcat, QLinearMatMul and more."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Inputs(CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}]

        def get_next(self):
            return self.left.pop() if self.left else None

    path = save(tmp_path, residual(17), "float.onnx")
    made = str(tmp_path / "integer.onnx")
    quantize_static(path, made, Inputs(), QuantFormat.QOperator, weight_type=QuantType.QInt8)
    operators = {node.op_type for node in onnx.load(made).graph.node}
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat", "QLinearMatMul"} <= operators
    wanted, found = read_onnx(path), read_onnx(made)
    size = lambda layer: (layer.in_channels, layer.out_channels, layer.kernel, layer.input)  # noqa: E731
    assert [size(layer) for layer in found.layers] == [size(layer) for layer in wanted.layers]
    assert all(layer.fixed for layer in found.layers) and found.untouched == ()


def test_what_a_file_without_layers_has_is_said(tmp_path):
    """Six convolutions whose weights are given at run time are not "no Conv"."""
    nodes = [conv(f"c{place}", f"n{place}", x=f"c{place - 1}") for place in range(1, 6)]
    nodes = [conv("c0", "n0"), *nodes, node("Identity", ["c5"], ["y"])]
    inputs = [("x", (1, 3, 20, 20)), ("w", (3, 3, 3, 3))]
    with pytest.raises(
        InputError, match=r"nothing to map: a Conv with a computed weight is left alone \(6\)$"
    ):
        read_onnx(save(tmp_path, model(nodes, [], inputs)))


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


def test_mapping_and_drawing_an_onnx_file_need_no_torch(tmp_path):
    path = save(
        tmp_path,
        model(
            [conv("c"), conv("y", "last", x="c", w="v")], [weight("w", 4, 3, 3, 3), weight("v", 8, 4, 3, 3)]
        ),
    )
    drawing = str(tmp_path / "v.svg")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from rankfold.cli.main import main\n"
        f"assert main(['map', {path!r}, '--array', '32x32', '--coverage', '--compare']) == 0\n"
        f"drawing = ['draw', {path!r}, '--layer', 'v', '--array', '32x32', '--out', {drawing!r}]\n"
        "assert main(drawing) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "coverage of" in done.stdout and (tmp_path / "v.svg").exists()


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
