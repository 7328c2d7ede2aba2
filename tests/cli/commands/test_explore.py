"""`rankfold explore`: what it prints and writes, and what it refuses."""

import json

import pytest
import yaml

from common.spaces import SPACE, edited
from rankfold.cli.main import main


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(edited(vary={"cores/count": [4, 32]}, plans=[{"bits": 4}, {"bits": 8}])))
    return str(path)


def test_front_is_printed_and_written(capsys, space, tmp_path):
    out = tmp_path / "out"
    command = ["explore", "resnet8", "--space", space, "--out", str(out), "--workers", "1"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "4 points, of which 4 run; " in said.out and "cores/count" in said.out
    assert "no point gives way to one whose ADCs, weights or inputs have fewer bits" in said.out
    assert sorted(path.name for path in out.iterdir()) == [
        "exploration.json",
        "front.csv",
        "front.html",
        "points.csv",
        "points.jsonl",
    ]
    assert main([*command, "--json"]) == 0
    again = capsys.readouterr()
    content = json.loads(again.out)
    assert "4 of 4 points are done already" in again.err
    # Bits of weights are no worse than others: both plans stay.
    assert {point["is"]["plan"] for point in content["front"]} == {"dense, 4 bits", "dense, 8 bits"}
    assert content["objectives"] == ["energy", "latency", "area", "loss"] and content["run"] == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--front", "power"], "objective (=power) must be one of"),
        (["--sampler", "tpe"], "--sampler needs --trials N"),
        (["--trials", "0"], "trials (=0) must be 1 or more"),
        (["--workers", "0"], "workers (=0) must be 1 or more"),
        (["--measure", "10"], "--measure is of trained networks; give --data, too"),
        (["--device", "cpu"], "--device is of trained networks; give --data, too"),
        (["--threads", "1"], "--threads is of trained networks; give --data, too"),
        (["--image-size", "8x8"], "--image-size is of trained networks; give --data, too"),
        (["--workers", "2", "--ray", "auto"], "not allowed with argument"),
        (["--space", "none.yaml"], "cannot read space none.yaml: No such file or directory"),
        (["--data", "digits", "--input", "3x8x8"], "--input is for networks without data"),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(capsys, space, tmp_path, options, sentence):
    out = tmp_path / "out"
    with_exit = ["explore", "resnet8", "--space", space, "--out", str(out), *options]
    try:
        code = main(with_exit)
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert code == 2 and sentence in said.err and said.err.count("\n") == 1
    assert not out.exists()


def test_an_unknown_network_and_a_wrong_space_leave_nothing(capsys, space, tmp_path):
    out = tmp_path / "out"
    assert main(["explore", "resnet9", "--space", space, "--out", str(out)]) == 2
    assert "did you mean resnet" in capsys.readouterr().err
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**SPACE, "vary": {"buffer/sise": [1]}}))
    assert main(["explore", "resnet8", "--space", str(wrong), "--out", str(out)]) == 2
    assert "vary/buffer/sise: no field of a chip is there" in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["explore", "resnet8", "--space", space, "--out", str(tmp_path), "--workers", "1"]) == 2
    assert "is not empty and holds no exploration" in capsys.readouterr().err
