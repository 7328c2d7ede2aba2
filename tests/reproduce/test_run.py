"""A grid from the command line: it is run, taken up, mapped and compared, here and on a Ray cluster."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import rankfold as rf
from common.ray_cluster import a_worker_is_killed, is_alive
from rankfold import ray_cluster
from rankfold.cli.arguments.values import time_limit
from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.files import package_data, write_json
from rankfold.machine import hardware_to_json, load_hardware
from rankfold.plan import Plan
from rankfold.progress import Silent
from rankfold.records.typed import write_typed
from rankfold.reproduce import cluster
from rankfold.reproduce.cell import Work
from rankfold.reproduce.cluster import RayRunner
from rankfold.reproduce.grid import load_grid
from rankfold.reproduce.headline import average
from rankfold.reproduce.measure import UNKNOWN, read_table, write_table
from rankfold.reproduce.run import reproduce
from rankfold.runs.result import Result
from rankfold.workload import zoo_network

pytestmark = pytest.mark.usefixtures("few_digits")
SMOKE = load_grid("smoke")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, few_digits):
    """The folder of `rankfold reproduce smoke`."""
    out = tmp_path_factory.mktemp("reproduce") / "smoke"
    words = ["reproduce", "smoke", "--out", str(out), "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rankfold", *words])  # what the record of a run says
        assert main(words) == 0
    return out


def test_all_cells_are_trained_once_and_mapped_for_every_array(finished):
    rows = read_table(finished / "cells.csv")
    assert {row.cell for row in rows} == {cell.name for cell in SMOKE.cells}
    assert {row.array for row in rows} == {"32x32", "64x64"}
    for cell in SMOKE.cells:
        result = Result.load(finished / "cells" / cell.name / "result.json")
        own = [row for row in rows if row.cell == cell.name]
        assert {row.accuracy for row in own} == {result.accuracy.final}
        prefix = {
            "low-rank": "low-rank-",
            "patdnn": "pruned-",
            "pairs": "pruned-",
            "support": "pruned-",
            "window": "windows-",
        }.get(cell.method, "")
        planned = next(
            row for row in own if (row.array, row.mapping, row.steering) == ("32x32", "sdk", "plain")
        )
        assert planned.cycles == result.cycles[f"{prefix}sdk"] == result.planned_cycles
        assert planned.conversions == result.planned_conversions
        assert planned.energy == pytest.approx(result.energy.energy, abs=0.06)
        assert all((row.energy is None) == (row.mapping in ("shared", "published")) for row in own)
        assert sum(row.mapping == "published" for row in own) == 2
        steered = [
            row.cycles for row in own if (row.array, row.mapping, row.steering) == ("32x32", "sdk", "ideal")
        ]
        assert steered == ([result.cycles["ideal-sdk"]] if prefix == "pruned-" else [])
        assert result.command == f"rankfold reproduce smoke --out {finished} --threads 1"
    text = (finished / "tables.md").read_text()
    assert "8 of 8 cells of the grid `smoke`, 1 epoch of fine-tuning, 1 to 2 seeds a point" in text
    assert (
        "| row-sparse low-rank, g = 4, r = 1/8, e = 4, 4 bits |" in text
        and "| shared support, e = 4, 4 bits |" in text
    )
    assert "## The published reading" in text and "| PatDNN, published reading |" in text
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[0] == "## All networks: cycles by the best mapping of each layer"
    won = [f"## Headlines: {name}" for name in ("low-rank", "row-sparse low-rank", "window")]
    assert titles[-3:] == won
    every = {point.label for point in average(rows)}
    assert every <= {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()}
    sparse = json.loads((finished / "headlines-row-sparse.json").read_text())["64x64"]
    assert sparse["low-rank, SDK"]["fewer_cycles"] or sparse["low-rank, SDK"]["more_accuracy"]
    assert "32x32 arrays" in (finished / "accuracy-cycles.svg").read_text()
    assert json.loads((finished / "headlines.json").read_text())["64x64"]
    made = json.loads((finished / "grid.json").read_text())
    assert made["recipe"]["epochs"] == 1 and made["versions"]["torch"] and made["device"]


def test_headlines_of_cells_that_are_gone_are_gone(finished, tmp_path):
    """What is saved in energy is of the dense network, headlines of windows are of window layers."""
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    gone = [cell.name for cell in SMOKE.cells if cell.method in ("quantise", "window")]
    assert (out / "headlines-energy.json").exists() and (out / "headlines-window.json").exists()
    for name in gone:
        shutil.rmtree(out / "cells" / name)
    assert main(["reproduce", "smoke", "--out", str(out), "--threads", "1", "--time-limit", "0"]) == 0
    assert not (out / "headlines-energy.json").exists() and not (out / "headlines-window.json").exists()
    assert "energy" not in (out / "tables.md").read_text().partition("## Headlines")[2]


def test_where_data_are_wrong_no_folder_is_left(tmp_path, capsys):
    assert main(["reproduce", "smoke", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 2
    assert f"data folder {tmp_path / 'no'} does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_done_again(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("cells/*/*")}
    table = (finished / "cells.csv").read_bytes()
    assert main(["reproduce", "smoke", "--out", str(finished), "--threads", "1"]) == 0
    told = capsys.readouterr()
    assert (
        "8 of 8 cells are done already" in told.err
        and "8 of 8 cells are done, 0 failed, 0 are left" in told.out
    )
    assert {path: path.stat().st_mtime_ns for path in finished.glob("cells/*/*")} == before
    assert (finished / "cells.csv").read_bytes() == table


def test_other_hardware_is_counted_without_training(finished, tmp_path):
    """Energy on the hardware that is named, at the sizes of the grid; cycles and accuracies are the same."""
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    before = read_table(out / "cells.csv")
    command = ["reproduce", "smoke", "--out", str(out), "--threads", "1", "--time-limit", "0"]
    assert main([*command, "--hardware", "sram-32nm"]) == 0
    after = read_table(out / "cells.csv")
    assert {row.hardware for row in before} == {"default"}
    assert {row.hardware for row in after} == {"sram-32nm"}
    for one, other in zip(before, after, strict=True):
        assert replace(other, energy=one.energy, hardware=one.hardware) == one
        assert other.energy != one.energy or one.energy is None
    tables = (out / "tables.md").read_text()
    assert "Energy with SDK, nJ per image, sram-32nm" in tables
    assert "on these arrays: not simulated" in tables
    assert json.loads((out / "grid.json").read_text())["hardware"]["name"] == "sram-32nm"
    (row,) = [
        row
        for row in after
        if (row.method, row.entries, row.seed) == ("low-rank", None, 0)
        and (row.array, row.mapping) == ("64x64", "sdk")
    ]
    plan = Plan.load(out / "cells" / row.cell / "plan.json")
    priced = rf.energy(zoo_network(plan.model, plan.input), plan, load_hardware("sram-32nm"))
    assert row.energy == pytest.approx(priced.energy, abs=0.06)
    # Without it, all is as it was.
    assert main(command) == 0
    assert read_table(out / "cells.csv") == before


def test_a_table_is_priced_without_its_runs(finished, tmp_path, capsys):
    """As with the runs; of other counts, and of supports that were found on data, nothing is priced."""
    out = tmp_path / "table"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("cells"))
    table = out / "cells.csv"
    command = ["reproduce", "smoke", "--out", str(out), "--price-again"]
    assert main(command) == 2
    assert "kernel positions that its run found on data; keep the folder" in capsys.readouterr().err
    priced = []
    for row in read_table(table):
        supported = row.entries and row.method in ("low-rank", "support")
        if not supported and row.method != "window":
            priced.append(row)
    assert {row.method for row in priced} == {"low-rank", "patdnn", "pairs", "quantise"}
    # As version 0.1 wrote it: energies of other arrays, and no word of which.
    write_table(table, [replace(row, energy=1.0, hardware=UNKNOWN) for row in priced])
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    assert lines[0].endswith(",distil")
    table.write_text("\n".join(lines) + "\n")
    assert {row.hardware for row in read_table(table)} == {UNKNOWN}
    assert main(command) == 0
    assert read_table(table) == tuple(priced)
    assert main([*command, "--hardware", "sram-32nm"]) == 0
    assert {row.hardware for row in read_table(table)} == {"sram-32nm"}
    made = json.loads((out / "grid.json").read_text())
    assert made["hardware"]["name"] == "sram-32nm" and made["priced_with"]["rankfold"]
    assert made["device"] == json.loads((finished / "grid.json").read_text())["device"]
    before = [replace(priced[0], conversions=priced[0].conversions + 1), *priced[1:]]
    write_table(table, before)
    assert main(command) == 2
    assert "its network is another one, so it cannot be priced" in capsys.readouterr().err
    assert read_table(table) == tuple(before)
    assert main([*command, "--time-limit", "1h"]) == 2
    assert "--price-again runs no cells; omit --time-limit" in capsys.readouterr().err


def test_tables_and_figure_are_drawn_anew_from_the_table_alone(finished, tmp_path, capsys):
    out = tmp_path / "table"
    out.mkdir()
    shutil.copy(finished / "cells.csv", out)
    command = ["reproduce", "smoke", "--out", str(out), "--redraw"]
    assert main(command) == 0
    assert "8 of 8 cells are done" in capsys.readouterr().out
    made = {path.name for path in out.iterdir()}
    # All files of the grid but its record, which is of who trained it.
    assert made == {path.name for path in finished.iterdir() if path.is_file()} - {"grid.json"}
    for name in made:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    # A table of fewer cells is one of a grid that is under way.
    rows = read_table(out / "cells.csv")
    write_table(out / "cells.csv", [row for row in rows if row.cell != rows[0].cell])
    assert main(command) == 0
    assert "7 of 8 cells are done, 0 failed, 1 are left" in capsys.readouterr().out
    for more, complaint in (
        (["--hardware", "sram-32nm"], "--redraw counts nothing; omit --hardware"),
        (["--seeds", "1"], "--redraw runs no cells; omit --seeds"),
    ):
        assert main([*command, *more]) == 2
        assert complaint in capsys.readouterr().err
    (out / "cells.csv").unlink()
    assert main(command) == 2
    assert str(out / "cells.csv") in capsys.readouterr().err


def test_hardware_of_a_grid_without_prices_for_its_cells_is_refused(tmp_path, capsys):
    """Before any training, not by cells without an energy after it."""
    coarse = load_hardware("rram-22nm").altered(cell_bits=8)
    write_json(tmp_path / "own.yaml", hardware_to_json(coarse))
    grid = (package_data("rankfold.reproduce") / "grids" / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(f"{grid}hardware: own.yaml\n")
    assert main(["reproduce", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "array cell_bits (=8): cells of rram-22nm store at most 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_mistyped_network_takes_no_folder(tmp_path, capsys):
    """The same grid with the right name would be refused there."""
    grid = (package_data("rankfold.reproduce") / "grids" / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(grid.replace("model: resnet8", "model: resent8"))
    assert main(["reproduce", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "unknown model resent8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_setting_that_no_layer_can_have_is_refused_before_training(tmp_path, capsys):
    grid = (package_data("rankfold.reproduce") / "grids" / "smoke.yaml").read_text(encoding="utf-8")
    methods = "methods:\n  - {method: low-rank, groups: [1, 3], rank: [1/4], bits: [4]}\n"
    (tmp_path / "mine.yaml").write_text(grid.partition("methods:")[0] + methods)
    assert main(["reproduce", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "cell low-rank-g3-r1_4-b4-s0 of grid mine cannot be run: layer" in told
    assert "groups (=3) must divide its 16 input channels" in told
    assert not (tmp_path / "out").exists()


def test_a_mistyped_source_of_data_is_told_of_and_not_recorded(finished, tmp_path, capsys):
    out = tmp_path / "smoke"
    shutil.copytree(finished, out)
    arguments = [
        "reproduce",
        "smoke",
        "--out",
        str(out),
        "--time-limit",
        "0",
        "--data",
        str(tmp_path / "typo"),
    ]
    assert main(arguments) == 0
    assert "against the data, which cannot be read: data folder" in capsys.readouterr().err
    assert json.loads((out / "grid.json").read_text())["data"] == "digits"


def test_a_failed_cell_is_listed_and_the_others_go_on(finished, tmp_path, capsys):
    """One cell's folder holds another run, one is not begun: the rest is written, the exit code says it."""
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    broken, left = (out / "cells" / SMOKE.cells[index].name for index in (1, 2))
    (broken / "result.json").unlink()
    write_typed(broken / "run.json", "rankfold.run", 1, {"identity": {"model": "another"}})
    shutil.rmtree(left)
    assert main(["reproduce", "smoke", "--out", str(out), "--time-limit", "0"]) == 0
    assert "6 of 8 cells are done, 0 failed, 2 are left" in capsys.readouterr().out
    assert main(["reproduce", "smoke", "--out", str(out), "--threads", "1"]) == 1
    told = capsys.readouterr().out
    assert "7 of 8 cells are done, 1 failed, 0 are left" in told
    assert f"failed: {broken.name}: {broken} already holds a different run" in told
    assert (left / "result.json").exists()
    assert {row.cell for row in read_table(out / "cells.csv")} == {cell.name for cell in SMOKE.cells} - {
        broken.name
    }


