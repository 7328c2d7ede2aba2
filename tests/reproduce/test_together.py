"""Cells of a grid that are trained several at a time."""

import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from rankfold.cli.main import main
from rankfold.cost.energy import hardware_table, network_energy
from rankfold.errors import InputError
from rankfold.machine import load_hardware
from rankfold.models.load import load_model
from rankfold.plan import Plan, uniform_plan
from rankfold.plan.methods import Planned
from rankfold.planning import best_plan
from rankfold.planning.exact import Budget
from rankfold.planning.exact.widths import BitChoices
from rankfold.progress import Silent
from rankfold.reproduce import planned, together
from rankfold.reproduce.cell import Work
from rankfold.reproduce.grid import load_grid
from rankfold.reproduce.measure import read_table
from rankfold.reproduce.pricing import price_again
from rankfold.reproduce.together import TogetherRunner, run_group
from rankfold.runs.baseline import dense_weights
from rankfold.runs.result import Result
from rankfold.runs.state import traced
from rankfold.training.data import load_images
from rankfold.workload import zoo_network

pytestmark = pytest.mark.usefixtures("few_digits")

CPU = torch.device("cpu")
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
    quick = partial(best_plan, kinds=["low-rank"], images=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planned, "best_plan", quick)
        assert main([*words, "--threads", "1"]) == 0
    return folder


def test_all_cells_are_trained_by_captured_steps(done):
    grid = load_grid(str(done / "mine.yaml"))
    for cell in grid.cells:
        result = Result.load(done / "out" / "cells" / cell.name / "result.json")
        assert "captured" not in result.device  # as nothing is on a processor
        assert not (done / "out" / "cells" / cell.name / "checkpoint.pt").exists()
        assert result.planned_cycles <= 300 or cell.method == "quantise"
    # One plan for all seeds of the cell.
    plans = sorted((done / "out" / "plans").iterdir())
    assert [path.name for path in plans] == ["c300-b4.origin.json", "c300-b4.plan.json"]
    assert any(layer.kind.changes_weight for layer in Plan.load(plans[1]).layers)
    rows = read_table(done / "out" / "cells.csv")
    assert {row.settings.get("max_cycles") for row in rows} == {None, 300}
    assert (done / "out" / "cells.csv").exists()


def test_a_table_with_plans_is_priced_without_its_runs(done, tmp_path):
    """A plan says itself what was found on data; without it nothing is priced."""
    grid = load_grid(str(done / "mine.yaml"))
    out = tmp_path / "out"
    shutil.copytree(done / "out", out, ignore=shutil.ignore_patterns("cells"))
    rows = read_table(out / "cells.csv")
    again = [row for outcome in price_again(grid, out, Silent()) for row in outcome.rows]
    assert again == list(rows)
    (out / "plans" / "c300-b4.plan.json").unlink()
    with pytest.raises(InputError, match=r"cell planned-c300.* has a plan that was made on images, and "):
        price_again(grid, out, Silent())


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
        return begin(self, cell, progress)

    def trained(states, backend):
        assert len(states) == 1 and backend is None
        return [InputError("the loss became nan")]

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
        return [InputError("no time")] * len(states)

    monkeypatch.setattr(together, "fine_tune_together", trained)
    cells = [replace(grid.cells[0], seed=seed) for seed in (2, 3)]
    assert all(outcome.error == "no time" for outcome in run_group(work, cells, Silent()))
    first, second = seen
    assert first is second


def test_a_device_that_fails_ends_the_cells_of_its_group_alone(done, monkeypatch):
    grid = load_grid(str(done / "mine.yaml"))
    work = Work(grid, done / "out", done / "out" / "baseline" / "model.safetensors", "cpu")

    def failing(states, backend):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(together, "fine_tune_together", failing)
    cells = [replace(grid.cells[0], seed=seed) for seed in (4, 5)]
    outcomes = list(run_group(work, cells, Silent()))
    assert [(outcome.cell, outcome.error) for outcome in outcomes] == [
        (cell, "RuntimeError: CUDA error") for cell in cells
    ]


