"""`rankfold compress`: what it writes, and folders, plans and weights that it refuses."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from common.command_line import PAIRS, SMALL, refuse
from rankfold.cli.main import main

pytestmark = pytest.mark.usefixtures("few_digits")


def test_compress_writes_everything(finished, weights):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "run.json",
        "plan.json",
        "model.safetensors",
        "history.csv",
        "result.json",
        "report.html",
    }
    result = json.loads((finished / "result.json").read_text())
    with (finished / "history.csv").open() as file:
        epochs = list(csv.DictReader(file))
    assert len(epochs) == 2
    assert float(epochs[-1]["test_accuracy"]) == pytest.approx(result["accuracy"]["final"])
    plan = json.loads((finished / "plan.json").read_text())
    low_rank = [layer for layer in plan["layers"] if layer["kind"] == "low-rank"]
    assert len(low_rank) == 6
    assert all(layer["input_signed"] is False for layer in low_rank)
    # Pairs as in their paper, what stays dense by the rule: the first convolution gets wider windows.
    assert {layer["mapping"] for layer in low_rank} == {"sdk"}
    assert plan["layers"][0]["mapping"] != "sdk"
    assert plan["layers"][0]["weight_bits"] == plan["layers"][-1]["weight_bits"] == 8
    for layer in result["layers"]:
        if layer["kind"] == "low-rank":
            assert 0 < layer["output_error"] < 1
            assert layer["error"] > 0
    assert sum(layer["planned_cycles"] or 0 for layer in result["layers"]) == result["planned_cycles"]
    stored = load_file(finished / "model.safetensors")
    # Every tensor but batch norm's buffers and the quantisers' steps is a parameter of the compressed
    # network.
    counted = [
        v for k, v in stored.items() if "running" not in k and "tracked" not in k and not k.endswith("step")
    ]
    assert result["parameters_after"] == sum(value.numel() for value in counted)


def test_compress_trains_the_baseline_it_lacks(tmp_path, capsys):
    out = tmp_path / "run"
    lacking = ["--baseline-epochs", "1", "--epochs", "1", "--rank", "1/4"]
    assert main(["compress", *SMALL, *lacking, "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["baseline"] == "trained for 1 epochs"
    assert (out / "baseline.safetensors").is_file()
    assert not list(out.glob("*checkpoint*"))


def test_plan_can_be_edited_and_used_again(finished, weights, tmp_path, capsys):
    plan = json.loads((finished / "plan.json").read_text())
    plan["layers"][1] |= {"groups": 2, "rank": 3}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    out = tmp_path / "out"
    edited = ["--plan", str(tmp_path / "plan.json"), "--epochs", "0"]
    assert main(["compress", *SMALL, *edited, "--checkpoint", str(weights), "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    layer = result["layers"][1]
    assert result["array"] == [32, 32]
    assert (layer["groups"], layer["rank"]) == (2, 3)
    plan["layers"][1]["rank"] = "three"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    error = refuse(capsys, "compress", *SMALL, "--plan", tmp_path / "plan.json", "--out", tmp_path / "new")
    assert "plan.json is not a valid plan: at layers/1/rank: 'three' is not of type 'integer'" in error
    error = refuse(
        capsys,
        "compress",
        "resnet20",
        *SMALL[1:],
        "--plan",
        finished / "plan.json",
        "--out",
        tmp_path / "new",
    )
    assert "the plan is for another network (resnet8, not resnet20)" in error
    assert not (tmp_path / "new").exists()


def test_folder_of_another_run_is_kept(finished, weights, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    again = ["compress", *SMALL, "--checkpoint", weights, "--groups", "4", "--out", finished]
    assert "already holds a different run (other plan)" in refuse(capsys, *again, "--rank", "1/4")
    assert "already holds this run; give --resume to go on with it" in refuse(capsys, *again, "--rank", "1/8")
    assert main([str(argument) for argument in (*again, "--rank", "1/8", "--resume")]) == 0
    after = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert after == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    assert "is not empty and holds no run" in refuse(capsys, "compress", *SMALL, "--out", tmp_path / "mine")
    (tmp_path / "file").write_text("mine")
    assert "is a file; give a folder" in refuse(capsys, "compress", *SMALL, "--out", tmp_path / "file")
    assert "cannot write" in refuse(
        capsys, "compress", *SMALL, "--checkpoint", weights, "--out", tmp_path / "file" / "below"
    )


def test_wrong_classes_and_damaged_files(finished, weights, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label in ("cat", "dog", "owl"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / label / f"{index}.png")
    images, x = tmp_path / "images", tmp_path / "x"
    error = refuse(capsys, "evaluate", finished, "--data", images)
    assert "has 3 classes and images of (1, 8, 8)" in error
    error = refuse(
        capsys, "compress", "resnet8", "--data", images, "--batch", "8", "--checkpoint", weights, "--out", x
    )
    assert "is for another network or number of classes: fc" in error
    (images / "train" / "cat" / "3.png").write_bytes(b"not a picture")
    error = refuse(capsys, "compress", "resnet8", "--data", images, "--batch", "8", "--out", x)
    assert "split train: image" in error
    assert "cannot be read" in error
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("plan.json", "result.json"):
        (copied / name).write_bytes((finished / name).read_bytes())
    (copied / "model.safetensors").write_bytes((finished / "model.safetensors").read_bytes()[:1000])
    assert "is truncated, damaged or not" in refuse(capsys, "evaluate", copied, "--data", "digits")
    (copied / "result.json").write_text("{}")
    assert "is not a result of this version" in refuse(capsys, "evaluate", copied, "--data", "digits")
    assert not x.exists()


def test_a_damaged_or_foreign_checkpoint_is_refused(finished, weights, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    command = ["compress", *SMALL, *PAIRS, "--checkpoint", weights, "--out", out]
    for name in ("result.json", "report.html"):
        (out / name).unlink()
    (out / "checkpoint.pt").write_bytes(b"PK\x03\x04 half a file")
    assert "checkpoint.pt is damaged or not one of ours" in refuse(capsys, *command, "--resume")
    torch.save({"run": "another", "model": {}}, out / "checkpoint.pt")
    assert "belongs to another run" in refuse(capsys, *command, "--resume")


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.geteuid() != 0, reason="mounting a tiny disk needs root on Linux"
)
def test_a_full_disk_is_one_sentence(weights, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let us mount a tiny disk")
    try:
        error = refuse(capsys, "compress", *SMALL, "--checkpoint", weights, "--out", disk / "run")
        assert "No space left on device" in error
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_network_without_weights_is_not_trained_unasked(tmp_path, capsys):
    """`--epochs 0` means no training; sixty epochs of the dense network would be some."""
    options = ["--data", "digits", "--rank", "1/4", "--epochs", "0", "--out", tmp_path / "run"]
    error = refuse(capsys, "compress", "vgg9", *options)
    assert "there are no trained weights of vgg9 for digits, and --epochs 0 trains nothing" in error
    assert "--baseline-epochs" in error and not (tmp_path / "run").exists()
