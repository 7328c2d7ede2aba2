"""Plans without labels: by agreement with the dense network, or by a metric of targets."""

import copy
import json

import numpy as np
import pytest
import torch

import rankfold as rf
from common.command_line import refuse
from common.dense_outputs import maps
from common.unlabelled import ARRAY, NAME
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.training.data import load_images


def test_plans_lose_no_more_agreement_than_allowed(images, dense, weights, tmp_path, capsys):
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    options = ["--max-drop", "4", "--images", "60", "--kinds", "window", "--bits", "8", "--threads", "1"]
    assert main([str(one) for one in (*plan, *options, "--out", tmp_path / "plan.json")]) == 0
    assert "agreement" in capsys.readouterr().out
    data = load_images(images)
    planning = rf.best_plan(dense, data, ARRAY, max_drop=0.04, images=60, kinds=["window"], bits=8)
    assert planning.plan.layers == rf.Plan.load(tmp_path / "plan.json").layers
    drop = planning.drop
    assert drop.metric == "agreement" and 0.9 < drop.dense <= 1 and drop.amount <= 0.04
    assert any(layer.kind.changes_weight for layer in planning.plan.layers)
    # The same by hand: images that nothing was calibrated on, against the float network.
    held_out = data.train.sample(2000, 0, skip=60)
    assert len(held_out) == len(data.train) - 60
    made = copy.deepcopy(dense)
    rf.compress_(made, planning.plan, data, images=60)
    rf.quantise_(made, planning.plan, data, images=60, reference=dense)
    with torch.no_grad():
        same = total = 0
        for inputs, _ in data.batches_of(held_out, torch.device("cpu")):
            same += int((made(inputs).argmax(1) == dense.eval()(inputs).argmax(1)).sum())
            total += len(inputs)
    assert abs(same / total - drop.planned) <= 2 / total


def test_metrics_are_given_the_targets_of_arrays(images, dense, weights, tmp_path):
    data = load_images(images)
    inputs = torch.cat(list(data.calibration_batches(None, torch.device("cpu"))))
    with torch.no_grad():
        classes = dense.eval()(inputs).argmax(1)
    np.savez(tmp_path / "x.npz", input=inputs.numpy(), targets=classes.numpy())
    given = ["--data", tmp_path / "x.npz", "--classes", "10", "--checkpoint", weights, "--threads", "1"]
    given += ["--metric", "common.metrics_of_targets:same_classes"]
    plan = [
        "plan",
        NAME,
        *given,
        "--array",
        "32x32",
        "--kinds",
        "window",
        "--images",
        "40",
        "--max-drop",
        "0.1",
    ]
    assert main([str(one) for one in (*plan, "--bits", "8", "--out", tmp_path / "plan.json")]) == 0
    run = [
        "compress",
        NAME,
        *given,
        "--plan",
        tmp_path / "plan.json",
        "--epochs",
        "0",
        "--out",
        tmp_path / "run",
    ]
    assert main([str(one) for one in run]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # What it is measured by is the dense network's own classes.
    assert result["metric"]["name"] == "same_classes" and result["metric"]["baseline"] == 1
    assert 0.8 < result["metric"]["final"] <= 1
    assert result["metric"]["final"] == pytest.approx(result["agreement"]["final"])


def test_searches_measure_agreement(images, dense, weights, tmp_path, capsys):
    pytest.importorskip("optuna")
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    search = ["--search", "nsga2", "--trials", "6", "--search-images", "20", "--images", "60", "--bits", "8"]
    options = ["--kinds", "window", "--max-cycles", "80%", "--threads", "1", "--json"]
    assert main([str(one) for one in (*plan, *search, *options, "--out", tmp_path / "plan.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"]["metric"] == "agreement"
    chosen = rf.Plan.load(tmp_path / "plan.json")
    data = load_images(images)
    held_out = data.train.sample(20, 0, skip=60)
    made = copy.deepcopy(dense)
    rf.compress_(made, chosen, data, images=60)
    rf.quantise_(made, chosen, data, images=60, reference=dense)
    (inputs, _), *_ = data.batches_of(held_out, torch.device("cpu"))
    with torch.no_grad():
        same = (made.eval()(inputs).argmax(1) == dense.eval()(inputs).argmax(1)).float().mean()
    assert abs(float(same) - found["measured"]["chosen"]["accuracy"]) <= 1.01 / 20
    values = ["--outputs", "values", "--max-cycles", "80%", *search]
    error = refuse(capsys, *plan, *values, "--out", tmp_path / "other.json")
    assert "the network's outputs are values; give targets and a metric" in error


def test_outputs_that_are_values_do_not_agree():
    given = [torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(InputError, match="the network's outputs are values; give targets and a metric"):
        rf.best_plan(maps(), given, ARRAY, max_drop=0.01, images=10, kinds=["window"])


def test_commands_that_need_labels_say_so(images, weights, tmp_path, capsys):
    error = refuse(capsys, "train", NAME, "--data", images, "--out", tmp_path / "run")
    assert "training needs labels, and data" in error and "give images by split and class" in error
    plan = ["plan", NAME, "--data", images, "--classes", "10", "--checkpoint", weights, "--array", "32x32"]
    out = ("--out", tmp_path / "plan.json")
    error = refuse(capsys, *plan, "--max-drop", "1", "--metric", "math:dist", *out)
    assert "a metric needs targets, and data" in error and "targets.NAME, in a .npz" in error
    error = refuse(capsys, *plan, "--max-drop", "1", *out)
    assert (
        "none is left to measure plans on: give more, calibrate on fewer (images=, --calibration-images)"
        in error
    )
    options = ["--max-cycles", "80%", "--images", "32", "--kinds", "window", "--threads", "1"]
    assert main([str(one) for one in (*plan, *options, "--out", tmp_path / "plan.json")]) == 0
    error = refuse(capsys, "plan", NAME, "--data", "digits", "--classes", "10", "--max-cycles", "80%")
    assert "--classes is for data without labels, and digits has labels" in error
