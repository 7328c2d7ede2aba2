"""ONNX files as files: weights beside them, older and odd ones, and what is refused or said of them."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from common.graphs import conv, ints, model, save, weight
from rankfold.errors import InputError
from rankfold.workload.onnx.layers import read_onnx

node = helper.make_node
pytest.importorskip("onnxruntime")


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
