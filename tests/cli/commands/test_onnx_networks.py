"""ONNX files as networks that are planned, trained without labels and evaluated."""

import json

import pytest
from onnx import helper

from common import graphs
from rankfold.cli.main import main

pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def file(tmp_path):
    """A small network for digits, of open sizes, with a batch norm and a shape that is computed."""
    stored = [graphs.weight("a.weight", 16, 1, 3, 3), graphs.weight("b.weight", 16, 16, 3, 3, seed=1)]
    stored += [graphs.weight(f"norm.{part}", 16, seed=2) for part in ("weight", "bias", "mean")]
    stored += [graphs.weight("fc.weight", 10, 16, seed=3), graphs.ints("tail", -1)]
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["norm.mean", "norm.mean"], ["variance"]),
        helper.make_node(
            "BatchNormalization", ["a", "norm.weight", "norm.bias", "norm.mean", "variance"], ["n"]
        ),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "b.weight"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Shape", ["p"], ["sizes"], end=1, start=0),
        helper.make_node("Concat", ["sizes", "tail"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["p", "wanted"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    return graphs.save(tmp_path, graphs.model(nodes, stored, [("x", ("n", 1, "h", "w"))]))


def test_a_file_goes_all_the_way(file, tmp_path, capsys):
    plan, out = tmp_path / "plan.json", tmp_path / "run"
    common = [file, "--data", "digits", "--threads", "1"]
    asked = [
        "--array",
        "32x32",
        "--max-cycles",
        "70%",
        "--kinds",
        "window",
        "--images",
        "32",
        "--out",
        str(plan),
    ]
    assert main(["plan", *common, *asked]) == 0
    without_labels = ["--reconstruct", "--images", "32", "--steps", "3", "--epochs", "0", "--out", str(out)]
    assert main(["compress", *common, "--plan", str(plan), *without_labels]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["baseline"] == "given with the network" and result["recipe"]["epochs"] == 0
    assert any(layer["kind"] == "window" for layer in result["layers"])
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == result["accuracy"]["final"]


def test_what_torch_cannot_compute_is_named(tmp_path, capsys):
    nodes = [graphs.conv("a"), helper.make_node("LRN", ["a"], ["y"], size=3)]
    path = graphs.save(tmp_path, graphs.model(nodes, [graphs.weight("w", 8, 1, 3, 3)], [("x", (1, 1, 8, 8))]))
    assert main(["plan", path, "--data", "digits", "--max-cycles", "50%"]) == 2
    assert "has operators that cannot be computed by torch here: LRN (1)" in capsys.readouterr().err
    assert [part.suffix for part in tmp_path.iterdir()] == [".onnx"]
