"""`rankfold chip`: what is printed of networks, plans and finished runs, and what is refused."""

from __future__ import annotations

import csv
import io
import json

import pytest

from rankfold.cli.main import main
from rankfold.machine import chip_names, chip_text, hardware_text, load_chip
from rankfold.workload import zoo_network


def test_all_chips_are_listed_and_shown(capsys, tmp_path):
    assert main(["chip", "--list"]) == 0
    listed = capsys.readouterr().out
    for name in chip_names():
        assert f"\n{name} " in listed
        assert main(["chip", "--show", name]) == 0
        path = tmp_path / f"{name}.yaml"
        path.write_text(capsys.readouterr().out)
        assert load_chip(path) == load_chip(name)


def test_a_network_on_a_chip_is_told_layer_by_layer(capsys):
    assert main(["chip", "resnet8", "--chip", "sram-22nm", "--check"]) == 0
    out = capsys.readouterr().out
    for layer in zoo_network("resnet8").layers:
        assert f"\n{layer.name} " in out
    for words in (
        "weights stay, and all layers work at once",
        "what limits: ",
        "executed event by event",
        "accuracy on these arrays: not simulated",
    ):
        assert words in out


def test_json_and_csv_agree(capsys):
    assert main(["chip", "resnet8", "--chip", "rram-22nm", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert main(["chip", "resnet8", "--chip", "rram-22nm", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == [task["name"] for task in content["tasks"]]
    assert sum(content["energy_by_part_pj"].values()) == pytest.approx(content["energy_pj"])
    assert content["interval_us"] >= content["interval_at_least_us"]


def test_groups_of_low_rank_have_two_tasks_a_layer(capsys):
    assert main(["chip", "resnet8", "--chip", "rram-22nm", "--groups", "2", "--rank", "1/4", "--json"]) == 0
    names = {task["name"] for task in json.loads(capsys.readouterr().out)["tasks"]}
    assert {"layer2.0.conv2 (1)", "layer2.0.conv2 (2)"} <= names


def test_a_page_is_written_beside_what_is_printed(capsys, tmp_path):
    page = tmp_path / "chip.html"
    assert main(["chip", "resnet8", "--chip", "sram-22nm", "--page", str(page), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert f"{content['latency_us']:,.2f}\u00a0µs" in page.read_text(encoding="utf-8")


def test_nothing_but_a_page_is_replaced(capsys, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert main(["chip", "resnet8", "--chip", "sram-22nm", "--page", str(notes)]) == 2
    said = capsys.readouterr()
    assert not said.out and "only a page is replaced" in said.err
    assert notes.read_text() == "mine"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--list", "--page", "a.html"], "--page shows a network on a chip"),
        ([], "name a network, or give --list or --show NAME"),
        (["resnet8"], "give the chip: --chip hermes or isaac or "),
        (["resnet8", "--chip", "isaak"], "did you mean isaac?"),
        (["resnet8", "--chip", "isaac", "--array", "64x64"], "--array: the chip says what its arrays are"),
        (["resnet8", "--chip", "missing.yaml"], "cannot read chip missing.yaml: No such file or directory"),
        (
            ["resnet50", "--chip", "sram-22nm", "--check"],
            "there is no pipeline to execute: the network needs",
        ),
        (["resnet8", "--chip", "isaac", "--csv", "--check"], "--csv has no line for a check; omit --check"),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(capsys, arguments, sentence):
    assert main(["chip", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert sentence in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["chip", "resnet8"],
        ["chip", "resnet8", "--groups", "2", "--rank", "1/4"],
        ["plan", "resnet8", "--mappings-only"],
    ],
)
def test_arrays_too_narrow_for_a_weight_are_named_by_their_place(command, capsys, tmp_path):
    path = tmp_path / "narrow.yaml"
    hardware = hardware_text("sram-22nm").replace("columns: {value: 64,", "columns: {value: 4,")
    (tmp_path / "four.yaml").write_text(hardware.replace("mux: {value: 8,", "mux: {value: 4,"))
    path.write_text(chip_text("sram-22nm").replace("hardware: sram-22nm", "hardware: four.yaml"))
    assert main([*command, "--chip", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"rankfold: {path}: hardware/array/columns: array columns (=4) do not hold one weight"
    )
    assert said.count("\n") == 1
