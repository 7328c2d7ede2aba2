"""Finished runs without labels are measured again: against the original, or by targets."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import rankfold as rf
from common.command_line import refuse
from common.small_network import net
from common.unlabelled import NAME, command
from rankfold.cli.main import main
from rankfold.models.load import read_weights
from rankfold.training.data import load_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(images, weights, tmp_path_factory):
    """A run without labels and training."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(command(images, weights, out, "--classes", "10", "--epochs", "0")) == 0
    return out


def evaluate(*options):
    return ["evaluate", *map(str, options), "--threads", "1"]


def test_finished_runs_are_compared_with_the_original_again(finished, images, weights, tmp_path, capsys):
    given = [finished, "--model", NAME, "--data", images]
    assert main([*evaluate(*given, "--checkpoint", weights), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "agreement" and found["images"] == 30 and found["same_data"]
    assert found["accuracy"] == found["reported"] and 0 < found["reported"] < 1
    assert main(evaluate(*given, "--checkpoint", weights)) == 0
    assert capsys.readouterr().out.startswith("agreement 0.")
    # The same images as arrays, of which every fifth is measured on, too.
    pixels = torch.cat([x for x, _ in load_images(images).batches_of(load_images(images).test, CPU)])
    np.save(tmp_path / "x.npy", pixels.repeat_interleave(5, 0).numpy())
    arrays = [finished, "--model", NAME, "--data", tmp_path / "x.npy", "--checkpoint", weights]
    assert main([*evaluate(*arrays), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == found["accuracy"]
    error = refuse(capsys, *evaluate(*given))
    assert "compared with the original, whose weights it does not hold; give them (--checkpoint)" in error
    other = tmp_path / "other.safetensors"
    save_file({name: value + 1 for name, value in read_weights(weights).items()}, other)
    error = refuse(capsys, *evaluate(*given, "--checkpoint", other))
    assert "has other weights than the network of" in error
    error = refuse(capsys, *evaluate(finished, "--model", NAME, "--data", "digits", "--checkpoint", weights))
    assert "compare networks without labels and a metric; omit them" in error
    error = refuse(capsys, *evaluate(*arrays, "--shift", "1"))
    assert "a shift moves images, and data" in error


def test_finished_runs_are_measured_by_targets_beside_images(finished, images, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    for image in folder.glob("*.png"):
        image.with_suffix(".json").write_text("3")
    given = [finished, "--model", NAME, "--data", folder, "--metric", "common.metrics_of_targets:threes"]
    assert main([*evaluate(*given), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, _, _ = rf.load_run(finished, model=net())
    data = load_images(images)
    with torch.no_grad():
        classes = torch.cat([model(x).argmax(1) for x, _ in data.batches_of(data.test, CPU)])
    assert found["accuracy"] == float((classes == 3).float().mean()) and found["metric"] == "threes"
    (folder / "004.json").unlink()
    assert "004.png has no targets beside it" in refuse(capsys, *evaluate(*given))