def test_runs_of_another_grid_are_refused(finished, tmp_path, capsys):
    assert main(["reproduce", "smoke", "--out", str(finished), "--epochs", "3"]) == 2
    assert "holds the results of another grid (other recipe); use another folder" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["reproduce", "smoke", "--out", str(tmp_path)]) == 2
    assert "is not empty and holds no grid" in capsys.readouterr().err
    name = SMOKE.cells[0].name
    shutil.copytree(finished / "cells" / name, tmp_path / "moved" / "cells" / name)
    grid = replace(SMOKE, cells=SMOKE.cells[:1], recipe=replace(SMOKE.recipe, peak_rate=0.01))
    (outcome,) = reproduce(grid, tmp_path / "moved", Silent(), time_limit=0)
    assert outcome.error is not None and "holds a run with another peak_rate; move it away" in outcome.error
    # Such as a part of the data set that was tried first, under the same name.
    record = tmp_path / "moved" / "cells" / name / "result.json"
    digest = json.loads(record.read_text())["data"]["digest"]
    record.write_text(record.read_text().replace(digest, digest[::-1]))
    grid = replace(grid, recipe=SMOKE.recipe)
    (outcome,) = reproduce(grid, tmp_path / "again", Silent(), time_limit=0)
    assert outcome.error is None
    shutil.copytree(tmp_path / "moved" / "cells", tmp_path / "again" / "cells")
    (outcome,) = reproduce(grid, tmp_path / "again", Silent(), time_limit=0)
    assert outcome.error is not None and "holds a run with another data set; move it away" in outcome.error
    # What was trained on data that are not there any more is counted all the same.
    elsewhere = replace(grid, data=str(tmp_path / "moved away"))
    (outcome,) = reproduce(elsewhere, tmp_path / "again", Silent(), time_limit=0)
    assert outcome.done


