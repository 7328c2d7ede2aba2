"""`rankfold plan --uniform`: a plan file without data, for the hardware that is named."""

from __future__ import annotations

import json

import pytest

from rankfold.cli.main import main
from rankfold.cost.energy import choose_mappings
from rankfold.machine import load_hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.workload import zoo_network


def written(tmp_path, *options):
    out = tmp_path / "plan.json"
    assert main(["plan", "resnet20", "--uniform", *options, "--out", str(out)]) == 0
    return Plan.load(out)


def test_the_plan_is_that_of_the_setting(tmp_path, capsys):
    network = zoo_network("resnet20")
    found = written(tmp_path, "--groups", "4", "--rank", "1/8", "--bits", "4")
    wanted = uniform_plan(network, ArraySpec(64, 64), LowRank(groups=4, rank="1/8"), bits=4)
    assert found == choose_mappings(network, wanted)
    assert "hardware: default" in capsys.readouterr().out
    named = written(
        tmp_path, "--rank", "1/4", "--mapping", "im2col", "--force-low-rank", "--exclude", "layer3.*"
    )
    assert {layer.mapping for layer in named.layers} == {"im2col"}
    assert named.layer("layer3.1.conv1").reason == "excluded by layer3.*"


def test_it_keeps_the_hardware_that_later_commands_count(tmp_path, capsys):
    options = [
        "--hardware",
        "sram-22nm",
        "--mux",
        "4",
        "--rank",
        "1/8",
        "--weight-bits",
        "3",
        "--input-bits",
        "5",
    ]
    plan = written(tmp_path, *options)
    assert plan.machine == load_hardware("sram-22nm").altered(mux=4)
    assert (plan.layers[5].weight_bits, plan.layers[5].input_bits) == (3, 5)
    capsys.readouterr()
    for command in (["map"], ["energy"]):
        assert main([*command, "resnet20", "--plan", str(tmp_path / "plan.json"), "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["hardware"]["name"] == "sram-22nm with mux 4"
    assert content["technology"] == "sram-22nm"
    # A single option goes before the figure of the plan's hardware.
    given = ["--plan", str(tmp_path / "plan.json"), "--adc-bits", "7"]
    assert main(["energy", "resnet20", *given, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["adc"]["bits"] == content["hardware"]["adc"]["bits"] == 7
    assert content["hardware"]["name"] == "sram-22nm with mux 4, adc_bits 7"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--uniform --max-cycles 40%", "without data; omit --max-cycles"),
        ("--uniform --rank 1/8 --data digits", "without data; omit --data"),
        ("--uniform --method channel --ratio 0.5", "question to the weights"),
        ("--uniform --rank 1/8 --bits float --input-bits 4", "--input-bits needs --weight-bits too"),
        ("--uniform --rank 1/8 --weight-bits 9", "bits (=9) must be"),
        (
            "--uniform --rank 1/8 --rows-driven 65",
            "rows_driven (=65) must be a whole number",
        ),
        ("--uniform --rank 1/8 --hardware sram-22nm --cell-bits 2", "cells of sram-22nm store at most 1"),
        (
            "--uniform --rank 1/8 --hardware nonsense",
            "hardware (=nonsense) must be one of",
        ),
        ("--rank 1/8 --data digits", "--rank goes with --uniform"),
        ("--exclude x --data digits", "--include and --exclude goes with --uniform"),
        ("--max-cycles 40%", "--data is missing"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(options, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["plan", "resnet20", *options.split()])
    except SystemExit as left:
        code = left.code
    (error,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert complaint in error
    assert not list(tmp_path.iterdir())
