"""Broken ONNX files: each ends in one sentence or in a result, whatever is wrong with it."""

import random

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from common.graphs import model, save, weight
from rankfold.errors import RankfoldError
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.workload.onnx.layers import analyse_onnx

node = helper.make_node
ARRAY = ArraySpec(32, 32)
LARGE = 1 << 62
RANDOM_FILES = 150


def whole():
    """A model with weights of all kinds: stored, dequantised, transposed, and in a Constant node."""
    nodes = [
        node("Conv", ["x", "a"], ["ya"], strides=[2, 2], pads=[1, 1, 1, 1], group=1, auto_pad="NOTSET"),
        node("DequantizeLinear", ["levels", "scale", "zero"], ["b"]),
        node("Conv", ["ya", "b"], ["yb"]),
        node("Flatten", ["yb"], ["f"], axis=1),
        node("Constant", [], ["fc"], value=weight("", 5, 48)),
        node("Gemm", ["f", "fc", "bias"], ["yfc"], transB=1),
        node("Transpose", ["mm"], ["mmt"], perm=[1, 0]),
        node("MatMul", ["yfc", "mmt"], ["y"]),
    ]
    levels = np.random.default_rng(0).integers(-8, 8, (12, 8, 3, 3)).astype(np.int8)
    stored = [
        weight("a", 8, 4, 3, 3),
        weight("bias", 5),
        weight("mm", 6, 5),
        numpy_helper.from_array(levels, "levels"),
        numpy_helper.from_array(np.float32(0.5), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    return model(nodes, stored, [("x", (1, 4, 8, 8))], opset=18)


def go_through(path):
    """Read, map and decompose a file; errors of this package are as they should be."""
    try:
        source = analyse_onnx(path)
        method = LowRank(rank="1/2", groups=2, fit=True, linear=True, pointwise=True)
        decompose_onnx(source, uniform_plan(source.network, ARRAY, method))
    except RankfoldError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def tensors(made):
    """All stored tensors."""
    inside = [
        attribute.t for each in made.graph.node for attribute in each.attribute if attribute.HasField("t")
    ]
    return [*made.graph.initializer, *inside]


def test_the_whole_file_goes_through(tmp_path):
    assert go_through(save(tmp_path, whole())) == ""


def without_data(tensor):
    tensor.ClearField("raw_data")


def in_other_field(tensor):
    tensor.ClearField("raw_data")
    tensor.string_data.append(b"text")


def outside(**place):
    """The tensor lies beside the file, at a place that says something odd."""

    def change(tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "beside.bin", **place}.items():
            tensor.external_data.add(key=key, value=value)

    return change


def in_type(number):
    def change(tensor):
        tensor.data_type = number

    return change


def in_sizes(sizes):
    def change(tensor):
        del tensor.dims[:]
        tensor.dims.extend(sizes)

    return change


def in_data(data):
    def change(tensor):
        tensor.raw_data = data(tensor.raw_data)

    return change


@pytest.mark.parametrize(
    "change",
    [
        without_data,
        in_other_field,
        in_data(lambda data: data[:-1]),
        in_data(lambda data: data[: len(data) // 2]),
        in_data(lambda data: data + b"more"),
        *(in_type(number) for number in (0, 2, 7, 8, 9, 10, 11, 14, 16, 22, 99, -1)),
        *(
            in_sizes(sizes)
            for sizes in ([], [0], [-1], [3], [LARGE], [1, 2, 3, 4, 5], [5, -2], [0, 48], [48, 0])
        ),
        *(outside(offset=value) for value in ("-1", "x", "", "1" * 30, str(LARGE), "4")),
        *(outside(length=value) for value in ("-1", "x", "", "1" * 30, "0", "3")),
        outside(location=""),
        outside(location="a\x00b"),
        outside(location="."),
        outside(location="x" * 5000),
        outside(location="missing.bin"),
        outside(location="../beside.bin"),
        outside(location="/etc/passwd"),
    ],
)
def test_a_tensor_that_contradicts_itself(change, tmp_path):
    (tmp_path / "beside.bin").write_bytes(bytes(8 * 4 * 9 * 4))
    for number in range(len(tensors(whole()))):
        made = whole()
        change(tensors(made)[number])
        go_through(save(tmp_path, made))


@pytest.mark.parametrize("place", [{"location": "../beside.bin"}, {"offset": "-1"}, {"location": "\x00"}])
def test_a_tensor_of_an_inner_graph(place, tmp_path):
    made = whole()
    branches = {}
    for name in ("then_branch", "else_branch"):
        inner = node("Constant", [], [name], value=weight("inner", 2, 3))
        outside(**place)(inner.attribute[0].t)
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3))]
        branches[name] = helper.make_graph([inner], name, [], outputs)
    made.graph.node.append(node("If", ["flag"], ["z"], **branches))
    made.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, ()))
    (tmp_path / "beside.bin").write_bytes(bytes(24))
    (tmp_path / "here").mkdir()
    assert go_through(save(tmp_path / "here", made))


NUMBERS = (-LARGE, -1, 0, 1, 3, LARGE)
LISTS = ([], [0], [0, 0], [-1, 1], [1, 1, 1], [1] * 5, [LARGE, LARGE])


