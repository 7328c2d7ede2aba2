"""Sizes of networks read from ONNX files: computed in the graph, given from outside, or not to be known."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from common.graphs import conv, ints, model, run, save, weight
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import coverage, uniform_plan
from rankfold.workload import ConvShape, Untouched
from rankfold.workload.onnx.layers import read_onnx

node = helper.make_node
pytest.importorskip("onnxruntime")


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


def test_open_sizes_and_channels_last(tmp_path):
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), conv(x="t")]
    path = save(tmp_path, model(nodes, [weight("w", 4, 3, 3, 3)], [("x", ("b", "h", "w_", 3))]))
    network = read_onnx(path, (3, 10, 12))
    assert (network.input, network.layers[0].input) == ((3, 10, 12), (10, 12))
    with pytest.raises(
        InputError, match=r"input x has the open size 1xhxw_x3; give the size of an image: --input CxHxW"
    ):
        read_onnx(path)


def test_the_input_flag_must_agree(tmp_path):
    path = save(tmp_path, model([conv()], [weight("w", 4, 3, 3, 3)]))
    with pytest.raises(
        InputError, match=r"input x is fixed to 1x3x8x8, and inputs of 4x9x9 \(C x H x W\) are asked for"
    ):
        read_onnx(path, (4, 9, 9))
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


def test_images_of_another_size_than_a_file_fixes(tmp_path):
    """They go where nothing in the graph was made for the file's own size."""
    stored = [weight("w", 4, 3, 3, 3), ints("any", 1, 4, -1), ints("own", 1, 4, 36)]
    half = numpy_helper.from_array(np.float32([1, 1, 0.5, 0.5]), "half")
    twice = numpy_helper.from_array(np.float32([1, 1, 2, 2]), "twice")
    path = save(tmp_path, model([conv("c"), node("Reshape", ["c", "any"], ["y"])], stored))
    network = read_onnx(path, (3, 11, 9))
    assert (network.input, network.layers[0].input) == ((3, 11, 9), (11, 9))
    assert read_onnx(path).layers[0].input == (8, 8)
    path = save(tmp_path, model([conv("c"), node("Reshape", ["c", "own"], ["y"], name="flat")], stored))
    assert read_onnx(path, (3, 8, 8)).input == (3, 8, 8)
    with pytest.raises(
        InputError,
        match=r"node flat \(Reshape\) is made for 1x4x36 and would be given 1x4x9x7, so that the file",
    ):
        read_onnx(path, (3, 11, 9))
    around = [
        conv("c"),
        node("Resize", ["c", "", "half"], ["small"]),
        node("Resize", ["small", "", "twice"], ["again"]),
        node("Concat", ["c", "again"], ["y"], name="both", axis=1),
    ]
    path = save(tmp_path, model(around, [stored[0], half, twice]))
    assert read_onnx(path, (3, 10, 12)).input == (3, 10, 12)
    with pytest.raises(
        InputError, match=r"contradict each other: .*both.*; it takes no images of other sizes: omit --input"
    ):
        read_onnx(path, (3, 11, 9))


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
