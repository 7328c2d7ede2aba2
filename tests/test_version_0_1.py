"""What version 0.1 wrote and printed is still read and still said."""

import json
import math
from pathlib import Path

import pytest

from rankfold import Plan
from rankfold.cli.main import main

DATA = Path(__file__).parent / "data" / "version-0.1"
PLANS = sorted(path.stem for path in (DATA / "plans").glob("*.json"))
RUNS = sorted(path.name for path in (DATA / "runs").iterdir())
PRINTED = sorted(path.stem for path in (DATA / "printed").glob("*.json"))
EVALUATED = [name for name in PRINTED if name.startswith("evaluate-")]
COUNTED = [name for name in PRINTED if not name.startswith("evaluate-")]
# Energies are sums of powers, which the mathematical libraries of two platforms round differently.
LAST_DIGITS = 1e-12


def printed(capsys, *arguments):
    """What a command prints that has to succeed."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def recorded(name):
    """The arguments of a command, and the JSON that version 0.1 printed for them."""
    content = json.loads((DATA / "printed" / f"{name}.json").read_text())
    arguments = content["arguments"]
    if "--rank" in arguments:
        # Version 0.1 made layers low-rank that need more cycles or numbers for it.
        arguments = [*arguments, "--force-low-rank"]
    return arguments, content["printed"]


def with_its_defaults(arguments):
    """The same command with the mapping, and for energies the cells, that version 0.1 took where none was
    named.
    """
    command, model = arguments[:2]
    said = any(option in arguments for option in ("--method", "--plan", "--cheapest"))
    if not said and not model.startswith("runs/"):
        arguments = [*arguments, "--method", "sdk"]
    if command == "energy":
        cell_bits = "2"
        if any(argument.startswith("sram") for argument in arguments):
            cell_bits = "1"
        arguments = [*arguments, "--cell-bits", cell_bits, "--coding", "offset", "--dac-bits", "1"]
    if "--cell-bits" in arguments:
        # It converted columns, and knew nothing else.
        arguments = [*arguments, "--converts", "columns"]
    return arguments


def differences(before, after, place):
    """Where two JSON contents differ, the order of keys included; keys may have been added."""
    if isinstance(before, dict) and isinstance(after, dict):
        kept = [key for key in after if key in before]
        if list(before) != kept:
            return [f"{place}: keys {list(before)} -> {list(after)}"]
        return [found for key in before for found in differences(before[key], after[key], f"{place}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [found for index, pair in pairs for found in differences(*pair, f"{place}[{index}]")]
    if isinstance(before, float) and isinstance(after, float):
        same = math.isclose(before, after, rel_tol=LAST_DIGITS)
    else:
        same = type(before) is type(after) and before == after
    return [] if same else [f"{place}: {before!r} -> {after!r}"]


def test_nothing_is_missing():
    """A folder that is empty or elsewhere would leave nothing to check."""
    assert len(PLANS) == 11
    assert len(RUNS) == 3
    assert len(COUNTED) == 25
    assert len(EVALUATED) == 3


@pytest.mark.parametrize("name", COUNTED)
def test_map_and_energy_say_the_same(name, capsys, monkeypatch):
    monkeypatch.chdir(DATA)
    arguments, before = recorded(name)
    after = json.loads(printed(capsys, *with_its_defaults(arguments)))
    # Chips are of arrays as they are built since, and energy without named cells is of other cells.
    before.pop("chip", None)
    before.pop("assumed", None)
    if arguments[0] == "map" and before["total"]["array_cycles"] is None:
        del before["energy"]
    assert differences(before, after, name) == []


@pytest.mark.parametrize("name", EVALUATED)
def test_runs_have_the_accuracy_that_they_had(name, capsys, monkeypatch):
    """Within one image: convolutions add in another order with other processors."""
    monkeypatch.chdir(DATA)
    arguments, before = recorded(name)
    after = json.loads(printed(capsys, *arguments))
    assert list(after) == [*before, "shift"]
    assert after["shift"] == 0
    assert after["same_data"] is True
    assert after["images"] == before["images"] == 364
    assert after["reported"] == before["reported"]
    assert abs(after["accuracy"] - before["accuracy"]) * 364 <= 1.5
    assert after["accuracy"] > 0.5


@pytest.mark.parametrize("name", PLANS)
def test_plans_are_read_and_written_as_they_were(name, tmp_path):
    source = DATA / "plans" / f"{name}.json"
    Plan.load(source).save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text()) == json.loads(source.read_text())


@pytest.mark.parametrize("name", RUNS)
def test_reports_show_the_numbers_of_runs(name, tmp_path, capsys, monkeypatch):
    result = json.loads((DATA / "runs" / name / "result.json").read_text())
    monkeypatch.chdir(DATA / "runs")
    table = printed(capsys, "report", name, "--out", tmp_path / "report.html")
    assert f"{result['accuracy']['final']:.2%}" in table
    assert f"{result['planned_cycles']:,}" in table
    assert f"{result['parameters_after']:,}" in table


def test_an_old_plan_is_followed(tmp_path, capsys, monkeypatch):
    """Another network of that shape takes every kind of layer that the plan names, and says so again."""
    monkeypatch.chdir(tmp_path)
    plan = DATA / "runs" / "mixed" / "plan.json"
    options = ["--data", "digits", "--epochs", "0", "--baseline-epochs", "1", "--device", "cpu"]
    printed(capsys, "compress", "resnet8", "--plan", plan, *options, "--out", "run")
    before, after = (json.loads(path.read_text())["layers"] for path in (plan, Path("run/plan.json")))
    assert after == before
