"""Every method of compression from the command line: run, evaluate, report, map; what does not fit
together.
"""

import json
import os
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.command_line import no_pages
from rankfold.cli.main import main
from rankfold.models.zoo import build
from rankfold.plan import Plan
from rankfold.runs.evaluate import load_run
from rankfold.runs.result import Result

pytestmark = pytest.mark.usefixtures("few_digits")
SMALL = ["resnet8", "--data", "digits", "--array", "32x32", "--batch", "256", "--epochs", "1"]
MAPPED = ["--input", "1x8x8"]
LAYER = ["--layer", "layer2.0.conv2"]
BLOCKS = ["--block", "16", "--steering", "ideal", "--bits", "float"]
METHODS = {
    "patdnn": ["--method", "patdnn", "--entries", "4"],
    "pairs": ["--method", "pairs", "--entries", "2", *BLOCKS],
    "support": ["--method", "support", "--entries", "3"],
    "sparse": ["--groups", "2", "--rank", "1/4", "--entries", "4", "--decomposition", "sequential"],
    "channel": ["--method", "channel", "--ratio", "0.5", "--mapping", "sdk"],
    "quantise": ["--method", "quantise", "--bits", "1"],
}
READ = ("patdnn", "support", "sparse")  # those whose own page is read


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(build("resnet8", 10, 1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, weights, few_digits):
    out = tmp_path_factory.mktemp("runs")
    for name, arguments in METHODS.items():
        given = [*SMALL, *arguments, "--checkpoint", str(weights), "--out", str(out / name)]
        with nullcontext() if name in READ else no_pages():
            assert main(["compress", *given]) == 0
    return out


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_evaluated_and_mapped_from_its_files(runs, method, capsys):
    folder = runs / method
    result = Result.load(folder / "result.json")
    _, plan, _ = load_run(folder)
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


@pytest.mark.parametrize("method", ["patdnn", "pairs"])
def test_patterns_prune_what_they_say(runs, method):
    folder = runs / method
    result = Result.load(folder / "result.json")
    readings = {"pruned-im2col", "pruned-sdk", "pruned-best", "ideal-im2col", "ideal-sdk"}
    assert readings <= result.cycles.keys()
    planned = {"patdnn": "pruned-sdk", "pairs": "ideal-sdk"}[method]
    # The first convolution stays dense, and is laid out by the rule.
    pruned = [layer for layer in result.layers if layer.pruning is not None]
    assert all(layer.planned_cycles == layer.cycles[planned] for layer in pruned)
    assert result.planned_cycles <= result.cycles[planned]
    entries = int(METHODS[method][3])
    tensors = load_file(folder / "model.safetensors")
    assert pruned
    for layer in pruned:
        assert (layer.kind, layer.pruning, layer.entries) == ("pattern-pruned", method, entries)
        assert layer.parameters_after * 9 == layer.parameters_before * entries
        weight, mask = tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.mask"]
        assert (weight[~mask] == 0).all()


@pytest.mark.parametrize(
    ("method", "stage", "key"), [("support", "", "pruned-sdk"), ("sparse", ".reduce", "low-rank-sdk")]
)
def test_supports_keep_the_positions_of_the_plan(runs, method, stage, key):
    folder = runs / method
    result = Result.load(folder / "result.json")
    assert result.planned_cycles <= result.cycles[key]
    tensors = load_file(folder / "model.safetensors")
    layers = [layer for layer in Plan.load(folder / "plan.json").layers if layer.kind.shares_support]
    assert layers
    for layer in layers:
        weight = tensors[f"{layer.name}{stage}.weight"]
        mask = tensors[f"{layer.name}{stage}.mask"]
        entries = layer.kind.entries
        assert (weight[~mask] == 0).all() and int(mask.sum()) * 9 == mask.numel() * entries
        assert {int(word, 16).bit_count() for word in layer.kind.support.split()} == {entries}
        reported = next(entry for entry in result.layers if entry.name == layer.name)
        assert (reported.entries, reported.plain_error) == (entries, None)
        assert 0 < reported.output_error < 1
        stored = 0
        for name, tensor in tensors.items():
            if name.startswith(f"{layer.name}.") and name.endswith(("weight", "bias")):
                stored += tensor.numel()
        assert reported.parameters_after == stored - int((~mask).sum())


def test_channels_go_and_one_bit_has_two_levels(runs):
    result = Result.load(runs / "channel" / "result.json")
    assert result.planned_cycles == result.cycles["channel-sdk"] < result.cycles["sdk"]
    model, _, _ = load_run(runs / "channel")
    kept = 0
    for name, parameter in model.named_parameters():
        if "quantiser" not in name:
            kept += parameter.numel()
    assert result.parameters_after == kept
    model, plan, _ = load_run(runs / "quantise")
    assert {layer.weight_bits for layer in plan.layers[1:-1]} == {1}
    conv = model.layer1[0].conv1
    assert len(conv.weight_quantiser(conv.weight).unique()) == 2


def test_the_report_names_both_readings(runs, tmp_path, capsys):
    page = tmp_path / "all.html"
    assert main(["report", *(str(runs / name) for name in METHODS), "--out", str(page)]) == 0
    table = capsys.readouterr().out
    assert "ideal steering" in table
    results = {name: Result.load(runs / name / "result.json") for name in METHODS}
    lines = {}
    for line in table.splitlines():
        cells = line.split()
        if cells and cells[0] in METHODS:
            lines[cells[0]] = cells
    for name in ("patdnn", "pairs", "support"):
        assert f"{results[name].cycles['pruned-sdk']:,}" in lines[name]
        assert f"{results[name].cycles['ideal-sdk']:,}" in lines[name]
    assert lines["channel"][6] == lines["quantise"][6] == "-"
    assert "ideal steering: as if every column of an array got inputs of its own" in page.read_text(
        encoding="utf-8"
    )
    single = (runs / "patdnn" / "report.html").read_text(encoding="utf-8")
    assert "PatDNN, e = 4" in single and "cycles with ideal steering" in single
    support = (runs / "support" / "report.html").read_text(encoding="utf-8")
    sparse = (runs / "sparse" / "report.html").read_text(encoding="utf-8")
    assert "shared support, e = 3" in support and "Shared support, SDK" in support
    assert "row-sparse low-rank, g = 2, e = 4" in sparse and "Row-sparse low-rank, SDK" in sparse


@pytest.mark.parametrize("method", ["patdnn", "support"])
def test_the_plan_of_a_run_can_be_followed_again(runs, weights, tmp_path, method):
    """The same masks, so the same cycles and the same accuracy."""
    out = tmp_path / "again"
    plan = str(runs / method / "plan.json")
    given = ["--plan", plan, "--checkpoint", str(weights), "--out", str(out)]
    with no_pages():
        assert main(["compress", *SMALL, *given]) == 0
    first, second = (Result.load(folder / "result.json") for folder in (runs / method, out))
    assert (first.cycles, first.accuracy) == (second.cycles, second.accuracy)
    states = [load_file(folder / "model.safetensors") for folder in (runs / method, out)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "patdnn"], "method patdnn needs entries, such as 4"),
        (["--method", "channel"], "method channel needs ratio, such as 0.5"),
        (["--method", "low-rank"], "method low-rank needs rank, such as 1/8"),
        (
            ["--method", "patdnn", "--entries", "4", "--rank", "1/8"],
            "rank (=1/8) does not go with method patdnn",
        ),
        (
            ["--method", "patdnn", "--entries", "4", "--block", "8"],
            "block (=8) does not go with method patdnn",
        ),
        (["--method", "support"], "method support needs entries, such as 4"),
        (["--method", "support", "--entries", "9"], "entries (=9) prune no layer of resnet8"),
        (
            ["--method", "support", "--entries", "4", "--rank", "1/8"],
            "rank (=1/8) does not go with method support",
        ),
        (
            ["--rank", "1/4", "--entries", "9"],
            "entries (=9) leave out nothing in resnet8: they must be fewer",
        ),
        (["--rank", "1/4", "--entries", "0"], "entries (=0) must be 1 or more"),
        (
            ["--rank", "1/4", "--entries", "4", "--steering", "ideal"],
            "steering (=ideal) does not go with method low-rank",
        ),
        (
            ["--groups", "8", "--rank", "1/2", "--entries", "2"],
            "must be at most 4, the full rank with 8 groups and 2 positions",
        ),
        (["--entries", "4"], "entries (=4) does not go with method quantise"),
        (
            ["--method", "patdnn", "--entries", "4", "--pointwise"],
            "pointwise does not go with method patdnn",
        ),
        (
            ["--method", "channel", "--ratio", "0.5", "--pointwise"],
            "pointwise does not go with",
        ),
        (
            ["--rank", "1/4", "--checkpoint", "weights.pt", "--baseline-epochs", "3"],
            "--checkpoint brings the weights of the dense network, which is then not trained",
        ),
        (
            ["--method", "quantise", "--steering", "ideal"],
            "steering (=ideal) does not go with method quantise",
        ),
        (["--method", "pairs", "--entries", "9"], "entries (=9) prune no layer of resnet8"),
        (["--method", "channel", "--ratio", "1.5"], "ratio (=1.5) must be the share of channels to remove"),
        (
            ["--method", "quantise", "--decomposition", "svd"],
            "no layer of this plan gets factors or supports; omit --decomposition",
        ),
        (["--method", "magnitude"], "argument --method: invalid choice: 'magnitude'"),
        (["--plan", "p.json", "--method", "patdnn"], "omit --method, or edit p.json"),
        (["--plan", "p.json", "--entries", "4"], "omit --entries, or edit p.json"),
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


