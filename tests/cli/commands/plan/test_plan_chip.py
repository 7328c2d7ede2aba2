"""`rankfold plan --chip`: plans whose budgets hold as `rankfold chip` counts them."""

from __future__ import annotations

import json

import pytest

from rankfold.cli.main import main

MODEL = "common.small_network:net"


def chip_figures(capsys, *arguments: str) -> dict[str, float]:
    assert main(["chip", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_budgets_of_mappings_alone_hold_on_the_chip(capsys, tmp_path):
    out = str(tmp_path / "plan.json")
    asked = ["plan", "resnet8", "--mappings-only", "--chip", "rram-22nm", "--objective", "energy"]
    assert main([*asked, "--max-latency", "9us", "--out", out, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    found = chip_figures(capsys, "resnet8", "--plan", out, "--chip", "rram-22nm")
    assert found["latency_us"] <= 9
    assert found["latency_us"] == planned["chip"]["planned"]["latency_us"]
    assert found["energy_pj"] == planned["chip"]["planned"]["energy_pj"] >= planned["bound"]
    # Another objective chooses copies anew.
    other = chip_figures(capsys, "resnet8", "--plan", out, "--chip", "rram-22nm", "--objective", "interval")
    assert other["interval_us"] <= found["interval_us"]


def test_energy_times_latency_is_made_small_with_a_bound(capsys, tmp_path, weights):
    """On shapes alone and from data; the bound is said in the same unit as the figure."""
    out = str(tmp_path / "plan.json")
    chip = ["--chip", "rram-22nm", "--objective", "energy-delay", "--out", out]
    assert main(["plan", "resnet8", "--mappings-only", *chip]) == 0
    assert "uJ us (gap" in capsys.readouterr().out
    data = ["--data", "digits", "--checkpoint", str(weights), "--threads", "1", "--images", "16"]
    assert main(["plan", MODEL, *data, *chip, "--kinds", "low-rank", "--max-loss", "0.5", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    figures = planned["chip"]["planned"]
    product = figures["energy_pj"] * figures["latency_us"]
    assert planned["goal"] == "energy-delay" and planned["predicted_loss"] <= 0.5
    assert 0 < planned["bound"] <= product == pytest.approx(planned["value"])
    # Of one array size alone nothing is delayed.
    assert main(["plan", "resnet8", "--mappings-only", *chip[2:]]) == 2
    assert "objective (=energy-delay): the quantity must be one of" in capsys.readouterr().err


def test_a_plan_from_data_keeps_its_budgets_on_the_chip(capsys, tmp_path, weights):
    out = str(tmp_path / "plan.json")
    options = ["--chip", "rram-22nm", "--max-energy", "80%", "--images", "16", "--kinds", "low-rank"]
    data = ["--data", "digits", "--checkpoint", str(weights), "--threads", "1"]
    assert main(["plan", MODEL, *data, *options, "--out", out, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    budget = planned["chip"]["budgets"]["energy"]
    assert budget == pytest.approx(0.8 * planned["chip"]["dense"]["energy_pj"])
    assert planned["bound"] <= planned["predicted_loss"]
    assert "is not learnt" in planned["after_training"]["not_known"]  # as without a chip
    found = chip_figures(capsys, MODEL, "--input", "1x8x8", "--plan", out, "--chip", "rram-22nm")
    assert found["energy_pj"] == planned["chip"]["planned"]["energy_pj"] <= budget


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--chip", "isac"], "chip (=isac) must be one of"),
        (["--chip", "isaac", "--array", "64x64"], "--array does not go with --chip"),
        (["--chip", "isaac", "--mux", "3"], "--mux does not go with --chip"),
        (["--chip", "isaac", "--adc-bits", "3"], "--adc-bits does not go with --chip"),
        (["--chip", "isaac", "--cell-bits", "1"], "--cell-bits does not go with --chip"),
        (["--chip", "isaac", "--out", "."], ". is a folder; give a file for the plan"),
        (["--chip", "isaac", "--max-arrays", "9"], "--max-arrays does not go with --chip"),
        (["--chip", "isaac", "--budget", "area=3mm2"], "area is no budget on a chip"),
        (["--chip", "isaac", "--objective", "conversions"], "conversions is no objective on a chip"),
        (["--chip", "isaac", "--max-latency", "1ns"], "no plan of these layers has latency of at most"),
        (["--chip", "isaac", "--max-latency", "9"], "budget of latency (=9) must be a positive amount"),
    ],
)
def test_what_cannot_be_is_refused(capsys, tmp_path, options, words):
    out = tmp_path / "plan.json"
    assert main(["plan", "resnet8", "--mappings-only", "--out", str(out), *options]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_figures_far_from_known_chips_are_warned_of(capsys, tmp_path):
    assert main(["chip", "--show", "rram-22nm"]) == 0
    text = capsys.readouterr().out.replace(
        "rate: {value: 256, unit: bit/ns", "rate: {value: 2.56e+9, unit: bit/ns"
    )
    chip = tmp_path / "chip.yaml"
    chip.write_text(text)
    asked = ["plan", "resnet8", "--mappings-only", "--chip", str(chip), "--out", str(tmp_path / "plan.json")]
    assert main(asked) == 0
    assert "warning: buffer/rate is 2.56e+09 bit/ns" in capsys.readouterr().out
