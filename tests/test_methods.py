"""Every method of compression from the command line: run, evaluate, report, map; and what does not go together."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from rankfold.cli.main import main
from rankfold.nn.models import build
from rankfold.pipeline.evaluate import load_compressed
from rankfold.pipeline.result import Result
from rankfold.plan import Plan

SMALL = ["resnet8", "--data", "digits", "--array", "32x32", "--batch", "256", "--epochs", "1"]
METHODS = {
    "patdnn": ["--method", "patdnn", "--entries", "4"],
    "pairs": ["--method", "pairs", "--entries", "2", "--block", "16", "--steering", "ideal", "--bits", "float"],
    "channel": ["--method", "channel", "--ratio", "0.5"],
    "quantise": ["--method", "quantise", "--bits", "1"],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(build("resnet8", 10, 1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, weights):
    out = tmp_path_factory.mktemp("runs")
    for name, arguments in METHODS.items():
        assert main(["compress", *SMALL, *arguments, "--checkpoint", str(weights), "--out", str(out / name)]) == 0
    return out


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_evaluated_and_mapped_from_its_files(runs, method, capsys):
    folder = runs / method
    result = Result.load(folder / "result.json")
    model, plan, _ = load_compressed(folder)
    assert Plan.load(folder / "plan.json") == plan
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--data", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == result.accuracy.final
    assert main(["map", str(folder), "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert total["planned_cycles"] == result.planned_cycles
    assert result.cycles.items() <= total["cycles"].items()
    assert main(["map", str(folder), "--array", "64x64"]) == 0
    assert "resnet8 on 64x64 arrays" in capsys.readouterr().out
    if method in ("patdnn", "pairs"):
        assert {"pruned-im2col", "pruned-sdk", "pruned-best", "ideal-im2col", "ideal-sdk"} <= result.cycles.keys()
        assert result.planned_cycles == result.cycles["ideal-sdk" if method == "pairs" else "pruned-sdk"]
        entries = int(METHODS[method][3])
        for layer in result.layers:
            if layer.kind == "pattern-pruned":
                assert layer.entries == entries and layer.pruning == method
                assert layer.parameters_after * 9 == layer.parameters_before * entries
                weight, mask = (load_file(folder / "model.safetensors")[f"{layer.name}.{part}"] for part in ("weight", "mask"))
                assert (weight[~mask] == 0).all()
    if method == "channel":
        assert result.planned_cycles == result.cycles["channel-sdk"] < result.cycles["sdk"]
        assert result.parameters_after == sum(
            parameter.numel() for name, parameter in model.named_parameters() if "quantiser" not in name
        )
    if method == "quantise":
        assert {layer.weight_bits for layer in plan.layers[1:-1]} == {1}
        assert len(model.layer1[0].conv1.weight_quantiser(model.layer1[0].conv1.weight).unique()) == 2


def test_the_report_names_both_readings(runs, tmp_path, capsys):
    page = tmp_path / "all.html"
    assert main(["report", *(str(runs / name) for name in METHODS), "--out", str(page)]) == 0
    table = capsys.readouterr().out
    assert "ideal steering" in table
    results = {name: Result.load(runs / name / "result.json") for name in METHODS}
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line.split() and line.split()[0] in METHODS}
    for name in ("patdnn", "pairs"):
        assert f"{results[name].cycles['pruned-sdk']:,}" in lines[name]
        assert f"{results[name].cycles['ideal-sdk']:,}" in lines[name]
    assert lines["channel"][6] == lines["quantise"][6] == "-"
    assert "ideal steering: as if every column of an array got inputs of its own" in page.read_text(encoding="utf-8")
    single = (runs / "patdnn" / "report.html").read_text(encoding="utf-8")
    assert "PatDNN, e = 4" in single and "cycles with ideal steering" in single


def test_the_plan_of_a_run_can_be_followed_again(runs, weights, tmp_path):
    """The same masks, so the same cycles and the same accuracy."""
    out = tmp_path / "again"
    plan = str(runs / "patdnn" / "plan.json")
    assert main(["compress", *SMALL, "--plan", plan, "--checkpoint", str(weights), "--out", str(out)]) == 0
    first, second = (Result.load(folder / "result.json") for folder in (runs / "patdnn", out))
    assert (first.cycles, first.accuracy) == (second.cycles, second.accuracy)
    states = [load_file(folder / "model.safetensors") for folder in (runs / "patdnn", out)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "patdnn"], "method patdnn needs entries, such as 4"),
        (["--method", "channel"], "method channel needs ratio, such as 0.5"),
        (["--method", "low-rank"], "method low-rank needs rank, such as 1/8"),
        (["--method", "patdnn", "--entries", "4", "--rank", "1/8"], "rank (=1/8) does not go with method patdnn"),
        (["--method", "patdnn", "--entries", "4", "--block", "8"], "block (=8) does not go with method patdnn"),
        (["--entries", "4"], "entries (=4) does not go with method quantise"),
        (["--method", "quantise", "--steering", "ideal"], "steering (=ideal) does not go with method quantise"),
        (["--method", "pairs", "--entries", "9"], "entries (=9) prune no layer of resnet8"),
        (["--method", "channel", "--ratio", "1.5"], "ratio (=1.5) must be the share of channels to remove"),
        (["--method", "magnitude"], "argument --method: invalid choice: 'magnitude'"),
        (["--plan", "p.json", "--method", "patdnn"], "leave --method away, or edit p.json"),
        (["--plan", "p.json", "--entries", "4"], "leave --entries away, or edit p.json"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, tmp_path, capsys):
    try:
        code = main(["compress", *SMALL, *arguments, "--out", str(tmp_path / "out")])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_mapped_run_takes_no_plan_from_the_command_line(runs, tmp_path, capsys):
    assert main(["map", str(runs / "patdnn"), "--rank", "1/8"]) == 2
    assert "--rank does not go with the folder of a run, whose plan says it" in capsys.readouterr().err
    folder = tmp_path / "no-weights"
    folder.mkdir()
    os.link(runs / "patdnn" / "plan.json", folder / "plan.json")
    assert main(["map", str(folder)]) == 2
    assert "model.safetensors does not exist" in capsys.readouterr().err