def test_a_run_of_levels_that_its_cells_lack_is_refused(finished, tmp_path):
    """As the older ones of 3 bits; here 4-bit weights leave out a level that cells of two bits have."""
    cell = next(cell for cell in SMOKE.cells if cell.bits == 4)
    grid = replace(SMOKE, cells=(cell,))
    folder = tmp_path / "out" / "cells" / cell.name
    reproduce(grid, tmp_path / "out", Silent(), time_limit=0)
    shutil.copytree(finished / "cells" / cell.name, folder)
    (outcome,) = reproduce(grid, tmp_path / "out", Silent(), time_limit=0)
    assert outcome.error is None
    plan = Plan.load(folder / "plan.json")
    replace(plan, layers=tuple(replace(layer, narrow_weights=True) for layer in plan.layers)).save(
        folder / "plan.json"
    )
    (outcome,) = reproduce(grid, tmp_path / "out", Silent(), time_limit=0)
    assert outcome.error is not None and "holds a run with another range of weight levels" in outcome.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paper"], "unknown grid paper; known are headlines-resnet20-cifar10, "),
        (
            ["smoke", "--time-limit", "soon"],
            "time (=soon) must be hours, minutes and seconds such as 2h, 1h30m or 45s, or 0",
        ),
        (["smoke", "--seeds", "3"], "seeds (=3) must lie between 1 and the 2 of grid smoke"),
        (["smoke", "--gpus", "1"], "gpus (=1) belong to the tasks of --ray"),
        (["smoke", "--data", "nowhere/at/all"], "nowhere/at/all"),
        (["smoke", "--threads", "0", "--ray", "local"], "threads (=0) must be 1 or more"),
        (["smoke", "--ray", "nonsense"], "no Ray cluster at nonsense: "),
        (["smoke", "--ray", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1: "),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, capsys):
    try:
        code = main(["reproduce", *arguments, "--out", str(tmp_path / "out")])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_times():
    texts = ("0", "45", "45s", "90m", "2h", "1h30m5s")
    assert [time_limit(text) for text in texts] == [0, 45, 45, 5400, 7200, 5405]
    for wrong in ("1d", "1h30", "2m5", ""):  # 1h30 may be meant for minutes
        with pytest.raises(InputError, match="must be hours, minutes and seconds"):
            time_limit(wrong)
    with pytest.raises(InputError, match=r"cores \(=0\) must be 1 or more"):
        RayRunner("local", cores=0)


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["reproduce", "smoke", "--ray", "local", "--out", str(tmp_path / "out")]) == 2
    assert "work on a cluster needs Ray: pip install 'rankfold[cluster]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker to kill in /proc")