def values_for(attribute):
    """What an attribute may say instead, in its own type and in others."""
    return [*NUMBERS, *LISTS, 1.5, "", "SAME", "\x00", b"\xff\xfe"]


def test_attributes_of_any_value_and_type(tmp_path):
    for place, each in enumerate(whole().graph.node):
        for index, attribute in enumerate(each.attribute):
            for value in values_for(attribute):
                made = whole()
                held = made.graph.node[place].attribute
                held[index].CopyFrom(helper.make_attribute(attribute.name, value, attr_type=type_of(value)))
                go_through(save(tmp_path, made))


def type_of(value):
    """The type of an empty list has to be said."""
    return AttributeProto.INTS if value == [] else None


@pytest.mark.parametrize("name", ["", "\x00", "a", "ya", "y", "unknown"])
def test_values_of_any_name(name, tmp_path):
    for place, each in enumerate(whole().graph.node):
        for side in ("input", "output"):
            for index in range(len(getattr(each, side))):
                made = whole()
                getattr(made.graph.node[place], side)[index] = name
                go_through(save(tmp_path, made))


def test_inputs_and_outputs_of_any_number(tmp_path):
    for place in range(len(whole().graph.node)):
        for side in ("input", "output"):
            for more in (None, "", "a"):
                made = whole()
                held = getattr(made.graph.node[place], side)
                if more is not None:
                    held.append(more)
                elif held:
                    del held[-1]
                go_through(save(tmp_path, made))


@pytest.mark.parametrize(
    "operator",
    [
        "",
        *("Conv", "Gemm", "MatMul", "FusedConv", "QLinearConv", "ConvInteger", "QLinearMatMul", "QGemm"),
        *("MatMulInteger", "ConvTranspose", "LSTM", "Gather", "Constant", "If", "Loop", "Split", "Reshape"),
        *("Identity", "Pad", "Expand", "ConstantOfShape", "Unknown"),
    ],
)
def test_nodes_of_any_operator(operator, tmp_path):
    for place in range(len(whole().graph.node)):
        made = whole()
        made.graph.node[place].op_type = operator
        go_through(save(tmp_path, made))


def dim(size):
    def change(made):
        made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(dim(size) for size in NUMBERS),
        lambda made: made.graph.input[0].type.tensor_type.shape.dim.pop(),
        lambda made: made.graph.input[0].type.tensor_type.ClearField("shape"),
        lambda made: made.graph.input[0].type.ClearField("tensor_type"),
        lambda made: made.graph.input.pop(),
        lambda made: made.graph.output.pop(),
        lambda made: made.graph.node.pop(0),
        lambda made: made.graph.initializer.pop(),
        lambda made: made.graph.initializer.append(made.graph.initializer[0]),
        lambda made: made.graph.node.append(made.graph.node[0]),
        lambda made: made.opset_import.pop(),
        lambda made: made.opset_import.append(helper.make_opsetid("", 1 << 40)),
        lambda made: made.opset_import[0].CopyFrom(helper.make_opsetid("elsewhere", 18)),
        lambda made: made.graph.sparse_initializer.add().dims.append(3),
    ],
)
def test_graphs_that_lack_something(change, tmp_path):
    made = whole()
    change(made)
    go_through(save(tmp_path, made))


def test_files_of_which_bytes_are_lost_or_others(tmp_path):
    content = whole().SerializeToString()
    path = tmp_path / "net.onnx"
    for seed in range(RANDOM_FILES):
        draw = random.Random(seed)
        changed = bytearray(content)
        # The graph comes first, the bulk of the weights last: most changes shall not be of weights alone.
        for _ in range(draw.choice([1, 3, 10])):
            changed[draw.randrange(min(len(changed), 1200))] = draw.randrange(256)
        if seed % 5 == 0:
            del changed[draw.randrange(len(changed)) :]
        path.write_bytes(bytes(changed))
        go_through(path)


def test_names_that_are_no_text_are_refused(tmp_path):
    """Where a name is no UTF-8, protobuf gives bytes for it."""
    content = whole().SerializeToString()
    path = tmp_path / "net.onnx"
    for name in (b"Conv", b"levels", b"yfc", b"Flatten"):
        path.write_bytes(content.replace(name, b"\xff" * len(name)))
        assert "is damaged" in go_through(path)


def test_the_sentence_names_the_tensor(tmp_path):
    made = whole()
    made.graph.initializer[0].raw_data = b"short"
    message = go_through(save(tmp_path, made))
    assert "the stored tensor a cannot be read" in message and "export it again" in message


def test_a_value_that_two_nodes_make_is_refused(tmp_path):
    made = whole()
    made.graph.node[2].output[0] = "ya"
    assert "makes ya, which is there already" in go_through(save(tmp_path, made))


@pytest.mark.parametrize("wrong", [{"strides": [0, 1]}, {"dilations": [1, 0]}])
def test_transposed_convolutions_without_strides_are_refused(tmp_path, wrong):
    transposed = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", **wrong)
    made = model([transposed], [weight("w", 3, 4, 3, 3)], [("x", (1, 3, 5, 5))])
    with pytest.raises(RankfoldError, match="up"):
        analyse_onnx(save(tmp_path, made))
