"""Cells of a grid that are trained several at a time."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from rankfold.cli.main import main
from rankfold.plan import Plan
from rankfold.planning import best_plan
from rankfold.progress import Silent
from rankfold.reproduce import planned, together
from rankfold.reproduce.cell import Work
from rankfold.reproduce.grid import load_grid
from rankfold.reproduce.measure import read_table
from rankfold.reproduce.together import TogetherRunner, run_group
from rankfold.runs.result import Result

pytestmark = pytest.mark.usefixtures("few_digits")

GRID = """
model: resnet8
data: digits
array: 32x32
arrays: [32x32]
seeds: [0]
recipe: {epochs: 1}
baseline_recipe: {epochs: 1}
methods:
  - {method: quantise, bits: [4]}
  - {method: planned, max_cycles: [300], bits: [4], distil: [0.9]}
"""


def read_rows(folder):
    for row in read_table(folder / "out" / "cells.csv"):
        yield SimpleNamespace(max_cycles=row.settings.get("max_cycles"))


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def done(tmp_path_factory, few_digits):
    folder = tmp_path_factory.mktemp("together")
    (folder / "mine.yaml").write_text(GRID)
    words = ["reproduce", str(folder / "mine.yaml"), "--together", "2", "--out", str(folder / "out")]
    # Few candidates, as their number is another test's matter.
    quick = partial(best_plan, kinds=["low-rank"], images=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planned, "best_plan", quick)
        assert main([*words, "--threads", "1"]) == 0
    return folder


def test_all_cells_are_trained_by_captured_steps(done):
    grid = load_grid(str(done / "mine.yaml"))
    for cell in grid.cells:
        result = Result.load(done / "out" / "cells" / cell.name / "result.json")
        assert result.device.endswith("captured steps")
        assert not (done / "out" / "cells" / cell.name / "checkpoint.pt").exists()
        assert result.planned_cycles <= 300 or cell.method == "quantise"
    # One plan for all seeds of the cell.
    plans = list((done / "out" / "plans").iterdir())
    assert [path.name for path in plans] == ["c300-b4.plan.json"]
    assert any(layer.kind.changes_weight for layer in Plan.load(plans[0]).layers)
    assert {row.max_cycles for row in read_rows(done)} == {None, 300}
    baseline = json.loads((done / "out" / "baseline" / "result.json").read_text())
    assert baseline["device"].endswith("captured steps")
    assert (done / "out" / "cells.csv").exists()


def test_cells_that_are_done_are_measured_and_those_that_fail_stop_no_other(done, monkeypatch):
    """One is complete, one has no plan, and one fails when it is trained."""
    grid = load_grid(str(done / "mine.yaml"))
    work = Work(grid, done / "out", done / "out" / "baseline" / "model.safetensors", "cpu")
    first, second = grid.cells
    third = replace(first, seed=1)
    begin = Work.begin

    def begun(self, cell, progress):
        if cell == second:
            raise RuntimeError("no such plan")
        ready = begin(self, cell, progress)
        return ready

    def trained(states, backend):
        assert len(states) == 1 and backend is None
        return [together.InputError("the loss became nan")]

    monkeypatch.setattr(Work, "begin", begun)
    monkeypatch.setattr(together, "fine_tune_together", trained)
    heard = Lines()
    outcomes = list(run_group(work, (first, second, third), heard))
    assert (done / "out" / "cells" / third.name / "plan.json").exists()
    errors = {outcome.cell: outcome.error for outcome in outcomes}
    assert errors == {first: None, second: "RuntimeError: no such plan", third: "the loss became nan"}
    assert outcomes[0].done
    assert f"{first.name}: this run is already complete" in heard.lines


def test_cells_of_a_group_share_their_images(done, monkeypatch):
    grid = load_grid(str(done / "mine.yaml"))
    work = Work(grid, done / "out", done / "out" / "baseline" / "model.safetensors", "cpu")
    seen = []

    def trained(states, backend):
        seen.extend(state.data for state in states)
        return [together.InputError("no time")] * len(states)

    monkeypatch.setattr(together, "fine_tune_together", trained)
    cells = [replace(grid.cells[0], seed=seed) for seed in (2, 3)]
    assert all(outcome.error == "no time" for outcome in run_group(work, cells, Silent()))
    first, second = seen
    assert first is second


def test_no_group_is_begun_when_the_time_is_up(done):
    grid = load_grid(str(done / "mine.yaml"))
    work = Work(grid, done / "out", None, "cpu")
    assert list(TogetherRunner(2)(work, grid.cells, lambda: False, Silent())) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "smoke", "--together", "0"], "together (=0) must be 1 or more"),
        (["reproduce", "smoke", "--together", "2", "--ray", "auto"], "omit it, or omit --ray"),
        (["reproduce", "smoke", "--fuse"], "--fuse goes with --together"),
        (
            [
                "compress",
                "resnet8",
                "--data",
                "digits",
                "--captured",
                "--noise-aware",
                "--program-noise",
                "0.03",
            ],
            "noise-aware training programs arrays anew in every step",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(words, message, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