def test_a_plan_of_other_data_or_weights_is_refused(done, tmp_path):
    grid = load_grid(str(done / "mine.yaml"))
    data = load_images("digits")
    model = load_model("resnet8", 10, 1, 0)
    shutil.copytree(done / "out" / "plans", tmp_path / "plans")
    cell = grid.cells[1]

    def again(data, bits=4):
        network = traced(model, data, "resnet8")
        return planned.planned(
            cell.setting(),
            model,
            data,
            network,
            grid.array,
            hardware=grid.hardware,
            bits=bits,
            out=tmp_path,
            device=CPU,
        )

    with pytest.raises(InputError, match=r"c300-b4\.plan\.json was made of other weights; give the weights"):
        again(data)
    dense_weights("resnet8", data, done / "out" / "baseline" / "model.safetensors").load_(model)
    assert again(data) == Plan.load(done / "out" / "plans" / "c300-b4.plan.json")
    with pytest.raises(InputError, match="was made of other data"):
        again(replace(data, digest="other"))
    (tmp_path / "plans" / "c300-b4.origin.json").unlink()
    with pytest.raises(InputError, match=r"nothing says of what .* was made"):
        again(data)


CYCLES = Budget.parse("cycles", "300")
EACH = BitChoices.parse("2-8/4")


@pytest.mark.parametrize(
    ("bits", "asked", "budgets", "name"),
    [
        ((4, 8), {"max_cycles": 300}, [CYCLES], "c300-b4x8"),
        ((4, 4), {"max_cycles": 300}, [CYCLES], "c300-b4"),
        ((4, 4), {"max_cycles": 300, "rounding": "counted"}, [CYCLES], "c300-b4-rounding-counted"),
        (None, {"max_cycles": 300}, [CYCLES], "c300-float"),
        ((4, 4), {"max_energy": "40%"}, [Budget("energy", 0.4, True)], "energy40%-b4"),
        (
            (4, 4),
            {"max_cycles": 300, "max_energy": "1.5uJ", "layer_bits": "2-8/4"},
            [CYCLES, Budget("energy", 1.5e6)],
            "c300-energy1.5uJ-b4-bits2-8_4",
        ),
    ],
)
def test_plans_are_made_for_what_a_grid_asks_and_named_by_it(
    bits, asked, budgets, name, done, tmp_path, monkeypatch
):
    grid = load_grid(str(done / "mine.yaml"))
    data, model = load_images("digits"), load_model("resnet8", 10, 1, 0)
    network = traced(model, data, "resnet8")
    made = uniform_plan(network, grid.array, bits=bits)
    calls = []

    def best_plan(model, data, array, *budgets, layer_bits, count_rounding, **named):
        calls.append((array, list(budgets), layer_bits, count_rounding))
        return SimpleNamespace(plan=made)

    monkeypatch.setattr(planned, "best_plan", best_plan)
    hardware = load_hardware("sram-32nm")
    for _ in range(2):  # made, and read
        plan = planned.planned(
            Planned(**asked),
            model,
            data,
            network,
            grid.array,
            hardware=hardware,
            bits=bits,
            out=tmp_path,
            device=CPU,
        )
        assert plan == made
    # Cycles are of whole weights, energy is of cells and converters.
    machine = hardware.altered(rows=32, columns=32) if "max_energy" in asked else grid.array
    layer_bits = EACH if "layer_bits" in asked else None
    assert calls == [(machine, budgets, layer_bits, "rounding" in asked)]
    assert sorted(path.name for path in (tmp_path / "plans").iterdir()) == [
        f"{name}.origin.json",
        f"{name}.plan.json",
    ]


