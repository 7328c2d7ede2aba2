"""A method from outside the package goes through runs and grids as those of the package do.

It is that of `common/first_channels.py`, by which all layers become a kind that is not the package's either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from common.first_channels import HUE, SHARE, FirstChannels, ReadFewer, known
from common.measurement import ROW
from rankfold.cli.main import main
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.plan import Plan, uniform_plan
from rankfold.plan.kinds import unregister_kind
from rankfold.plan.methods import Setting, register_method, registered_method
from rankfold.report.methods import colours, method_name
from rankfold.reproduce.figure import figure
from rankfold.reproduce.grid import load_grid
from rankfold.reproduce.headline import average
from rankfold.reproduce.measure import read_table, write_table
from rankfold.reproduce.summary import headlines
from rankfold.runs.result import Result
from rankfold.surgery.saving import save_weights
from rankfold.workload import trace


@pytest.fixture(autouse=True)
def registered_here() -> Iterator[None]:
    """The kind and the method are registered, for these tests only."""
    with known():
        yield


def test_a_whole_run_goes_through_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its method on the command line: trained, evaluated, reported and simulated."""
    model = build("resnet8", 10, 1)
    network = trace(model, (1, 8, 8), "resnet8")
    save_weights(tmp_path / "dense.safetensors", model)
    run, digits = str(tmp_path / "run"), ["--data", "digits"]
    given = ["--method", "read-fewer", "--share", "0.5", "--array", "32x32"]
    given += ["--checkpoint", str(tmp_path / "dense.safetensors"), "--batch", "256", "--epochs", "1"]
    assert main(["compress", "resnet8", *digits, *given, "--out", run]) == 0
    plan = uniform_plan(network, ArraySpec(32, 32), ReadFewer(0.5), bits=4)
    followed = Plan.load(tmp_path / "run" / "plan.json")
    assert [layer.kind for layer in followed.layers] == [layer.kind for layer in plan.layers]
    path = tmp_path / "run" / "result.json"
    content = json.loads(path.read_text())
    assert content["layers"][1]["becomes"] == {"kind": "first-channels", "channels": 8}
    assert content["planned_cycles"] == network_cycles(network, followed).chosen_cycles
    result = Result.load(path)
    assert [layer.layer_kind for layer in result.layers] == [layer.kind for layer in plan.layers]
    assert method_name(result) == "first channels" and colours([result, result]) == HUE
    capsys.readouterr()
    assert main(["evaluate", run, *digits, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == result.accuracy.final
    assert main(["report", run, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert HUE[0] in page and "first 8" in page and "First channels, " in page
    assert main(["simulate", run, *digits, "--images", "50", "--json"]) == 0
    # Without the kind the numbers can still be read, but not what the layers are.
    unregister_kind(FirstChannels)
    assert Result.load(path) == result and result.layers[1].layer_kind is None


def test_grids_of_runs_have_its_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = ["model: resnet8", "data: digits", "array: 32x32", "arrays: [32x32]", "seeds: [0]"]
    lines += ["recipe: {epochs: 1}", "baseline_recipe: {epochs: 1}", "methods:"]
    lines += ["  - {method: quantise, bits: [4]}", "  - {method: read-fewer, share: [0.25, 0.5], bits: [4]}"]
    path.write_text("\n".join(lines))
    _, first, second = load_grid(str(path)).cells
    assert (first.name, second.name) == ("read-fewer-s0.25-b4-s0", "read-fewer-s0.5-b4-s0")
    assert second.setting() == ReadFewer(0.5)
    path.write_text(path.read_text().replace("share: [0.25, 0.5]", "share: [2]"))
    with pytest.raises(InputError, match="at methods/1/share/0: 2 is greater than the maximum of 1"):
        load_grid(str(path))
    rows = [
        replace(ROW, method="quantise", groups=None, rank=None, accuracy=0.9, cycles=900),
        replace(ROW, method="read-fewer", groups=None, rank=None, others=second.others, cycles=500),
        replace(ROW, cycles=800),
    ]
    write_table(tmp_path / "cells.csv", rows)
    assert read_table(tmp_path / "cells.csv") == tuple(rows)
    points = average(rows)
    assert points[1].label == "reading fewer, s = 0.5, 4 bits"
    assert "reading fewer, SDK" in headlines(points)["64x64"]
    assert "reading fewer, SDK" in figure(points, "title")


def test_settings_that_do_not_go_with_it_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    start = ["compress", "resnet8", "--data", "digits", "--out", "never", "--method"]
    for words, message in (
        (["read-fewer"], "method read-fewer needs share, such as 0.5"),
        (["read-fewer", "--share", "0.5", "--rank", "4"], "rank (=4) does not go with method read-fewer"),
        (["low-rank", "--rank", "4", "--share", "0.5"], "share (=0.5) does not go with method low-rank"),
        (["read-fewer", "--share", "0.5", "--linear"], "linear does not go with method read-fewer"),
    ):
        assert main([*start, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compress", "plan"])
def test_settings_with_the_name_of_an_option_are_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Odd(ReadFewer):
        name: ClassVar[str] = "odd"
        settings: ClassVar[tuple[Setting, ...]] = (replace(SHARE, name="bits"),)

        bits: int = 0

    with registered_method(Odd):
        assert main([command, "resnet8"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("rankfold: --bits is a setting of a method and another option")
        and "\n" not in error[:-1]
    )
    with pytest.raises(InputError, match="a method named read-fewer is registered already"):
        register_method(ReadFewer)
