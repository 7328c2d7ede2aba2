"""The command line as users run it: outputs, exit codes, and one sentence for every wrong input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rankfold.cli.main import main
from rankfold.models.zoo import build

# A run on digits that takes seconds: two epochs of fine-tuning from given weights.
SMALL = ["resnet8", "--data", "digits", "--array", "32x32", "--batch", "256", "--epochs", "2"]


def rankfold(*arguments):
    """Run `rankfold` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rankfold.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def refuse(capsys, *arguments):
    """Run in this process; expect exit code 2 and one sentence; return it."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith("rankfold: ")
    return error


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a ResNet-8 for digits."""
    path = tmp_path_factory.mktemp("weights") / "resnet8.pt"
    torch.save(build("resnet8", 10, 1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert (
        main(
            [
                "compress",
                *SMALL,
                "--groups",
                "4",
                "--rank",
                "1/8",
                "--checkpoint",
                str(weights),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    return out


def test_map_json_is_stable(capsys):
    assert main(["map", "resnet20", "--array", "64x64", "--groups", "4", "--rank", "1/8", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"] == "resnet20"
    assert content["array"] == [64, 64]
    assert len(content["layers"]) == 19
    first, second = content["layers"][:2]
    promised = (
        "name in_channels out_channels kernel stride padding input macs cycles window tiles utilisation"
    )
    assert set(promised.split()) <= set(first)
    assert first["kernel"] == [3, 3]
    assert first["input"] == [32, 32]
    assert first["macs"] == 32 * 32 * 16 * 27
    assert {"im2col", "sdk", "vw-sdk", "low-rank-im2col", "low-rank-sdk"} <= set(first["cycles"])
    assert first["cycles"]["low-rank-sdk"] == first["cycles"]["sdk"]
    assert second["low_rank"]["rank"] == 2
    for key, total in content["total"]["cycles"].items():
        assert total == sum(layer["cycles"][key] for layer in content["layers"])
    assert content["total"]["cycles"]["im2col"] == 29824
    assert content["total"]["parameters"] == sum(layer["parameters"] for layer in content["layers"])


def test_map_shows_every_layer_and_compares(capsys):
    assert main(["map", "resnet20", "--method", "vw-sdk"]) == 0
    table = capsys.readouterr().out
    assert table.count("layer") > 18
    assert "14,592" in table
    assert main(["map", "wrn16-4", "--compare", "--array", "128x128"]) == 0
    assert "layer1.0.shortcut" in capsys.readouterr().out
    assert main(["map", "resnet8", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "name,in_channels,out_channels,kernel,input,stride,padding,dilation,groups,macs,im2col,sdk"
    )
    assert len(lines) == 8


def test_map_json_says_where_every_cycle_is(capsys):
    """The regions of the chosen mapping add up to its cycles; every method is a key; the bound is below all
    of them.
    """
    assert main(["map", "resnet18", "--array", "512x512", "--method", "best", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["total"]["cycles"]) == {"im2col", "sdk", "vw-sdk", "tetris-sdk", "best"}
    for layer in content["layers"]:
        assert (
            sum(region["cycles"] for region in layer["regions"])
            == layer["cycles"]["best"]
            >= layer["lower_bound"]
        )
        assert layer["array_cycles"] is None
    assert max(len(layer["regions"]) for layer in content["layers"]) > 1
    assert content["total"]["lower_bound"] == sum(layer["lower_bound"] for layer in content["layers"])


def test_map_counts_as_tables_without_padding_do(capsys, tmp_path):
    """The first layer of VGG-13 in Rhe et al. (2022): a 224x224 plane without padding, 512x512 array."""
    table = tmp_path / "vgg13.csv"
    table.write_text("name,in_channels,out_channels,kernel,input,padding\nconv1,3,64,3,224,1\n")
    found = {}
    for arguments in ([], ["--padding", "0"]):
        assert main(["map", str(table), "--array", "512x512", "--json", *arguments]) == 0
        found[len(arguments)] = json.loads(capsys.readouterr().out)["total"]["cycles"]["im2col"]
    assert found == {0: 224 * 224, 2: 49284}


def test_map_counts_real_array_cycles(capsys):
    """By hand: a 4-bit weight in 1-bit cells takes 4 columns of 64, less the reference; 4-bit inputs, 4
    cycles each.
    """
    precision = ["--bits", "4", "--cell-bits", "1", "--dac-bits", "1"]
    assert main(["map", "resnet20", "--method", "im2col", *precision, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    layer = next(layer for layer in content["layers"] if layer["name"] == "layer3.1.conv1")
    assert layer["cycles"]["im2col"] == 64 * 9
    assert (
        layer["array_cycles"] == 64 * 9 * 5 * 4
    )  # 64 channels in 15 weights a row of columns: 5 column tiles
    assert content["total"]["array_cycles"] == sum(layer["array_cycles"] for layer in content["layers"])
    assert main(["map", "resnet20", *precision]) == 0
    assert "array cycles with 1-bit cells, offset coding and 1-bit DACs" in capsys.readouterr().out


def test_map_runs_a_chip(capsys):
    arguments = ["map", "resnet20", "--array", "128x128", "--method", "im2col"]
    found = {}
    for arrays in ("1", "50", "500"):
        assert main([*arguments, "--arrays", arrays, "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        found[content["chip"]["case"]] = content["chip"]
        assert (
            content["chip"]["arrays_needed_at_least"]
            <= content["chip"]["arrays_needed"]
            <= content["chip"]["tiles"]
        )
    assert set(found) == {"rewrite", "shared", "copies"}
    assert found["rewrite"]["rewriting_latency"] == content["total"]["planned_cycles"]
    assert found["copies"]["interval"] < found["shared"]["interval"]
    for arrays, words in (("1", "too small"), ("50", "take turns"), ("500", "spare arrays hold copies")):
        assert main([*arguments, "--arrays", arrays]) == 0
        assert words in capsys.readouterr().out


def test_map_reads_tables_and_factories(capsys, tmp_path, monkeypatch):
    table = tmp_path / "net.csv"
    table.write_text(
        "name,in_channels,out_channels,kernel,input,padding\na,3,16,3,34,0\nb,16,16,3x3,34x34,1x2\n"
    )
    assert main(["map", str(table), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["padding"] for layer in layers] == [[0, 0, 0, 0], [1, 1, 2, 2]]
    (tmp_path / "net.yaml").write_text(
        "- {name: a, in_channels: 3, out_channels: 16, kernel: [3, 5], input: 34}\n"
    )
    assert main(["map", str(tmp_path / "net.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["kernel"] == [3, 5]
    factory = "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    (tmp_path / "factory_of_net.py").write_text(factory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["map", "factory_of_net:make", "--input", "1x8x9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["input"] == [8, 9]


def test_map_does_not_import_torch():
    code = "import sys; from rankfold.cli.main import main; main(['map', 'resnet20', '--rank', '1/8'])"
    code += "; import rankfold; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


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
        (["map", "resnet20", "--method", "magic"], "invalid choice: 'magic'"),
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
        (["compress", *SMALL, "--out", "x", "--bits", "9"], "bits (=9) must lie between 1 and 8"),
        (["compress", *SMALL, "--out", "x", "--epochs", "-1"], "epochs (=-1) must be 0 or more"),
        (
            ["compress", *SMALL, "--out", "x", "--batch", "2000"],
            "batch size (=2000) is larger than the 1433 training",
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
    assert result["accuracy"]["final"] > 0.1
    assert len((finished / "history.csv").read_text().splitlines()) == 3
    plan = json.loads((finished / "plan.json").read_text())
    low_rank = [layer for layer in plan["layers"] if layer["kind"] == "low-rank"]
    assert len(low_rank) == 6
    assert all(layer["input_signed"] is False for layer in low_rank)
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


def test_evaluate_gives_the_same_accuracy(finished, capsys):
    assert main(["evaluate", str(finished), "--data", "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["accuracy"]
        == found["reported"]
        == json.loads((finished / "result.json").read_text())["accuracy"]["final"]
    )
    assert main(["evaluate", str(finished), "--data", "digits"]) == 0
    assert f"{found['accuracy']:.2%}" in capsys.readouterr().out


def test_demo_trains_a_baseline_and_compares_three_networks(tmp_path, capsys):
    """The whole path from fresh weights; asked again, it only prints."""
    command = ["demo", "--epochs", "1", "--out", str(tmp_path / "demo")]
    assert main(command) == 0
    first = capsys.readouterr().out
    for name in ("dense", "plain low-rank", "group low-rank", str(tmp_path / "demo" / "report.html")):
        assert name in first
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")}
    assert len(written) == 4
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")} == written


def test_compress_trains_the_baseline_it_lacks(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["compress", *SMALL, "--baseline-epochs", "1", "--rank", "1/4", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["baseline"] == "trained for 1 epochs"
    assert (out / "baseline.safetensors").is_file()
    assert not list(out.glob("*checkpoint*"))


def test_report_compares_runs_and_draws_them(finished, tmp_path, capsys):
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    assert main(["report", str(finished), "--out", str(page), "--picture", str(picture)]) == 0
    accuracy = json.loads((finished / "result.json").read_text())["accuracy"]["final"]
    assert f"{accuracy:.2%}" in capsys.readouterr().out
    assert finished.name in page.read_text(encoding="utf-8")
    root = ElementTree.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert f"run, {accuracy:.1%}".replace("%", " %") in "".join(root.itertext())
    assert "must be an .svg file" in refuse(
        capsys, "report", finished, "--out", page, "--picture", tmp_path / "picture.gif"
    )
    assert "cannot read" in refuse(capsys, "report", tmp_path / "none", "--out", page)


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


@pytest.mark.parametrize(
    "content", ['{"_type": "mine", "values": [1, 2]}', "import os\n\nprint(os.name)\n", "one line\n"]
)
def test_a_search_refuses_a_file_that_is_no_study_before_any_work(tmp_path, capsys, content):
    file = tmp_path / "file"
    file.write_text(content)
    command = (
        "plan",
        "resnet8",
        "--data",
        tmp_path / "none",
        "--max-cycles",
        "50%",
        "--search",
        "nsga2",
        "--study",
        file,
    )
    assert "is not a study" in refuse(capsys, *command)
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]


def test_plan_can_be_edited_and_used_again(finished, weights, tmp_path, capsys):
    plan = json.loads((finished / "plan.json").read_text())
    plan["layers"][1] |= {"groups": 2, "rank": 3}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    out = tmp_path / "out"
    assert (
        main(
            [
                "compress",
                *SMALL,
                "--checkpoint",
                str(weights),
                "--plan",
                str(tmp_path / "plan.json"),
                "--out",
                str(out),
            ]
        )
        == 0
    )
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
    assert "already holds this run; add --resume" in refuse(capsys, *again, "--rank", "1/8")
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


def test_debug_shows_the_traceback():
    done = rankfold("--debug", "map", "nothing")
    assert "Traceback" in done.stderr
    assert "Traceback" not in rankfold("map", "nothing").stderr


@pytest.fixture(scope="module")
def uninterrupted(weights, tmp_path_factory):
    """The arguments of a longer run, and its folder."""
    arguments = ["compress", *SMALL[:-1], "8", "--groups", "4", "--rank", "1/8", "--checkpoint", weights]
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert rankfold(*arguments, "--out", out).returncode == 0
    return arguments, out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_a_stopped_run_resumes_to_the_same_numbers(uninterrupted, tmp_path, how):
    """Stopped somewhere after its first epoch and resumed, a run ends with the same weights, bit for bit."""
    common, whole = uninterrupted
    parts = tmp_path / "parts"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rankfold.cli.main", *map(str, common), "--out", str(parts)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        deadline = time.monotonic() + 120
        while not (parts / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(how)
        _, error = running.communicate(timeout=60)
    assert running.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in error
    assert not (parts / "result.json").exists()
    done = rankfold(*common, "--out", parts, "--resume")
    assert done.returncode == 0, done.stderr
    assert "fine-tuning 1/8" not in done.stderr
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, parts)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert [path for path in parts.iterdir() if path.name.endswith(".tmp")] == []


def test_a_damaged_or_foreign_checkpoint_is_refused(weights, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["compress", *SMALL, "--checkpoint", weights, "--out", out]
    assert main([str(argument) for argument in command]) == 0
    for name in ("result.json", "report.html"):
        (out / name).unlink()
    (out / "checkpoint.pt").write_bytes(b"PK\x03\x04 half a file")
    assert "checkpoint.pt is damaged or not one of ours" in refuse(capsys, *command, "--resume")
    torch.save({"run": "another", "model": {}}, out / "checkpoint.pt")
    assert "belongs to another run" in refuse(capsys, *command, "--resume")


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.geteuid() != 0, reason="mounting a tiny disk needs root on Linux"
)
def test_a_full_disk_is_one_sentence(weights, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let us mount a tiny disk")
    try:
        done = rankfold("compress", *SMALL, "--checkpoint", weights, "--out", disk / "run")
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert not any(path.name.endswith(".tmp") for path in (disk / "run").iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