def test_a_cluster_survives_the_death_of_a_worker(finished, tmp_path, cluster_address, capsys):
    """A worker is killed within a cell: Ray runs it again, and all numbers are those of the plain loop."""
    # Two of the cells are enough to lose one and go on.
    names = [cell.name for cell in SMOKE.cells[:2]]
    out = tmp_path / "ray"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns(*names, "cells.csv"))
    records = [out / "cells" / name / "run.json" for name in names]
    with a_worker_is_killed("run_cell", lambda: any(record.exists() for record in records)) as killed:
        assert main(["reproduce", "smoke", "--out", str(out), "--ray", cluster_address]) == 0
    assert len(killed) == 1 and not is_alive(killed[0])
    told = capsys.readouterr()
    assert "6 of 8 cells are done already" in told.err
    assert "8 of 8 cells are done, 0 failed, 0 are left" in told.out
    assert read_table(out / "cells.csv") == read_table(finished / "cells.csv")


def test_a_local_cluster_is_one_of_its_own_without_a_dashboard(monkeypatch):
    asked = []
    monkeypatch.setattr(
        ray_cluster, "load_ray", lambda: SimpleNamespace(init=lambda **given: asked.append(given))
    )
    RayRunner("local").connect()
    RayRunner("auto").connect()
    assert [(given["address"], given["include_dashboard"]) for given in asked] == [
        (None, False),
        ("auto", None),
    ]


def test_a_gpu_holds_as_many_tasks_as_have_their_share_of_it():
    machine = {"CPU": 16.0, "GPU": 1.0}
    shares = (0.1, 0.2, 0.3, 0.5, 1.0)
    assert [RayRunner("auto", gpus=share)._slots_of(machine) for share in shares] == [10, 5, 3, 2, 1]


def test_a_cluster_whose_machines_are_too_small_is_told_of(tmp_path, monkeypatch):
    """Two machines of one core have two cores, and hold no cell of two."""
    monkeypatch.setattr(cluster, "GROWTH", 0)
    machine = {"Alive": True, "Resources": {"CPU": 1.0}}
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    task = SimpleNamespace(options=lambda **_: None)
    ray = SimpleNamespace(nodes=lambda: [machine, machine, gone], remote=lambda _: task)
    work = Work(SMOKE, tmp_path, None, "cpu")
    runner = RayRunner("auto", cores=2)
    with pytest.raises(InputError, match="at auto has the 2 cores that each cell needs; ask for fewer"):
        list(runner._run(ray, work, SMOKE.cells, lambda: True, Silent()))
    assert list(RayRunner("auto", cores=2)._run(ray, work, SMOKE.cells, lambda: False, Silent())) == []