def test_rounding_is_counted_or_nothing_is_said():
    with pytest.raises(InputError, match=r"rounding \(=the text 'x'\) must be `counted`, or not be given"):
        Planned(max_cycles=300, rounding="x")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "a plan needs a budget: max_cycles, max_energy, or both"),
        ({"max_cycles": 0}, r"max_cycles \(=0\) must be 1 or more"),
        ({"max_energy": 335}, r"max_energy \(=335\) must be a text without spaces, such as 335nJ"),
        ({"max_energy": "335 nJ"}, r"max_energy \(=the text '335 nJ'\) must be a text without spaces"),
        (
            {"max_energy": "335nJ", "layer_bits": [2, 4]},
            r"layer_bits \(=a list\) must be a text without spaces, such as 2-8",
        ),
        ({"max_cycles": 9, "layer_bits": "2-8"}, "layer_bits need max_energy, such as 335nJ"),
        (
            {"max_energy": "335nJ", "layer_bits": "2-8", "rounding": "counted"},
            "with layer_bits rounding is counted in any case; omit rounding",
        ),
    ],
)
def test_a_plan_that_cannot_be_asked_for(asked, message):
    with pytest.raises(InputError, match=message):
        Planned(**asked)


def test_a_plan_for_an_energy_is_trained_and_kept_to_its_hardware(done, tmp_path, capsys):
    """Bits of each layer, within the budget; on other hardware the budget would be another."""
    grid = tmp_path / "mine.yaml"
    method = '{method: planned, max_energy: ["60%"], layer_bits: ["2-4"], bits: [4], distil: [0.9]}'
    grid.write_text(GRID[: GRID.index("  - {")] + f"  - {method}\n")
    out = tmp_path / "out"
    shutil.copytree(done / "out", out, ignore=shutil.ignore_patterns("cells"))
    words = ["reproduce", str(grid), "--out", str(out), "--threads", "1"]
    quick = partial(best_plan, kinds=[], images=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planned, "best_plan", quick)
        assert main(words) == 0
    (cell,) = load_grid(str(grid)).cells
    assert cell.name == "planned-energy60%-bits2-4-d0.9-b4-s0"
    plan = Plan.load(out / "plans" / "energy60%-b4-bits2-4.plan.json")
    assert {layer.weight_bits for layer in plan.layers} > {4}
    network = zoo_network("resnet8", plan.input)
    table = hardware_table(plan.machine)
    dense = uniform_plan(network, plan.machine, mapping="best", bits=4)
    energy, most = (network_energy(network, one, table).energy for one in (plan, dense))
    assert energy <= 0.6 * most
    text = (out / "tables.md").read_text()
    assert "| plan, energy = 60%, bits = 2-4, distilled = 0.9, 4 bits and others |" in text
    table = (out / "cells.csv").read_bytes()
    elsewhere = [*words, "--hardware", "sram-32nm"]
    assert main(elsewhere) == 2
    told = capsys.readouterr().err
    assert f"{cell.name} was planned for hardware default with" in told and "this is sram-32nm with" in told
    assert (out / "cells.csv").read_bytes() == table
    plan_file = out / "cells" / cell.name / "plan.json"
    kept = plan_file.read_bytes()
    plan_file.write_text("{")
    assert main(elsewhere) == 1  # the cell's error alone, as on any hardware
    assert str(plan_file) in capsys.readouterr().out
    plan_file.write_bytes(kept)
    # The hardware of the grid by its name, which leaves less open than the grid does.
    assert main([*words, "--hardware", "default"]) == 0
    shutil.rmtree(out / "cells")
    assert main(elsewhere) == 1
    assert "was made for other hardware; give the hardware of before, or remove" in capsys.readouterr().out
    # What was trained is priced there all the same, of its plan, and drawn as it was.
    assert main([*elsewhere, "--price-again"]) == 0
    assert {row.hardware for row in read_table(out / "cells.csv")} == {"sram-32nm"}
    assert main([*words, "--price-again"]) == 0
    assert (out / "cells.csv").read_bytes() == table
    assert main([*words, "--redraw"]) == 0
    assert (out / "tables.md").read_text() == text


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
            ["reproduce", "smoke", "--fuse", "--together", "2", "--device", "cpu"],
            "--fuse compiles for GPUs; omit it on a processor",
        ),
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
