"""`rankfold plan`: what it prints and writes, and that its plan can be compressed."""

import ctypes
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from common.dense_outputs import one_map
from common.outcomes import made_up
from common.small_network import net
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.machine.description import hardware_text
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan import Plan
from rankfold.planning import solve_problem
from rankfold.planning.forecast.curve import Curve
from rankfold.planning.forecast.forecaster import Forecaster
from rankfold.planning.kinds import labels
from rankfold.runs.baseline import weights_digest

MODEL = "common.small_network:net"
# What `--layer-bits` is refused with, complete but for that.
DATA = {
    "--search": ["--data", "digits", "--max-drop", "1"],
    "--uniform": ["--groups", "4"],
    "--allocation": ["--data", "digits", "--max-cycles", "50%"],
    "--mappings-only": ["--budget", "arrays=64"],
}


def plan(weights, *arguments, model=MODEL):
    command = ["plan", model, "--data", "digits", "--array", "32x32", "--threads", "1"]
    if weights is not None:
        command += ["--checkpoint", str(weights)]
    return main([*command, *map(str, arguments)])


def test_a_plan_that_is_compressed(weights, tmp_path, capsys):
    out, front = tmp_path / "plan.json", tmp_path / "front"
    budgets = ["--max-cycles", "60%", "--budget", "energy=90%,interval=100%", "--images", "64"]
    budgets += ["--kinds", "low-rank,support,window"]
    assert plan(weights, *budgets, "--out", out, "--pareto", front) == 0
    told = capsys.readouterr().out
    assert (
        "proven optimal" in told
        and " us dense -> " in told
        and f"plan: {out}" in told
        and "first convolution" in told
    )
    assert sorted(file.name for file in front.iterdir()) == ["front.csv", "front.html", "front.svg"]
    assert "after fine-tuning: not known, as what training with a teacher leaves of common.small" in told
    chosen = Plan.load(out)
    assert all(layer.reason for layer in chosen.layers)
    run = tmp_path / "run"
    command = ["compress", MODEL, "--data", "digits", "--checkpoint", str(weights), "--plan", str(out)]
    assert main([*command, "--epochs", "0", "--threads", "1", "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    # So that this run can be learnt from.
    assert result["predicted_loss"] == chosen.predicted_loss > 0
    assert result["dense_weights"] == chosen.prediction.weights
    assert result["decomposition"] == "data" and result["rounding"] == "nearest"
    capsys.readouterr()
    assert plan(weights, *budgets, "--out", out, "--json", "--learn-from", run) == 0
    told, noted = capsys.readouterr()
    assert f"{run} is not learnt from, as it was not fine-tuned" in noted
    told = json.loads(told)
    assert told["after_training"]["not_known"].startswith("what training with a teacher leaves of")
    content = told["plan"]
    planned = content["total"]["planned"]["cycles"]
    assert planned == result["planned_cycles"] <= content["total"]["budgets"]["cycles"]
    assert content["total"]["gap"] == 0
    assert Plan.load(out) == chosen  # the same seed, the same plan


def test_nothing_but_json_on_standard_output(weights, tmp_path, monkeypatch, capfd):
    """The solver prints lines of its own for some problems."""

    def noisy(*arguments):
        ctypes.CDLL(None).printf(
            b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\n"
        )
        return solve_problem(*arguments)

    monkeypatch.setattr("rankfold.planning.best.solve_problem", noisy)
    out, front = tmp_path / "plan.json", tmp_path / "front"
    front.mkdir()
    (front / "front.svg").write_text("of another front")
    trades = ["--pareto", front, "--front", "cycles,arrays"]
    assert plan(weights, "--max-cycles", "60%", "--images", "32", "--out", out, *trades, "--json") == 0
    ctypes.CDLL(None).fflush(None)
    assert not (front / "front.svg").exists()
    files = [str(out), str(front / "front.csv"), str(front / "front.html")]
    assert json.loads(capfd.readouterr().out)["files"] == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a budget (--max-cycles, "),
        (["--max-cycles", "0"], "budget of cycles (=0) must be a positive amount such as 5000 or 40%"),
        (["--max-cycles", "10nJ"], "budget of cycles (=10nJ) must be"),
        (["--max-energy", "10"], "budget of energy (=10) must be a positive amount such as 300nJ or 40%"),
        (["--budget", "cycles=9", "--max-cycles", "9"], "there are two budgets of cycles; give one"),
        (["--budget", "speed=9"], "budget (=speed): the quantity must be one of cycles, arrays, energy, arr"),
        (["--budget", "cycles=9", "--objective", "energy"], "the least energy alone would lose whatever"),
        (["--max-cycles", "50%", "--front", "energy"], "--pareto DIR asks for one"),
        (
            ["--pareto", "front", "--front", "cycles,arrays,energy"],
            "two different ones, not 3: cycles, arrays",
        ),
        (["--pareto", "front", "--front", "speed"], "front (=speed): the quantity must be one of cycles"),
        (["--pareto", "front", "--front", ""], "front (=): the quantity must be one of cycles"),
        (["--max-loss", "-1"], "max_loss (=-1 nats) must be 0 or more"),
        (["--max-loss", "nan"], "max_loss (=nan nats) must be 0 or more"),
        (
            ["--max-loss", "0.1", "--layer-bits", "2-8", "--bits", "float"],
            "--layer-bits are chosen instead of the network's bits; give it bits, too, such as --bits 4",
        ),
        (["--max-loss", "0.1", "--force-low-rank"], "--force-low-rank goes with --uniform"),
        (["--max-drop", "-1"], "max drop (=-1 points) must be at least 0"),
        (["--max-drop", "-1", "--metric", "a:b"], "max drop (=-1 of the metric) must be 0 or more"),
        (["--max-drop", "1", "--metric", "a:b"], "metric a:b cannot be imported: No module named 'a'"),
        (["--max-cycles", "50%", "--metric", "a:b"], "--metric is what --max-drop or --search measures"),
        (
            ["--max-drop", "1", "--after-epochs", "4", "--metric", "a:b"],
            "--after-epochs foresees top-1 accuracy, which was learnt, and no other metric",
        ),
        (["--max-cycles", "3"], "no plan has at most 3 cycles: the fewest that these layers can reach is "),
        (["--pareto", "front", "--out", "plan.json"], "--out is for one plan, which needs a budget"),
        (["--max-cycles", "50%", "--images", "0"], "images (=0) must be 1 or more"),
        (
            ["--max-cycles", "50%", "--kinds", "window,"],
            "kinds has '', which no plan chooses; there are low-rank,",
        ),
        (["--max-cycles", "50%", "--after-epochs", "0"], "--after-epochs (=0) must be 1 or more"),
        (["--pareto", "front", "--after-epochs", "4"], "--after-epochs is of one plan, which needs a budget"),
        (
            ["--max-drop", "1", "--after-epochs", "4", "--max-loss", "0.1"],
            "--max-drop with --after-epochs limits the predicted loss, as --max-loss does; give one of both",
        ),
        (
            ["--max-drop", "1", "--after-epochs", "4", "--layer-bits", "3,4"],
            "accuracies after fine-tuning are learnt where all layers keep --bits and rounding is not "
            "counted; omit --layer-bits, or",
        ),
        (
            ["--max-drop", "1", "--after-epochs", "4", "--count-rounding"],
            "rounding is not counted; omit --count-rounding, or --after-epochs to have --max-drop measured",
        ),
        (
            ["--max-cycles", "50%", "--count-rounding", "--bits", "float"],
            "--count-rounding counts what rounding to --bits loses; give the network bits, such as --bits 4",
        ),
        (
            ["--max-cycles", "50%", "--count-rounding", "--bits", "1"],
            "and it has 1 of weights and 1 of inputs; omit --count-rounding",
        ),
        (
            ["--max-drop", "1", "--after-epochs", "4"],
            "(4/4 8/8) is not learnt: 0 plans trained so are known (0 by labels alone), and at least 9 are",
        ),
        (["--pareto", "front", "--no-distil"], "--no-distil is of one plan, which needs a budget"),
        (["--max-loss", "1", "--learn-from", "runs"], "runs holds no finished run (no result.json)"),
        (["--max-cycles", "50%", "--seed", "-1"], "seed (=-1) must be between 0 and 2147483647"),
    ],
)
def test_wrong_arguments(weights, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert plan(weights, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_outputs_that_are_no_scores(weights, tmp_path, capsys):
    dense, out = tmp_path / "dense.safetensors", tmp_path / "plan.json"
    save_file(one_map().state_dict(), dense)
    options = ["--images", "16", "--kinds", "low-rank", "--out", out]
    name = "common.dense_outputs:one_map"
    assert plan(dense, "--max-cycles", "80%", *options, model=name) == 0
    told = capsys.readouterr().out
    assert (
        "relative squared error before fine-tuning; proven optimal\noutputs were taken for values\n" in told
    )
    assert "after fine-tuning: not known, as" in told
    assert plan(dense, "--max-cycles", "80%", *options, "--outputs", "scores:1", "--json", model=name) == 0
    content = json.loads(capsys.readouterr().out)["plan"]
    assert content["total"]["loss_unit"] == "nats" and content["total"]["outputs"] == "scores:1"
    assert plan(dense, "--max-drop", "1", *options, model=name) == 2
    assert "name what plans are measured by, --metric package.module:function" in capsys.readouterr().err
    assert plan(dense, "--max-cycles", "80%", *options, "--outputs", "classes", model=name) == 2
    assert "outputs (=classes) must be one of scores, probabilities, values" in capsys.readouterr().err
    # Classes of other data, and outputs that only look like them.
    ten = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exported = torch.export.export(ten.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=[{0: Dim("n")}])
    torch.export.save(exported, tmp_path / "ten.pt2")
    four = str(tmp_path / "ten.pt2")
    assert plan(None, "--max-cycles", "80%", *options, model=four) == 2
    assert "expected (1, 10), or --outputs that says what the outputs are" in capsys.readouterr().err
    assert plan(None, "--max-cycles", "100%", *options, "--outputs", "values", model=four) == 0


def test_bits_of_each_layer(weights, tmp_path, capsys):
    out = tmp_path / "plan.json"
    bits = ["--kinds", "window", "--layer-bits", "3,4", "--images", "16"]
    assert plan(weights, "--max-energy", "60%", *bits, "--out", out) == 0
    told = capsys.readouterr().out
    assert "bits: of weights/inputs" in told and "4/4 -> 3/" in told
    layers = Plan.load(out).layers
    assert any("bits of weights/inputs" in layer.reason for layer in layers)
    assert {layer.weight_bits for layer in layers[1:-1]} <= {3, 4} and 3 in [
        layer.weight_bits for layer in layers
    ]
    assert layers[-1].reason == "classifier; keeps its bits: fully connected layers cost nothing here"


@pytest.mark.parametrize(
    "mode", [["--search", "nsga2"], ["--uniform"], ["--allocation", "alds"], ["--mappings-only"]]
)
def test_bits_of_each_layer_are_for_exact_plans(mode, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "resnet20", "--array", "64x64", "--layer-bits", "3,4", *mode, *DATA[mode[0]]]) == 2
    assert "--layer-bits" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_names_all_kinds(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    words = " ".join(capsys.readouterr().out.replace("-\n", "-").split()).replace("- ", "-")
    assert f"some of {', '.join(labels())} (default: all)" in words


def test_mappings_alone_need_no_data(tmp_path, capsys):
    out = tmp_path / "plan.json"
    command = ["plan", "resnet20", "--mappings-only", "--array", "128x128", "--out", str(out)]
    assert main([*command, "--budget", "arrays=64", "--objective", "cycles"]) == 0
    told = capsys.readouterr().out
    assert "budget 64 arrays" in told and "proven optimal in cycles" in told
    assert {layer.kind.name for layer in Plan.load(out).layers} == {"dense"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "digits"], "--mappings-only looks at no data; omit --data"),
        # A 0 is given as anything else is.
        (["--max-loss", "0"], "--mappings-only looks at no data; omit --max-loss"),
        (["--max-drop", "0"], "--mappings-only looks at no data; omit --max-drop"),
        (["--rank", "1/8"], "--rank goes with --uniform"),
        (["--mapping", "sdk"], "--mapping goes with --uniform"),
        (["--method", "low-rank"], "--method goes with --uniform"),
        (["--read-noise", "0.1"], "--mappings-only counts costs alone; omit the noise of arrays"),
    ],
)
def test_mappings_alone_refuse_what_they_do_not_follow(arguments, message, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert main(["plan", "resnet20", "--mappings-only", "--out", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("kind", ["--mappings-only", "--uniform"])
@pytest.mark.parametrize("read", ["model", "--hardware", "--technology"])
def test_a_plan_replaces_nothing_that_is_read(kind, read, tmp_path, capsys):
    file = tmp_path / "read.yaml"
    file.write_text(hardware_text("rram-22nm"))
    model = str(file) if read == "model" else "resnet20"
    arguments = [] if read == "model" else [read, str(file)]
    assert main(["plan", model, kind, *arguments, "--out", str(file)]) == 2
    assert f"{file} is read by the same command; choose another file" in capsys.readouterr().err
    assert file.read_text() == hardware_text("rram-22nm")


def wrong(scores, classes):
    """Minus the per cent of errors: the higher the better, and no share."""
    return -100 * (scores.argmax(1) != classes).double().mean()


def test_what_may_drop_is_a_metric_of_ones_own(weights, tmp_path, capsys):
    asked = ["--max-drop", "5", "--metric", f"{__name__}:wrong", "--kinds", "window", "--images", "32"]
    assert plan(weights, *asked, "--out", tmp_path / "plan.json") == 0
    told = capsys.readouterr().out
    assert "on held-out training images: wrong -" in told and " lost\n" in told and "points" not in told
    assert plan(weights, *asked, "--out", tmp_path / "plan.json", "--json") == 0
    measured = json.loads(capsys.readouterr().out)["plan"]["measured"]
    assert measured["metric"] == "wrong" and measured["planned"] >= measured["dense"] - 5


def test_what_is_measured_to_be_cheapest_is_not_called_optimal(weights, tmp_path, capsys):
    out = tmp_path / "plan.json"
    asked = ["--max-drop", "5", "--kinds", "window", "--images", "32", "--out", out]
    assert plan(weights, *asked) == 0
    told = capsys.readouterr().out
    assert "the cheapest in cycles of the plans measured" in told and "optimal" not in told
    assert plan(weights, *asked, "--json") == 0
    content = json.loads(capsys.readouterr().out)["plan"]["total"]
    assert content["bound"] is None and content["gap"] is None


@pytest.fixture
def learnt(weights, digits, monkeypatch):
    """The network, of which accuracies after training are known: with windows, taught by the dense one."""
    model = net()
    apply_weights(model, read_weights(weights), str(weights))
    known = []
    for one in made_up(Curve((0.1, -0.05, -0.1, 0.3, 0.1)), np.random.default_rng(0), noise=0.05):
        same = {"network": MODEL, "data": digits.digest, "weights": weights_digest(model)}
        known.append(replace(one, **same))
    monkeypatch.setattr("rankfold.planning.forecast.finished.shipped_outcomes", lambda: known)
    return model


def test_accuracy_after_training_may_drop(weights, digits, learnt, tmp_path, capsys):
    """Where it is learnt: the predicted loss is limited to what may be lost then, and nothing is measured."""
    out = tmp_path / "plan.json"
    asked = ["--max-drop", "3", "--after-epochs", "4", "--images", "16", "--out", out]
    assert plan(weights, *asked) == 0
    told, noted = capsys.readouterr()
    assert "kinds: window, as accuracies after fine-tuning are learnt of no others" in noted
    assert "after 4 epochs of fine-tuning about " in told and "proven optimal in cycles" in told
    forecaster = Forecaster.of_plan(Plan.load(out), learnt, digits)
    found = forecaster.of(Plan.load(out), 4)
    assert found.dense - found.accuracy <= 0.03
    assert f"(at most {forecaster.most_loss(0.03, 4):g})" in told
    assert f"about {found.accuracy:.1%} ({100 * found.low:.1f} to {100 * found.high:.1f} in nine" in told
    assert f"learnt from {found.plans} plans, {found.as_long} of them trained as long" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--kinds", "window,skipped,grouped"],
            "--kinds has skipped, grouped, of which accuracies after fine-tuning are not learnt; they are of "
            "window; or omit --after-epochs",
        ),
        (["--no-distil"], "by labels alone leaves of common.small_network:net with these weights"),
    ],
)
def test_what_was_not_learnt_is_not_planned(
    weights, learnt, arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert plan(weights, "--max-drop", "3", "--after-epochs", "4", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_need_be_lost(weights, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert plan(weights, "--max-loss", "0", "--images", "32", "--out", out, "--json") == 0
    content = json.loads(capsys.readouterr().out)["plan"]["total"]
    assert content["predicted_loss"] == 0.0 and content["gap"] == 0


def test_a_front_that_fails_leaves_no_plan(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert plan(weights, "--max-cycles", "60%", "--pareto", "file") == 2
    assert "file is a file; give a folder for the front" in capsys.readouterr().err

    def refuse(*_, **__):
        raise InputError("the front cannot be written")

    monkeypatch.setattr("rankfold.report.pareto.write.write_front", refuse)
    assert plan(weights, "--max-cycles", "60%", "--images", "32", "--pareto", "front") == 2
    assert "the front cannot be written" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_exported_network_brings_its_weights(weights, tmp_path, capsys):
    model, file, out = net(), tmp_path / "net.pt2", tmp_path / "plan.json"
    apply_weights(model, read_weights(weights), str(weights))
    shapes = ({0: Dim("images", min=1, max=4096)},)
    torch.export.save(
        torch.export.export(model.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=shapes), file
    )
    options = ["--max-cycles", "70%", "--images", "64", "--device", "cpu", "--out", out, "--json"]
    assert plan(None, *options, model=str(file)) == 0
    total = json.loads(capsys.readouterr().out)["plan"]["total"]
    assert total["planned"]["cycles"] <= 0.7 * total["dense"]["cycles"]
    assert total["predicted_loss"] > 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("net.onnx", "cannot read net.onnx: No such file or directory"),
        ("resnet8", "a plan needs the trained weights of resnet8 for digits, and none are shipped"),
    ],
)
def test_networks_without_weights(tmp_path, monkeypatch, capsys, model, message):
    monkeypatch.chdir(tmp_path)
    assert plan(None, "--max-cycles", "50%", model=model) == 2
    assert message in capsys.readouterr().err
