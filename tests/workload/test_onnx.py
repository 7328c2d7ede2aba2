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
    assert network.untouched == ()


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
        Untouched("one", "a 1-d convolution is left alone", 140 * 30, 30),
        Untouched("table", "a lookup table (Gather) is left alone", 0, 9 * 140),
    )
    assert network.parameters == 4 * 27 + 32 + 30 + 9 * 140


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
        "old.onnx": (model([conv()], stored, opset=9).SerializeToString(), "has opset 9, and 11 or later"),
        "loose.onnx": (
            model([conv(x="nothing")], stored).SerializeToString(),
            r"node conv \(Conv\) reads nothing,",
        ),
        "plain.onnx": (
            model([node("Relu", ["x"], ["y"])], []).SerializeToString(),
            "has no Conv, Gemm or MatMul",
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
    with pytest.raises(InputError, match="takes no image"):
        read_onnx(flat, (3, 9, 9))
    open_ = save(
        tmp_path,
        model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 8, 2)], [("x", (1, "t", 8))]),
        "open.onnx",
    )
    with pytest.raises(InputError, match=r"input x has the open size 1xtx8; export it with fixed sizes"):
        read_onnx(open_)


def test_an_operator_that_stops_inference_is_named(tmp_path):
    nodes = [
        node("NonZero", ["x"], ["where"], name="finder"),
        node("Cast", ["where"], ["w_float"], to=1),
        node("Unsqueeze", ["w_float", "axes"], ["plane"]),
        conv(x="plane"),
    ]
    stored = [ints("axes", 0, 1), weight("w", 1, 1, 1, 1)]
    with pytest.raises(
        InputError,
        match=r"shape inference stops at node finder \(NonZero\), .* node conv \(Conv\) cannot be mapped",
    ):
        read_onnx(save(tmp_path, model(nodes, stored)))


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
