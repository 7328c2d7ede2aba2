"""`rankfold compress x.onnx --epochs 0` on the command line."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from common.graphs import model, save, weight
from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerPlan, Plan
from rankfold.workload.onnx.layers import analyse_onnx

pytest.importorskip("onnxruntime")


@pytest.fixture
def small(tmp_path):
    """The path of a network of two convolutions and a classifier."""
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "b.weight"], ["b"]),
        helper.make_node("Flatten", ["b"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    stored = [
        weight("a.weight", 8, 4, 3, 3),
        weight("b.weight", 12, 8, 3, 3),
        weight("fc.weight", 5, 48),
    ]
    return save(tmp_path, model(nodes, stored, [("x", ("n", 4, 8, 8))]))


@pytest.fixture
def inputs(tmp_path):
    values = np.random.default_rng(0).normal(size=(16, 4, 8, 8))
    np.savez(tmp_path / "inputs.npz", x=values.astype(np.float32))
    return str(tmp_path / "inputs.npz")


def test_it_says_what_is_decomposed_and_what_that_costs(small, inputs, tmp_path, capsys):
    common = ["compress", small, "--epochs", "0", "--rank", "2", "--groups", "2", "--force-low-rank"]
    assert main([*common, "--out", str(tmp_path / "plain")]) == 0
    printed = capsys.readouterr().out
    assert "low-rank: 1 layer" in printed
    assert "accuracy on these arrays" in printed and "not simulated" in printed
    assert "on 4 batches of normal numbers, seed 0" in printed
    words = {
        line.split("  ")[0]: line.split()[-3:] for line in printed.splitlines() if re.search(r"\dx$", line)
    }
    assert list(words) == ["cycles an image", "arrays", "energy an image, nJ", "stored weights"]
    # 8 * 36 + 12 * 72 + 5 * 48; and 2 groups of rank 2 in the place of the second one.
    assert words["stored weights"] == ["1,392", "720", "0.52x"]
    assert main(["map", small, "--plan", str(tmp_path / "plain" / "plan.json"), "--linear", "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    # The dense network with the mapping of each layer: another one would look like a saving, or hide one.
    plan = Plan.load(tmp_path / "plain" / "plan.json")
    network = analyse_onnx(small).network
    dense = replace(plan, layers=tuple(replace(layer, kind=DenseLayer()) for layer in plan.layers))
    cycles = network_cycles(network, dense, linear=True).chosen_cycles
    assert words["cycles an image"][:2] == [f"{cycles:,}", f"{total['planned_cycles']:,}"]
    assert main([*common, "--out", str(tmp_path / "data"), "--data", inputs]) == 0
    assert "on the calibration inputs" in capsys.readouterr().out
    nearest = [*common, "--decomposition", "svd", "--data", inputs, "--out", str(tmp_path / "nearest")]
    assert main(nearest) == 0
    assert "on the calibration inputs" in capsys.readouterr().out
    plain, data, near = (
        (tmp_path / name / "model.onnx").read_bytes() for name in ("plain", "data", "nearest")
    )
    assert plain == near != data
    again = ["compress", small, "--epochs", "0", "--plan", str(tmp_path / "plain" / "plan.json")]
    assert main([*again, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "model.onnx").read_bytes() == plain


@pytest.mark.parametrize(
    "options, message",
    [
        (["--rank", "2"], "--data is missing"),
        (["--rank", "2", "--data", "digits", "--input", "4x8x8"], "--input is of ONNX files that are only"),
        (["--epochs", "0", "--rank", "2", "--bits", "4"], "for bits give --data and --reconstruct"),
        (["--epochs", "0"], "needs a rank, such as --rank 1/4, or a --plan"),
        (["--epochs", "0", "--rank", "2", "--adc-bits", "4"], "--adc-bits says nothing where an ONNX file"),
        (["--epochs", "0", "--rank", "2", "--steering", "ideal"], "--steering says nothing where an ONNX"),
        (["--epochs", "0", "--rank", "2", "--rate", "0.1"], "--rate says nothing where an ONNX file"),
        (["--epochs", "0", "--rank", "2", "--baseline-epochs", "1"], "--baseline-epochs says nothing"),
        (["--epochs", "0", "--rank", "2", "--decomposition", "sequential"], "decomposed layer by layer"),
        (["--epochs", "0", "--rank", "2", "--decomposition", "data"], "needs calibration inputs: --data"),
        (
            ["--epochs", "0", "--rank", "1", "--force-low-rank", "--data", "none.npz"],
            "cannot read calibration inputs none.npz",
        ),
        (["--epochs", "0", "--plan", "PLAN"], "the plan is for another network"),
        (["--epochs", "0", "--plan", "PLAN", "--groups", "2"], "omit --groups"),
    ],
)
def test_what_says_nothing_or_does_not_fit_is_refused(options, message, small, tmp_path, capsys):
    plan = tmp_path / "other.json"
    Plan("other", (4, 8, 8), ArraySpec(32, 32), (LayerPlan("conv"),)).save(plan)
    given = [str(plan) if option == "PLAN" else option for option in options]
    assert main(["compress", small, *given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1], error
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(small, tmp_path, capsys):
    arguments = [
        "compress",
        small,
        "--epochs",
        "0",
        "--rank",
        "1",
        "--out",
        str(tmp_path),
        "--force-low-rank",
    ]
    assert main(arguments) == 2
    assert "is not an empty folder" in capsys.readouterr().err