def test_supports_of_a_run_or_plan_are_mapped_and_drawn(runs, tmp_path, capsys):
    """A plan has the positions, so that neither cycles nor energy nor pictures need the weights."""
    for method in ("support", "sparse"):
        folder = tmp_path / method
        folder.mkdir()
        os.link(runs / method / "plan.json", folder / "plan.json")
        capsys.readouterr()
        assert main(["map", str(runs / method), "--array", "64x64", "--json"]) == 0
        wanted = json.loads(capsys.readouterr().out)["total"]
        plan = str(folder / "plan.json")
        assert main(["map", "resnet8", "--plan", plan, *MAPPED, "--array", "64x64", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["total"] == wanted
        assert main(["energy", "resnet8", "--plan", plan, *MAPPED]) == 0
        assert "nJ" in capsys.readouterr().out
        picture = tmp_path / f"{method}.svg"
        assert main(["draw", str(runs / method), *LAYER, "--out", str(picture)]) == 0
        title = {"support": "Shared support, SDK", "sparse": "Row-sparse low-rank, SDK"}[method]
        assert title in picture.read_text(encoding="utf-8")
        again = tmp_path / f"{method}-again.svg"
        assert main(["draw", "resnet8", "--plan", plan, *MAPPED, *LAYER, "--out", str(again)]) == 0
        assert again.read_bytes() == picture.read_bytes()
    assert main(["draw", str(runs / "sparse"), *LAYER, "--compare", "--out", str(picture)]) == 0
    assert picture.read_bytes() != again.read_bytes()


@pytest.mark.parametrize("command", ["map", "energy", "draw"])
def test_positions_that_are_not_chosen_yet_are_refused(command, tmp_path, capsys):
    where = ["--layer", "layer1.0.conv1", "--out", str(tmp_path / "picture.svg")] if command == "draw" else []
    assert main([command, "resnet20", "--groups", "4", "--rank", "1/8", "--entries", "4", *where]) == 2
    assert "chosen on data" in capsys.readouterr().err
    assert not (tmp_path / "picture.svg").exists()


def test_a_mapped_run_takes_no_plan_from_the_command_line(runs, tmp_path, capsys):
    assert main(["map", str(runs / "patdnn"), "--rank", "1/8"]) == 2
    assert "--rank does not go with the folder of a run, whose plan says it" in capsys.readouterr().err
    folder = tmp_path / "no-weights"
    folder.mkdir()
    os.link(runs / "patdnn" / "plan.json", folder / "plan.json")
    assert main(["map", str(folder)]) == 2
    assert "model.safetensors does not exist" in capsys.readouterr().err
