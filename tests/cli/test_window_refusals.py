"""What cannot be a window layer is refused by one sentence, whatever command sees it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from common.command_line import refuse
from rankfold import ArraySpec, uniform_plan, zoo_network
from rankfold.plan.methods import Windows

LAYER = "layer1.0.conv1"  # 16 channels, 3x3, on 32x32


def edited(folder, **changes):
    """The file of a plan of windows whose entry of one layer was changed by hand."""
    plan = uniform_plan(zoo_network("resnet8"), ArraySpec(64, 64), Windows(row_tiles=1), bits=4)
    content = plan.to_json()
    (entry,) = (layer for layer in content["layers"] if layer["name"] == LAYER)
    entry.update(changes)
    path = folder / "plan.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"window": [33, 2]},
            f"layer {LAYER}: a window of 33x2 output pixels does not fit its plane of 32x32",
        ),
        ({"window": [2]}, "at layers/1/window: [2] is too short"),
        ({"window": [2, 0]}, "at layers/1/window/1: 0 is less than the minimum of 1"),
        ({"rows": 0}, "at layers/1/rows: 0 is less than the minimum of 1"),
        ({"rows": 257}, "rows (=257) must be at most 256, the inputs of a window of 2x2"),
        ({"support": "1f3a 1"}, "support is for 2 input channels, the layer has 16"),
        ({"support": " ".join(["1000f"] * 16)}, "support number 1000f means positions beyond the 16"),
        ({"support": " ".join(["7"] * 16)}, "rows (=64) must be the inputs that its support keeps in each"),
        ({"mapping": "sdk"}, "mapping (=sdk) of a window layer must be one of im2col"),
    ],
)
def test_a_plan_that_does_not_fit_its_layer(changes, complaint, tmp_path, capsys) -> None:
    error = refuse(capsys, "map", "resnet8", "--plan", edited(tmp_path, **changes))
    assert complaint in error


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--row-tiles 0", "row_tiles (=0) must be 1 or more"),
        ("--row-tiles 1.5", "argument --row-tiles"),
        ("", "method window needs row_tiles, such as 2"),
        ("--row-tiles 1 --window 0x2", "window (=(0, 2)) must be a pair of positive whole numbers"),
        ("--row-tiles 1 --window 2x", "window (=2x) must be auto or a size such as 2 or 2x3"),
        (
            "--row-tiles 1 --window 33x2",
            "window (=33x2) fits no output plane of resnet8, of which the largest ",
        ),
        (
            "--row-tiles 99 --array 16x16",
            "no layer of resnet8 gets windows: layer1.0.conv1 stays dense, as a ",
        ),
    ],
)
def test_settings_that_mean_no_window(options, complaint, tmp_path, capsys) -> None:
    out = tmp_path / "plan.json"
    error = refuse(
        capsys, "plan", "resnet8", "--uniform", "--method", "window", *options.split(), "--out", out
    )
    assert complaint in error and not out.exists()


def onnx_file(path, plane):
    """Two convolutions, the second of two groups."""
    weights = [("first", (4, 3, 3, 3)), ("second", (4, 2, 3, 3))]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["y"], pads=[1] * 4),
        helper.make_node("Conv", ["y", "second"], ["z"], pads=[1] * 4, group=2),
    ]
    tensors = [
        helper.make_tensor(name, TensorProto.FLOAT, size, np.ones(size).ravel().tolist())
        for name, size in weights
    ]
    x, z = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *plane])
        for name, channels in (("x", 3), ("z", 4))
    )
    graph = helper.make_graph(nodes, "graph", [x], [z], tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_planes_of_open_size(tmp_path, capsys) -> None:
    file, out = onnx_file(tmp_path / "net.onnx", ["h", "w"]), tmp_path / "plan.json"
    asked = ["plan", file, "--uniform", "--method", "window", "--row-tiles", 1, "--out", out]
    assert "give the size of an image: --input CxHxW" in refuse(capsys, *asked)
    assert not out.exists()


def test_groups_that_do_not_match(tmp_path, capsys) -> None:
    file = onnx_file(tmp_path / "net.onnx", [6, 6])
    content = {
        "model": "net",
        "input": [3, 6, 6],
        "layers": [
            {"name": "first", "kind": "dense"},
            {
                "name": "second",
                "kind": "window",
                "window": [2, 2],
                "rows": 4,
                "support": "3 3 7 7",
                "mapping": "im2col",
            },
        ],
    }
    path = edited(tmp_path)
    # As the program writes plans, with other layers.
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    error = refuse(capsys, "map", file, "--plan", path)
    assert "rows (=4) must be the inputs that its support keeps in each group, 4 and 6" in error
