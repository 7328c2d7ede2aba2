"""`benchmarks/gpu_budget.py`: what it trains next, that it stops in time, and that it goes on."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import captured_steps
import gpu_budget
import gpu_time
import pytest
import torch
from gpu_budget import ENERGY, RESNET, STAGES, WRN, Session, Stage, rehearsal, spend
from gpu_time import OutOfTime

from rankfold import run_files
from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.plan import uniform_plan
from rankfold.reproduce import planned, run
from rankfold.reproduce.cell import Outcome, cell_folder
from rankfold.reproduce.grid import load_grid
from rankfold.surgery.saving import save_weights
from rankfold.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("few_digits")
CPU = torch.device("cpu")


@pytest.fixture
def grids():
    return {name: rehearsal(load_grid(name), "digits") for name in (RESNET, ENERGY, WRN)}


def names(cells):
    return [cell.name for cell in cells]


def test_the_list_has_every_cell_of_all_grids_and_begins_with_the_dense_networks():
    assert STAGES[0] == Stage(WRN, ("quantise",))
    for name in (RESNET, ENERGY, WRN):
        grid = load_grid(name)
        listed = [cell for stage in STAGES if stage.grid == name for cell in stage.cells(grid)]
        assert set(listed) == set(grid.cells)
    # PAIRS and PatDNN as published, which headlines are held against, come before the other variants.
    assert {"planned", "window", "low-rank", "pairs-2023", "patdnn-channel"} <= set(STAGES[1].methods)


def test_cells_are_begun_only_where_they_can_end(grids, tmp_path):
    """360 images an epoch at 36 images/s: ten seconds a cell, by what was measured."""
    (tmp_path / "speeds.json").write_text(json.dumps({"resnet8 of 64 x4": 36.0}))
    stage = Stage(RESNET, together=4)
    # Plans are not made: what needs none goes first.
    every = sorted(stage.cells(grids[RESNET]), key=lambda cell: cell.method == "planned")
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


def test_a_cell_waits_for_its_plan(grids, tmp_path):
    stage = Stage(RESNET, ("planned", "window"), together=1)
    session = Session(grids, tmp_path, "cpu", 1000)
    (cell,) = session.next_group(stage)
    assert cell.method == "window"
    (plan,) = [cell for cell in stage.cells(grids[RESNET]) if cell.method == "planned"]
    path = planned.plan_path(plan.setting(), plan.bits, session.folder(grids[RESNET]))
    path.parent.mkdir(parents=True)
    path.touch()
    assert session.next_group(stage) == [plan]


def test_what_cannot_be_recorded_is_trained_by_the_ordinary_loop(grids, tmp_path, monkeypatch, capsys):
    def refused(work, cells, progress, backend):
        for number, cell in enumerate(cells):
            yield Outcome(
                cell, error="the steps of this network cannot be recorded (why)" if number else "nan"
            )

    monkeypatch.setattr(gpu_budget, "run_group", refused)
    stage = Stage(RESNET, ("quantise", "pairs"), together=2)
    session = Session(grids, tmp_path, "cpu", 1000)
    monkeypatch.setattr(gpu_budget.Trained, "__call__", lambda work, cell, progress: Outcome(cell))
    cells = stage.cells(grids[RESNET])
    session.run(stage, cells)
    assert list(session.failed) == [(RESNET, cells[0].name)]
    assert "cannot be recorded (why): by the ordinary loop" in capsys.readouterr().out


def test_plans_are_made_beforehand_where_the_dense_network_is(grids, tmp_path, monkeypatch, capsys):
    """That of a small network is not there; once it is, its one plan is, for the cells of a later call."""

    def dense(model, data, array, budget, *, bits, layer_bits, count_rounding, network, progress):
        assert layer_bits is None and not count_rounding
        return SimpleNamespace(plan=uniform_plan(network, array, bits=bits))

    monkeypatch.setattr(planned, "best_plan", dense)  # which other tests have
    words = ["--rehearse", "--plans", "--device", "cpu", "--out", str(tmp_path)]
    assert gpu_budget.main(words) == 0
    assert capsys.readouterr().out.count("its dense network is not trained yet") == 3
    gpu_budget.claim(grids[RESNET], tmp_path / RESNET, "cpu")
    weights = tmp_path / RESNET / "baseline" / run_files.WEIGHTS
    weights.parent.mkdir(parents=True)
    save_weights(weights, build("resnet8", 10, 1))
    (weights.parent / run_files.RESULT).touch()
    assert gpu_budget.main(words) == 0
    assert (tmp_path / RESNET / "plans" / "c400-b4.plan.json").exists()
    assert not (tmp_path / WRN / "plans").exists()


def test_a_plan_that_fails_stops_no_other(grids, tmp_path, monkeypatch, capsys):
    def made(method, *given, **named):
        if method.max_energy is not None:
            raise InputError("no plan keeps it")

    monkeypatch.setattr(gpu_budget, "planned", made)
    monkeypatch.setattr(gpu_budget, "dense_weights", lambda *given: SimpleNamespace(load_=lambda model: None))
    session = Session(grids, tmp_path, "cpu", 100)
    (first,) = [cell for cell in grids[ENERGY].cells if cell.method == "planned"]
    again, other = replace(first, seed=1), replace(first, others=(("max_cycles", 400),))
    trained = []

    def outcomes(work, cells):
        trained.extend(cells)
        return iter([Outcome(cell) for cell in cells])

    monkeypatch.setattr(session, "_outcomes", outcomes)
    session.run(Stage(ENERGY, together=3), [first, again, other])
    told = capsys.readouterr().out
    assert told.count("energy70%-b4-bits3,4.plan.json failed: no plan keeps it") == 1
    assert ": c400-b4.plan.json" in told and trained == [other]
    assert session.failed == {(ENERGY, cell.name): "no plan keeps it" for cell in (first, again)}
    trained.clear()
    session.run(Stage(ENERGY, together=3), [first])
    assert trained == []


def test_a_speed_is_that_of_batches_of_one_size(tmp_path):
    speeds = gpu_time.Speeds(tmp_path / "speeds.json")
    speeds.note("resnet20", 128, 8, 500.0)
    assert speeds.of("resnet20", 128, 8) == speeds.of("resnet20", 128, 1) == 500.0
    assert speeds.of("resnet20", 512, 8) == gpu_time.GUESSES["resnet20"]


def test_what_is_shipped_takes_no_time(grids, tmp_path, monkeypatch):
    """Where there is a second left, and training the dense network would take a minute."""
    (tmp_path / "speeds.json").write_text(json.dumps({"resnet8 of 64 x1": 6.0}))
    session = Session(grids, tmp_path, "cpu", 100)
    session._end -= 99
    assert not session.may_train_dense(grids[RESNET])
    monkeypatch.setattr(run, "shipped_baseline", lambda *given: object())
    assert session.may_train_dense(grids[RESNET])


def trains(session, monkeypatch, dense):
    """Lets `dense` train dense networks, in no time; gives the groups that would be trained, as they come."""
    groups = []

    def trained(stage, cells):
        groups.append((stage.grid, names(cells)))
        for cell in cells:
            session.failed[stage.grid, cell.name] = "once is enough"

    monkeypatch.setattr(gpu_budget, "dense_network", dense)
    monkeypatch.setattr(session, "run", trained)
    return groups


def test_cells_are_chosen_when_the_dense_network_is_there(grids, tmp_path, monkeypatch):
    """Four could end before it was trained, and one can after."""
    (tmp_path / "speeds.json").write_text(json.dumps({"resnet8 of 64 x4": 36.0}))
    session = Session(grids, tmp_path, "cpu", 100)

    def dense(grid, out, device, progress, captured):
        if not (out / "baseline").exists():
            (out / "baseline").mkdir()
            (out / "baseline" / run_files.RESULT).touch()
            session._end -= 85

    groups = trains(session, monkeypatch, dense)
    stage = Stage(RESNET, together=4)
    first, *_ = stage.cells(grids[RESNET])
    spend(session, [stage])
    assert groups[0] == (RESNET, [first.name])


def test_a_dense_network_that_fails_ends_its_grid_alone(grids, tmp_path, monkeypatch, capsys):
    session = Session(grids, tmp_path, "cpu", 1000)

    def dense(grid, out, device, progress, captured):
        if grid.name == RESNET:
            raise InputError("the loss became nan")
        (out / "baseline").mkdir(exist_ok=True)
        (out / "baseline" / run_files.RESULT).touch()

    groups = trains(session, monkeypatch, dense)
    spend(session, [Stage(RESNET, together=99), Stage(WRN, together=99)])
    ((trained, cells),) = groups
    assert trained == WRN and set(cells) == set(names(grids[WRN].cells))
    assert session.failed[RESNET, "baseline"] == "the loss became nan"
    assert "the dense network failed: the loss became nan" in capsys.readouterr().out


def test_the_speed_is_that_of_cells_without_their_plans(grids, tmp_path, monkeypatch):
    """A plan takes a thousand seconds by a clock that stands still otherwise, a cell ten."""
    clock = [0.0]
    for module in (gpu_budget, gpu_time):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    session = Session(grids, tmp_path, "cpu", 10_000)

    def made(*given, **named):
        clock[0] += 1000

    def outcomes(work, cells):
        for cell in cells:
            clock[0] += 10
            yield Outcome(cell)

    monkeypatch.setattr(gpu_budget, "planned", made)
    monkeypatch.setattr(session, "_outcomes", outcomes)
    weights = tmp_path / RESNET / "baseline" / run_files.WEIGHTS
    weights.parent.mkdir(parents=True)
    save_weights(weights, build("resnet8", 10, 1))
    stage = Stage(RESNET, ("planned",))
    session.run(stage, stage.cells(grids[RESNET]))
    assert clock[0] == 1010
    assert session.speeds.of("resnet8", 64, 1) == session.images(grids[RESNET]) / 10


def test_captured_steps_are_trusted_where_they_are_the_ordinary_loop(monkeypatch):
    """And not where losses differ, or a compiler that is missed raises whatever it likes."""
    assert captured_steps.fault_of_capturing(CPU, None) is None
    ended = SimpleNamespace(train_loss=2.0)
    monkeypatch.setattr(captured_steps, "train", lambda *given, **named: [ended])
    monkeypatch.setattr(
        captured_steps, "_trained_captured", lambda *given, **named: [SimpleNamespace(train_loss=2.2)]
    )
    told = "a small network has a loss of 2.2000 by captured steps and of 2.0000 by others"
    assert captured_steps.fault_of_capturing(CPU, None) == told

    def missing(*given, **named):
        raise ImportError("no module named triton")

    monkeypatch.setattr(captured_steps, "_trained_captured", missing)
    assert captured_steps.fault_of_capturing(CPU, "inductor") == "no module named triton"


def test_where_the_ordinary_loop_fails_that_is_said_and_steps_are_captured(monkeypatch, capsys):
    """Cells of other networks may do better, and one that cannot be recorded goes back to that loop."""

    def broken(*given, **named):
        raise RuntimeError("expected device cuda:0 but got cpu")

    monkeypatch.setattr(captured_steps, "train", broken)
    assert captured_steps.trusted(CPU, False, 60.0) == (True, None)
    assert "THE ORDINARY LOOP FAILS (expected device cuda:0 but got cpu)" in capsys.readouterr().out


def test_what_hangs_is_not_trusted(monkeypatch, capsys):
    monkeypatch.setattr(captured_steps, "fault_of_capturing", lambda *given: time.sleep(60))
    assert captured_steps.trusted(CPU, False, 0.05) == (False, None)
    assert "not compared after 0 s" in capsys.readouterr().out


def test_a_training_ends_at_the_batch_after_its_time():
    """Where the alarm was lost, too."""
    gpu_time.Lines(time.monotonic() + 1000).advance()
    with pytest.raises(OutOfTime):
        gpu_time.Lines(time.monotonic() - 1).advance()


def test_an_alarm_ends_what_is_under_way():
    with pytest.raises(OutOfTime), gpu_time.alarm(0.05):
        while True:
            pass


def test_data_that_are_missing_are_named(capsys):
    assert gpu_budget.main(["--data-cifar10", "somewhere"]) == 2
    assert "--data-cifar10 and --data-cifar100" in capsys.readouterr().err
