"""ONNX models are written whole, with large weights beside them."""

import numpy as np
import onnx
import pytest
from onnx import helper

from common.graphs import model, weight
from rankfold.errors import InputError
from rankfold.workload.onnx import save as module
from rankfold.workload.onnx.file import open_onnx


@pytest.fixture
def made():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    return model(nodes, [weight("w", 8, 3, 3, 3)], outputs=("z",))


@pytest.mark.parametrize("largest", [1 << 30, 100])
def test_what_is_written_is_read_back(largest, made, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_FILE", largest)
    wanted = onnx.numpy_helper.to_array(made.graph.initializer[0])
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    module.save_onnx(tmp_path / "here" / "net.onnx", copy)
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert files == (["net.onnx"] if largest > 1000 else ["net.onnx", "net.onnx.data"])
    # Both files are found wherever they are moved together.
    for name in files:
        (tmp_path / "here" / name).rename(tmp_path / "there" / name)
    file = open_onnx(tmp_path / "there" / "net.onnx")
    np.testing.assert_array_equal(file.array("w"), wanted)
    whole = module.with_weights(file)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(whole.graph.initializer[0]), wanted)
    assert whole.graph.initializer[0].data_location == onnx.TensorProto.DEFAULT


def test_a_folder_that_cannot_be_written_is_refused(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        module.save_onnx(tmp_path / "file" / "net.onnx", made)
