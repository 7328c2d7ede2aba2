"""What all commands have in common: one sentence for every wrong input, and files that nobody writes over."""

import gc
import json
import shutil
from pathlib import Path

import pytest

from common.command_line import SMALL, rankfold, refuse
from rankfold.cli.arguments import process
from rankfold.cli.commands import train
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.version import __version__

VERSION_0_1 = Path(__file__).parents[1] / "data" / "version-0.1"
LONG = "x" * 5000


def test_what_a_command_freezes_is_searched_for_garbage_after_it(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "gc", gc)  # other tests do without
    gc.unfreeze()
    before, frozen = gc.get_freeze_count(), []

    def run(options):
        process.prepare_process()
        frozen.append(gc.get_freeze_count())
        raise InputError("no data")

    monkeypatch.setattr(train, "run", run)
    assert main(["train", "resnet8", "--data", "digits", "--out", str(tmp_path / "out")]) == 2
    assert frozen[0] > before
    assert gc.get_freeze_count() == before


def test_the_bare_command_prints_the_help(capsys):
    assert main([]) == 0
    assert "compress" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["map"], ["compress", "resnet20"]])
def test_versions_are_told_before_and_behind_a_command(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--version"])
    out, told = capsys.readouterr()
    assert (ended.value.code, told) == (0, "")
    assert out.startswith(f"rankfold {__version__}\n") and "torch" in out


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["mpa", "resnet20"], "map"),
        (["compres", "resnet20"], "compress"),
        (["map", "resnet21"], "resnet20"),
        (["map", "mobilnetv2"], "mobilenetv2"),
        (["compress", "resnet21", "--data", "digits", "--out", "x"], "resnet20"),
        (["map", "resnet20", "--aray", "64x64"], "--array"),
        (["map", "resnet20", "--mapping", "vwsdk"], "vw-sdk"),
        (["map", "resnet20", "--rank", "2", "--exclude", "layer1.0.conv11"], "layer1.0.conv1"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_right_one(arguments, meant, capsys):
    assert f"did you mean {meant}?" in refuse(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["map", "resnet21"], "unknown model resnet21; known are resnet8"),
        (["map", "resnet20", "--array", "64by64"], "array (=64by64) must be rows x columns, such as 64x64"),
        (["map", "resnet20", "--array", "0x64"], "array rows (=0) must be a whole number from 1"),
        (
            ["map", "resnet20", "--groups", "3", "--rank", "1/8"],
            "must divide its 16 input channels; use one of 1, 2, 4",
        ),
        (["map", "resnet20", "--groups", "4"], "groups (=4) needs a rank too"),
        (["map", "resnet20", "--rank", "17"], "rank (=17) must lie between 1 and 16, the full rank"),
        (
            ["map", "resnet20", "--rank", "many"],
            "rank (=many) must be a whole number such as 4 or a fraction",
        ),
        (["map", "resnet20", "--rank", "1/7"], "rank 1/7 of 16 output channels is not a whole number"),
        (["map", "resnet20", "--input", "32x32"], "input (=32x32) must be channels x height x width"),
        (["map", "resnet20", "--mapping", "magic"], "invalid choice: 'magic'"),
        (["map", "resnet20", "--cell-bits", "2"], "needs the bits of weights and inputs"),
        (["map", "resnet20", "--cell-bits", "0"], "array cell_bits (=0) must be a whole number from 1 to 32"),
        (
            ["map", "resnet20", "--array", "64x4", "--bits", "8", "--cell-bits", "1"],
            "do not hold one weight of 8 bits",
        ),
        (["map", "resnet20", "--arrays", "0"], "arrays (=0) must be a whole number from 1"),
        (["map", "resnet20", "--padding", "1"], "invalid choice: '1'"),
        (["map", "missing.csv"], "cannot read missing.csv: No such file or directory"),
        (["map", "json:loads"], "the factory of model json:loads failed"),
        (["map", "collections:OrderedDict"], "returned a OrderedDict; it must return an nn.Module"),
        (["evaluate", "nowhere", "--data", "digits"], "run folder nowhere does not exist"),
        (["compress", *SMALL, "--out", "x", "--bits", "9"], "bits (=9) must be a whole number from 1 to 8"),
        (["compress", *SMALL, "--out", "x", "--epochs", "-1"], "epochs (=-1) must be 0 or more"),
        (
            ["compress", *SMALL, "--out", "x", "--batch", "2000"],
            "--batch (=2000) is larger than the 1433 training",
        ),
        (["compress", *SMALL, "--out", "x", "--checkpoint", "none.pt"], "checkpoint none.pt does not exist"),
        (["compress", *SMALL, "--out", "x", "--plan", "none.json"], "cannot read none.json"),
        (
            ["compress", *SMALL, "--out", "x", "--plan", "p.json", "--rank", "2"],
            "--plan already says what every layer becomes",
        ),
        (["compress", *SMALL, "--out", "x", "--device", "gpu7"], "device `gpu7` is not available here"),
        (
            ["compress", "resnet8", "--data", "./no-such-folder", "--out", "x"],
            "data folder ./no-such-folder does not exist",
        ),
        (["compress", "vgg9", "--data", "digits", "--out", "x"], "fails on an image of 1x8x8"),
        (["compress"], "the following arguments are required"),
    ],
)
def test_wrong_input_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refuse(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback():
    done = rankfold("--debug", "map", "nothing")
    assert "Traceback" in done.stderr
    assert "Traceback" not in rankfold("map", "nothing").stderr


def test_no_command_writes_over_the_files_of_a_run(finished, weights, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "report.html").unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {"run.json", "plan.json", "model.safetensors", "history.csv", "result.json"} <= set(before)
    for name in (*before, "checkpoint.pt"):
        assert "is a file of the run" in refuse(capsys, "report", run, "--out", run / name)
        assert "is a file of the run" in refuse(capsys, "export", run, "--to", "csv", "--out", run / name)
        budget = ("--data", "digits", "--max-cycles", "50%")
        assert "is a file of the run" in refuse(capsys, "plan", "resnet20", *budget, "--out", run / name)
    log = tmp_path / "new.log"
    for given in (
        ("--checkpoint", weights, "--out", weights),
        ("--search", "nsga2", "--study", log, "--out", log),
    ):
        assert "is read by the same command" in refuse(capsys, "plan", "resnet20", *budget, *given)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    assert "is no HTML page" in refuse(capsys, "report", run, "--out", table)
    assert table.read_text() == "a,b\n"
    assert main(["report", str(run), "--out", str(run / "report.html")]) == 0


def test_a_message_is_one_line_whatever_it_quotes(tmp_path, capsys, monkeypatch):
    """A name in a file may hold line breaks, letters that move the cursor, and thousands of others."""
    monkeypatch.chdir(tmp_path)
    spoilt = "a\nrankfold: all is well\x1b[2K" + "x" * 5000
    Path("table.yaml").write_text(json.dumps([{"name": spoilt, "kernel": 3}]))
    plan = json.loads((VERSION_0_1 / "plans" / "dense.json").read_text())
    plan["layers"][0]["kind"] = spoilt
    Path("plan.json").write_text(json.dumps(plan))
    Path("factory.py").write_text(f"def make():\n    raise ValueError({spoilt!r})\n")
    for arguments in (("resnet8", "--plan", "plan.json"), ("table.yaml",), ("factory:make",), (spoilt,)):
        assert main(["map", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "\x1b" not in error
        assert error.startswith("rankfold: ") and len(error) < 1200


@pytest.mark.parametrize(
    "arguments",
    [
        ("map", LONG),
        ("energy", "resnet8", "--technology", f"{LONG}.yaml"),
        ("evaluate", LONG, "--data", "digits"),
        ("report", str(VERSION_0_1 / "runs" / "mixed"), "--out", f"{LONG}.html"),
        ("export", str(VERSION_0_1 / "runs" / "mixed"), "--to", "csv", "--out", LONG),
        ("train", "resnet8", "--data", "digits", "--epochs", "0", "--out", LONG),
        ("reproduce", "smoke", "--time-limit", "0", "--out", LONG),
    ],
)
def test_paths_that_no_file_can_have_are_refused(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "File name too long" in refuse(capsys, *arguments)
    assert not list(tmp_path.iterdir())
