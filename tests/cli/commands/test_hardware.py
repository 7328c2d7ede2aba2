"""`rankfold hardware`: what is shown can be copied, edited and given back."""

from __future__ import annotations

import json

import pytest

from common.command_line import SMALL, no_pages
from rankfold.cli.main import main
from rankfold.cost.energy import completed
from rankfold.machine import hardware_names, hardware_to_json, load_hardware
from rankfold.plan import Plan
from rankfold.runs.result import Result

pytestmark = pytest.mark.usefixtures("few_digits")


def test_all_descriptions_are_listed(capsys):
    assert main(["hardware"]) == 0
    listed = capsys.readouterr().out
    assert main(["hardware", "--list"]) == 0
    assert capsys.readouterr().out == listed
    for name in hardware_names():
        assert f"\n{name} " in listed


def test_what_is_shown_is_a_description(capsys, tmp_path):
    for name in hardware_names():
        assert main(["hardware", "--show", name]) == 0
        path = tmp_path / f"{name}.yaml"
        path.write_text(capsys.readouterr().out)
        assert load_hardware(path) == load_hardware(name)
        # A file of one's own is shown, and so checked, too.
        assert main(["hardware", "--show", str(path)]) == 0
        assert capsys.readouterr().out == path.read_text()


def test_a_wrong_file_is_refused(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("rows: 3")
    assert main(["hardware", "--show", str(path)]) == 2
    assert "is no description of hardware" in capsys.readouterr().err


MINE = """
_type: rankfold.hardware
_version: 1
name: mine
array: {rows: 32, columns: 48, rows_driven: 16}
cells: {bits: {value: 2, unit: bit, source: chosen}, coding: differential}
dac: {bits: 2}
adc: {bits: 6, mux: 4, range: full}
technology: rram-32nm
noise: {program_noise: 0.05}
"""
QUICK = ["--data", "digits", "--images", "4", "--layer-images", "2", "--repeats", "1", "--json"]
WHOLE = [*QUICK, "--layer-images", "0"]  # the network alone, and no layer by itself


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("hardware") / "mine.yaml"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def on_mine(tmp_path_factory, weights, mine):
    """A run that was compressed for this hardware, with one option before a figure of it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = ["compress", *SMALL, "--hardware", str(mine), "--mux", "8", "--checkpoint", str(weights)]
    command.remove("--array")
    command.remove("32x32")
    with no_pages():
        assert main([*command, "--weight-bits", "3", "--input-bits", "5", "--out", str(out)]) == 0
    return out


def said(capsys, *command):
    capsys.readouterr()
    assert main([str(word) for word in command]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_simulation_is_on_the_described_arrays(finished, mine, capsys):
    described = said(capsys, "simulate", finished, *QUICK, "--hardware", mine)
    options = "--array 32x48 --rows-driven 16 --cell-bits 2 --coding differential --dac-bits 2 --adc-bits 6"
    options += " --adc-range full"
    apart = said(capsys, "simulate", finished, *QUICK, *options.split(), "--program-noise", 0.05)
    assert described["accuracies"] == apart["accuracies"]
    assert described["layers"] == apart["layers"]
    assert described["chosen"] == apart["chosen"]
    assert described["array"] == (
        "32x48, 2-bit cells, differential coding, differences converted, 2-bit DACs, 16 rows at once"
    )
    assert described["hardware"]["name"] == "mine"
    # A single option goes before the figure.
    coarse = said(capsys, "simulate", finished, *QUICK, "--hardware", mine, "--adc-bits", 2)
    assert coarse["hardware"]["name"] == "mine with adc_bits 2"
    assert coarse["chosen"]["adc_bits"] == 2
    assert coarse["layers"] != described["layers"]
    # A detail of what the description has alone.
    ranged = said(capsys, "simulate", finished, *WHOLE, "--hardware", mine, "--adc-range", 2)
    assert ranged["chosen"] == {**described["chosen"], "adc_range": 2.0}


def test_a_run_keeps_its_hardware(on_mine, mine, capsys):
    wanted = completed(load_hardware(mine).altered(mux=8))
    result, plan = Result.load(on_mine / "result.json"), Plan.load(on_mine / "plan.json")
    assert result.hardware == plan.machine == wanted
    assert {(layer.weight_bits, layer.input_bits) for layer in plan.layers} == {(3, 5), (8, 8)}
    assert "rram-32nm, 6-bit flash ADC, 8 columns an ADC" in result.energy.conditions
    # Later commands count and simulate it without being told.
    priced = said(capsys, "energy", on_mine, "--json")
    assert priced["total"]["energy_pj"] == pytest.approx(result.energy.energy)
    assert priced["hardware"] == hardware_to_json(wanted)
    simulated = said(capsys, "simulate", on_mine, *WHOLE)
    assert simulated["hardware"] == hardware_to_json(wanted)
    assert simulated["chosen"]["program_noise"] == 0.05
    ranged = said(capsys, "simulate", on_mine, *WHOLE, "--adc-range", 2)
    assert ranged["chosen"] == {**simulated["chosen"], "adc_range": 2.0}
    other = said(capsys, "map", on_mine, "--hardware", "rram-22nm", "--json")
    assert other["array"] == [64, 64]


def test_points_of_robustness_are_on_the_hardware(on_mine, tmp_path):
    command = ["robustness", str(on_mine), "--data", "digits", "--images", "20", "--repeats", "1"]
    assert main([*command, "--vary", "adc-bits=3", "--out", str(tmp_path / "out")]) == 0
    (point,) = (tmp_path / "out" / "points").iterdir()
    saved = json.loads(point.read_text())["simulation"]
    assert saved["hardware"]["adc"]["bits"] == 3
    assert saved["hardware"]["array"]["rows_driven"] == 16


def test_array_images_are_of_the_hardware(on_mine, tmp_path):
    out = tmp_path / "arrays"
    assert main(["export", str(on_mine), "--to", "arrays", "--array", "48x48", "--out", str(out)]) == 0
    array = json.loads((out / "placement.json").read_text())["array"]
    assert (array["rows"], array["columns"], array["cell_bits"], array["rows_driven"]) == (48, 48, 2, 16)
    csv = ["export", str(on_mine), "--to", "csv", "--out", str(tmp_path / "out.csv")]
    assert main([*csv, "--hardware", "rram-22nm"]) == 2


@pytest.mark.parametrize("command", ["map", "energy"])
def test_one_option_changes_one_figure(command, capsys):
    """Two bits a cell are what energy assumes: naming them changes nothing of the machine."""
    assumed = said(capsys, command, "resnet8", "--bits", 4, "--json")
    named = said(capsys, command, "resnet8", "--bits", 4, "--cell-bits", 2, "--dac-bits", 1, "--json")
    cells = named["hardware"]["cells"]
    assert cells == {"bits": 2, "coding": "differential"}
    assert named["hardware"]["adc"]["converts"] == "differences"
    if command == "map":
        assumed, named = assumed["energy"], named["energy"]
    assert named["total"] == assumed["total"]
