"""`rankfold export` on the command line, of a run and of one that drops kernel positions."""

import pytest
import torch

from common.command_line import no_pages
from rankfold.cli.main import main
from rankfold.models.zoo import build

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("few_digits"),
]
COMMON = ["--data", "digits", "--array", "32x32", "--epochs", "0", "--decomposition", "svd"]
METHODS = {
    "low-rank": ["--groups", "4", "--rank", "1/8"],
    "support": ["--method", "support", "--entries", "3"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, few_digits):
    """Finished runs on digits, without training, by their method."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    torch.save(build("resnet8", 10, 1).state_dict(), folder / "resnet8.pt")
    common = ["compress", "resnet8", *COMMON, "--checkpoint", str(folder / "resnet8.pt")]
    made = {}
    for name, options in METHODS.items():
        with no_pages():
            assert main([*common, *options, "--out", str(folder / name)]) == 0
        made[name] = str(folder / name)
    return made


def export(run, target, out, *options):
    return main(["export", run, "--to", target, "--out", str(out), *options])


def test_onnx_files_are_compared_with_the_network(runs, tmp_path, capsys):
    assert export(runs["low-rank"], "onnx", tmp_path / "net.onnx", "--data", "digits") == 0
    printed = capsys.readouterr().out
    assert "ONNX file with quantisers" in printed
    assert "test images" in printed and "accuracy: onnxruntime" in printed
    assert "largest difference of a logit" in printed
    assert export(runs["low-rank"], "onnx", tmp_path / "float.onnx", "--precision", "float") == 0
    printed = capsys.readouterr().out
    assert "ONNX file in float" in printed
    assert "choose the same class on 256 of 256 images of normal numbers" in printed


def test_arrays_are_counted(runs, tmp_path, capsys):
    folder = tmp_path / "arrays"
    assert export(runs["low-rank"], "arrays", folder, "--cell-bits", "2", "--dac-bits", "1") == 0
    assert "arrays of 32x32 with" in capsys.readouterr().out
    assert (folder / "placement.json").exists()
    assert export(runs["low-rank"], "arrays", folder) == 2
    assert "is not an empty folder; use a new one" in capsys.readouterr().err


def test_layers_and_weights_are_written(runs, tmp_path, capsys):
    for target, name in (("zigzag", "net.yaml"), ("csv", "net.csv"), ("dense", "net.safetensors")):
        assert export(runs["low-rank"], target, tmp_path / name) == 0
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1 and name in printed
    assert main(["map", str(tmp_path / "net.csv"), "--array", "32x32"]) == 0


def test_what_a_workload_cannot_say_is_said(runs, tmp_path, capsys):
    assert export(runs["support"], "zigzag", tmp_path / "net.yaml") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"layers of resnet8: {tmp_path / 'net.yaml'}"
    assert second.startswith("ZigZag has no word for weights that are dropped within kernels; written as if")
    assert "layer1.0.conv1, layer1.0.conv2" in second
    # Tables of layers have a column for them.
    assert export(runs["support"], "csv", tmp_path / "net.csv") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert "support" in (tmp_path / "net.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    "target, options, message",
    [
        ("csv", ["--precision", "float"], "--onnx-format goes with --to onnx, not with csv"),
        ("onnx", ["--cell-bits", "2"], "--cell-bits goes with --to arrays, not with onnx"),
        ("dense", ["--linear"], "--linear goes with --to zigzag or csv, not with dense"),
    ],
)
def test_options_of_other_targets_are_refused(target, options, message, runs, tmp_path, capsys):
    assert export(runs["low-rank"], target, tmp_path / "x", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys):
    assert export(str(tmp_path / "none"), "csv", tmp_path / "x.csv") == 2
    assert "does not exist" in capsys.readouterr().err
