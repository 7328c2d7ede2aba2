"""`benchmarks/gpu_budget.py`: what it trains next, that it stops in time, and that it goes on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gpu_budget
import pytest
from gpu_budget import RESNET, STAGES, WRN, OutOfTime, Session, Stage, rehearsal, spend

from rankfold import run_files
from rankfold.models.zoo import build
from rankfold.plan import uniform_plan
from rankfold.reproduce import planned
from rankfold.reproduce.cell import cell_folder
from rankfold.reproduce.grid import load_grid
from rankfold.surgery.save import save_weights
from rankfold.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def grids():
    return {name: rehearsal(load_grid(name), "digits") for name in (RESNET, WRN)}


def names(cells):
    return [cell.name for cell in cells]


def test_the_list_has_every_cell_of_both_grids_and_begins_with_the_dense_networks():
    assert STAGES[0] == Stage(WRN, ("quantise",))
    for name in (RESNET, WRN):
        grid = load_grid(name)
        listed = [cell for stage in STAGES if stage.grid == name for cell in stage.cells(grid)]
        assert set(listed) == set(grid.cells)
    # PAIRS and PatDNN as published, which headlines are held against, come before the other variants.
    assert {"planned", "window", "low-rank", "pairs-2023", "patdnn-channel"} <= set(STAGES[1].methods)


def test_cells_are_begun_only_where_they_can_end(grids, tmp_path):
    """360 images an epoch at 36 images/s: ten seconds a cell, by what was measured."""
    (tmp_path / "speeds.json").write_text(json.dumps({"resnet8 x4": 36.0}))
    stage = Stage(RESNET, together=4)
    every = stage.cells(grids[RESNET])
    for seconds, count in ((1000, 4), (35, 3), (11, 1)):
        assert names(Session(grids, tmp_path, "cpu", seconds).next_group(stage)) == names(every[:count])
    # Shorter than any cell: in parts. What has begun goes on, and leaves no room.
    session = Session(grids, tmp_path, "cpu", 9)
    assert names(session.next_group(stage)) == names(every[:1])
    session._end -= 6  # two thirds of the time have gone
    assert session.next_group(stage) == []
    folder = cell_folder(session.folder(grids[RESNET]), every[2])
    folder.mkdir(parents=True)
    (folder / run_files.CHECKPOINT).touch()
    assert names(session.next_group(stage)) == [every[2].name]
    (folder / run_files.RESULT).touch()
    assert session.next_group(stage) == []
    session.failed[RESNET, every[0].name] = "diverged"
    session._end += 1000
    assert names(session.next_group(stage)) == names([every[1], *every[3:6]])


def test_it_stops_in_the_middle_and_goes_on_from_there(grids, tmp_path, monkeypatch, capsys):
    """The alarm rings after the first checkpoint of a cell; the next call ends it, a third has no work."""
    stages = [Stage(RESNET, ("quantise",), together=2)]
    grids[RESNET] = replace(grids[RESNET], recipe=replace(grids[RESNET].recipe, epochs=2))
    save, saved = Checkpoint.save, []

    def save_and_ring(self, state):
        save(self, state)
        saved.append(len(state["history"]))
        if "cells" in self.path.parts and len(saved) == 2:
            raise OutOfTime

    monkeypatch.setattr(Checkpoint, "save", save_and_ring)
    spend(Session(grids, tmp_path, "cpu", 1000), stages)
    cells = stages[0].cells(grids[RESNET])
    folders = [cell_folder(tmp_path / RESNET, cell) for cell in cells]
    assert sum((folder / run_files.CHECKPOINT).exists() for folder in folders) == 1
    assert not any((folder / run_files.RESULT).exists() for folder in folders)
    saved.clear()
    saved += [0, 0]  # it rings no more
    session = Session(grids, tmp_path, "cpu", 1000)
    spend(session, stages)
    assert all((folder / run_files.RESULT).exists() for folder in folders) and not session.failed
    assert session.next_group(stages[0]) == []
    told = capsys.readouterr().out
    assert "the time is up; the same command goes on" in told


def test_plans_are_made_beforehand_where_the_dense_network_is(grids, tmp_path, monkeypatch, capsys):
    """That of a small network is not there; once it is, its one plan is, for the cells of a later call."""

    def dense(model, data, array, budget, *, bits, network, progress):
        return SimpleNamespace(plan=uniform_plan(network, array, bits=bits))

    monkeypatch.setattr(planned, "best_plan", dense)  # which other tests have
    words = ["--rehearse", "--plans", "--device", "cpu", "--out", str(tmp_path)]
    assert gpu_budget.main(words) == 0
    assert capsys.readouterr().out.count("its dense network is not trained yet") == 2
    gpu_budget.claim(grids[RESNET], tmp_path / RESNET, "cpu")
    weights = tmp_path / RESNET / "baseline" / run_files.WEIGHTS
    weights.parent.mkdir(parents=True)
    save_weights(weights, build("resnet8", 10, 1))
    (weights.parent / run_files.RESULT).touch()
    assert gpu_budget.main(words) == 0
    assert (tmp_path / RESNET / "plans" / "c400-b4.plan.json").exists()
    assert not (tmp_path / WRN / "plans").exists()


def test_an_alarm_ends_what_is_under_way():
    with pytest.raises(OutOfTime), gpu_budget.alarm(0.05):
        while True:
            pass


def test_data_that_are_missing_are_named(capsys):
    assert gpu_budget.main(["--data-cifar10", "somewhere"]) == 2
    assert "--data-cifar10 and --data-cifar100" in capsys.readouterr().err
