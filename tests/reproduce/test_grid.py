"""Grids: the package's own, and wrong ones."""

from collections import Counter
from dataclasses import replace

import pytest

from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.machine import hardware_text, load_hardware
from rankfold.plan import LowRank, Pairs, Pairs2024, Quantise, SharedSupport, WindowLowRank, Windows
from rankfold.plan.methods import settings
from rankfold.plan.uniform import uniform_plan
from rankfold.reproduce.grid import Cell, grid_names, load_grid
from rankfold.runs.recipes import effective
from rankfold.training.distillation import Distillation
from rankfold.workload import zoo_network

GOOD = """
model: resnet8
data: digits
array: 32x32
arrays: [32x32]
seeds: [0]
recipe: {epochs: 1}
baseline_recipe: {epochs: 1}
methods:
  - {method: low-rank, groups: [1, 4], rank: ["1/8", 2], bits: [4, null]}
"""
RANKS = 'low-rank, groups: [1, 4], rank: ["1/8", 2]'


def test_the_grid_of_the_paper():
    grid = load_grid("resnet20-cifar10")
    assert [str(array) for array in grid.arrays] == ["32x32", "64x64", "128x128", "256x256"]
    first = [cell for cell in grid.cells if cell.seed == 0]
    assert grid.cells[: len(first)] == tuple(first) and len(grid.cells) == 3 * len(first)
    low_rank = {(cell.groups, cell.rank) for cell in first if cell.method == "low-rank"}
    assert low_rank == {(g, r) for g in (1, 2, 4, 8) for r in ("1/2", "1/4", "1/8", "1/16")}
    for method in ("patdnn", "pairs"):
        assert [cell.entries for cell in first if cell.method == method] == [1, 2, 3, 4, 6, 8]
    assert [cell.bits for cell in first if cell.method == "quantise"] == [1, 2, 3, 4]


def test_the_grid_for_a_processor_has_what_can_be_spared_least():
    grid = load_grid("resnet20-cifar10-cpu")
    assert {(cell.groups, cell.rank) for cell in grid.cells if cell.method == "low-rank"} == {
        (g, r) for g in (1, 4) for r in ("1/2", "1/4", "1/8", "1/16")
    }
    first = [cell for cell in grid.cells if cell.seed == 0]
    for method in ("patdnn", "pairs"):
        assert sorted(cell.entries for cell in first if cell.method == method) == [1, 2, 4, 6]
    assert sorted(cell.bits for cell in grid.cells if cell.method == "quantise") == [2, 3, 4]


def chosen(cells, method, *names):
    """The settings of the cells of a method that have them, as sets of values or of tuples of them."""
    found = set()
    for cell in cells:
        if cell.method == method and cell.settings.keys() >= set(names):
            values = tuple(cell.settings[name] for name in names)
            found.add(values if len(names) > 1 else values[0])
    return found


@pytest.mark.parametrize(
    ("name", "epochs"), [("headlines-resnet20-cifar10", 20), ("headlines-resnet20-cifar10-cpu", 6)]
)
def test_the_headlines_on_cifar10(name, epochs):
    grid = load_grid(name)
    cells = [cell for cell in grid.cells if cell.seed == 0]
    assert (grid.model, grid.data) == ("resnet20", "uoft-cs/cifar10") and grid.recipe.epochs == epochs
    assert {cell.bits for cell in cells if cell.method == "quantise"} == {4, 3, 2}
    assert chosen(cells, "low-rank", "groups", "rank") == {
        (g, r) for g in (1, 4, 8) for r in ("1/2", "1/4", "1/8")
    }
    pruned = ("pairs", "pairs-2023", "pairs-2024", "patdnn", "patdnn-channel", "support")
    for method in pruned:
        assert chosen(cells, method, "entries") == {6, 4, 2, 1}
    assert chosen(cells, "window", "row_tiles") == {1, 2, 3, 4, 5}
    assert len(chosen(cells, "planned", "max_cycles")) == 5
    assert len(cells) == 3 + 9 + 6 * 4 + 5 + 5
    check_all_alike(grid, cells)


@pytest.mark.parametrize(
    ("name", "epochs", "plans", "energies"),
    [("headlines-wrn16-4-cifar100", 20, 3, {"2085nJ"}), ("headlines-wrn16-4-cifar100-cpu", 3, 4, set())],
)
def test_the_headlines_on_cifar100(name, epochs, plans, energies):
    grid = load_grid(name)
    cells = [cell for cell in grid.cells if cell.seed == 0]
    assert (grid.model, grid.data) == ("wrn16-4", "uoft-cs/cifar100") and grid.recipe.epochs == epochs
    assert [str(array) for array in grid.arrays] == ["64x64", "128x128", "256x256", "512x512"]
    assert {cell.bits for cell in cells if cell.method == "quantise"} == {4}
    assert chosen(cells, "low-rank", "groups", "rank") == {
        (g, r) for g in (1, 4) for r in ("1/4", "1/8", "1/16")
    }
    pruned = ("pairs", "pairs-2023", "pairs-2024", "patdnn", "patdnn-channel")
    for method in pruned:
        assert chosen(cells, method, "entries") == {4, 2, 1}
    assert len(chosen(cells, "window", "row_tiles")) == 3
    assert len(chosen(cells, "planned", "max_cycles")) == plans
    assert chosen(cells, "planned", "max_energy") == energies
    assert len(cells) == 1 + 6 + 5 * 3 + 3 + plans + len(energies)
    check_all_alike(grid, cells)


def test_one_epoch_of_what_the_largest_headlines_come_from():
    """Cells of the larger grid, three seeds of its plans and of what they are held against; and a plan beside
    uniform windows, one with rounding counted, and one for an energy under three seeds.
    """
    short, whole = load_grid("wrn16-4-cifar100-one-epoch"), load_grid("headlines-wrn16-4-cifar100-cpu")
    assert (short.model, short.data, short.array) == (whole.model, whole.data, whole.array)
    assert short.recipe == replace(whole.recipe, epochs=1)
    assert (short.arrays, short.baseline_recipe) == (whole.arrays, whole.baseline_recipe)
    own = {cell.name: cell for cell in set(short.cells) - set(whole.cells)}
    assert sorted(own) == [
        "planned-c8192-d0.9-b4-s0",
        "planned-c9856-roundingcounted-d0.9-b4-s0",
        "planned-energy2085nJ-bits2-8-d0.9-b4-s0",
        "planned-energy2085nJ-bits2-8-d0.9-b4-s1",
        "planned-energy2085nJ-bits2-8-d0.9-b4-s2",
    ]
    network = zoo_network("wrn16-4", (3, 32, 32))
    windows = uniform_plan(network, short.array, Windows(row_tiles=2), mapping="best", bits=4)
    needed = network_cycles(network, windows).chosen_cycles
    assert own["planned-c8192-d0.9-b4-s0"].settings["max_cycles"] == needed
    again = {cell.name for cell in short.cells if cell.seed == 2}
    assert again == {
        "planned-c8832-d0.9-b4-s2",
        "pairs-2023-e4-d0.9-b4-s2",
        "planned-c9856-d0.9-b4-s2",
        "pairs-e4-d0.9-b4-s2",
        "planned-energy2085nJ-bits2-8-d0.9-b4-s2",
    }


def test_three_epochs_of_the_networks_behind_headlines_on_cifar100():
    """Cells of the grid of one epoch, as they are there but for the epochs."""
    long, short = load_grid("wrn16-4-cifar100-three-epochs"), load_grid("wrn16-4-cifar100-one-epoch")
    assert (long.model, long.data, long.array) == (short.model, short.data, short.array)
    assert (long.arrays, long.baseline_recipe) == (short.arrays, short.baseline_recipe)
    assert long.recipe == replace(short.recipe, epochs=3)
    assert set(long.cells) <= set(short.cells)


def test_six_epochs_of_the_networks_behind_headlines_on_cifar10():
    """Cells of the larger grid but for plans, which have fewer cycles than uniform windows of two tiles."""
    short, whole = load_grid("resnet20-cifar10-six-epochs"), load_grid("headlines-resnet20-cifar10-cpu")
    assert (short.model, short.data, short.array) == (whole.model, whole.data, whole.array)
    assert (short.arrays, short.baseline_recipe) == (whole.arrays, whole.baseline_recipe)
    assert replace(short.recipe, peak_rate=whole.recipe.peak_rate) == whole.recipe
    plans = set(short.cells) - set(whole.cells)
    assert {cell.method for cell in plans} == {"planned"}
    network = zoo_network("resnet20", (3, 32, 32))
    windows = uniform_plan(network, short.array, Windows(row_tiles=2), mapping="best", bits=4)
    needed = network_cycles(network, windows).chosen_cycles
    assert all(cell.settings["max_cycles"] < needed for cell in plans)
    trained = Counter(replace(cell, seed=0).name for cell in short.cells)
    assert sorted(trained.values()) == [1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3]


def check_all_alike(grid, cells):
    """Three seeds of every cell, one after the other; the same teacher for all; 4 bits but for dense ones."""
    assert [cell.seed for cell in grid.cells] == [seed for seed in (0, 1, 2) for _ in cells]
    for seed in (1, 2):
        again = [cell for cell in grid.cells if cell.seed == seed]
        assert [replace(cell, seed=0) for cell in again] == cells
    assert {cell.distil for cell in cells} == {0.9}
    assert {cell.bits for cell in cells if cell.method != "quantise"} == {4}


def test_the_grid_of_least_energy():
    """Three seeds of the plan and of the dense network that it is held against."""
    grid = load_grid("resnet20-cifar10-energy")
    assert (str(grid.array), grid.recipe.epochs) == ("128x128", 20)
    assert {cell.distil for cell in grid.cells} == {0.9}
    trained = Counter(replace(cell, seed=0).name for cell in grid.cells)
    assert trained == {
        "planned-energy335nJ-bits2-8-d0.9-b4-s0": 3,
        "quantise-d0.9-b4-s0": 3,
        "quantise-d0.9-b3-s0": 1,
        "quantise-d0.9-b2-s0": 1,
        "planned-energy484nJ-bits2-8-d0.9-b4-s0": 1,
    }


def test_budgets_of_headlines_are_what_windows_need():
    """Three plans on CIFAR-100, and four on CIFAR-10, have the cycles that a row of windows has."""
    for name, size in (("headlines-resnet20-cifar10", 4), ("headlines-wrn16-4-cifar100", 3)):
        grid = load_grid(name)
        network = zoo_network(grid.model, (3, 32, 32))
        cells = [cell for cell in grid.cells if cell.seed == 0]
        needed = set()
        for row_tiles in chosen(cells, "window", "row_tiles"):
            plan = uniform_plan(network, grid.array, Windows(row_tiles=row_tiles), bits=4)
            needed.add(network_cycles(network, plan).chosen_cycles)
        assert len(needed & chosen(cells, "planned", "max_cycles")) == size


def test_every_grid_loads_and_names_are_folders():
    assert {"smoke", "resnet20-cifar10", "resnet20-cifar10-cpu"} <= set(grid_names())
    for name in grid_names():
        cells = load_grid(name).cells
        assert len({cell.name for cell in cells}) == len(cells)
        assert all("/" not in cell.name for cell in cells)
    assert Cell("low-rank", 2, None, groups=4, rank="1/8").name == "low-rank-g4-r1_8-float-s2"
    assert Cell("pairs", 0, 4, entries=2, block=16).name == "pairs-e2-block16-b4-s0"


def test_a_grid_of_ones_own(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    grid = load_grid(str(path))
    assert grid.name == "mine"
    assert [(cell.groups, cell.rank, cell.bits) for cell in grid.cells[:3]] == [
        (1, "1/8", 4),
        (1, "1/8", None),
        (1, "2", 4),
    ]
    assert grid.recipe_of(replace(grid.cells[0], seed=7)).seed == 7
    assert grid.cells[0].setting() == LowRank(rank="1/8", groups=1, force=True)
    assert grid.command == f"rankfold reproduce {path}"


def test_a_grid_names_hardware_that_lies_beside_it(tmp_path):
    (tmp_path / "own.yaml").write_text(hardware_text("rram-22nm"))
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "hardware: own.yaml\n")
    assert load_grid(str(path)).hardware.array == load_hardware("rram-22nm").array


def test_cells_with_and_without_distillation(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("bits: [4, null]", "bits: [4], distil: [0, 0.9]"))
    grid = load_grid(str(path))
    assert [cell.name for cell in grid.cells[:2]] == [
        "low-rank-g1-r1_8-d0-b4-s0",
        "low-rank-g1-r1_8-d0.9-b4-s0",
    ]
    effects = [effective(cell.distillation, grid.recipe) for cell in grid.cells[:2]]
    assert effects == [None, Distillation(0.9)]
    assert Cell("quantise", 0, 4).distillation is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model: resnet8\n", ""), "at top level: 'model' is a required property"),
        (("epochs: 1}\nbase", "epoch: 1}\nbase"), "at recipe: 'epochs' is a required property"),
        (("low-rank, groups", "svd, groups"), "at methods/0/method: 'svd' is not one of"),
        (("bits: [4, null]", "bits: [9]"), "at methods/0/bits/0: 9 is greater than the maximum of 8"),
        (("array: 32x32\n", "array: 32\n"), "at array: 32 is not of type 'string'"),
        (("arrays: [32x32]", "arrays: [32y32]"), r"array \(=32y32\) must be rows x columns"),
        (
            ("low-rank, groups", "quantise, groups"),
            r"rank \(=1/8\) does not go with method quantise|groups \(=1\) does not go",
        ),
        (('rank: ["1/8", 2], ', ""), "method low-rank needs rank, such as 1/8"),
        (
            ("bits: [4, null]", "bits: [4], distil: [0, 0.0]"),
            "cell low-rank-g1-r1_8-d0.0-b4-s0 is there twice",
        ),
        (("groups: [1, 4]", "groups: [1, 1]"), "cell low-rank-g1-r1_8-b4-s0 is there twice; keep one"),
        (
            ("bits: [4, null]", "bits: [4], distil: [2]"),
            "at methods/0/distil/0: 2 is greater than the maximum of 1",
        ),
        ((RANKS, "planned, max_energy: [335]"), r"max_energy \(=335\) must be a text .*, such as 335nJ"),
        ((RANKS, 'planned, max_energy: ["335"]'), r"budget of energy \(=335\) must be a positive amount"),
        ((RANKS, 'planned, max_energy: ["0nJ"]'), r"budget of energy \(=0nJ\) must be a positive amount"),
        ((RANKS, 'planned, layer_bits: ["2-8"]'), "a plan needs a budget: max_cycles, max_energy, or both"),
        (
            (RANKS, "planned, max_energy: [335nJ], layer_bits: [1-9]"),
            r"layer bits \(=1-9\) must be widths from 2 to 8",
        ),
        (
            (RANKS, "planned, max_energy: [335nJ], layer_bits: [2-8]"),
            "layer_bits stand beside bits of the network, such as 4, not beside null",
        ),
        (("model: resnet8", "model: ["), "is not valid YAML"),
    ],
)
def test_wrong_grids_are_refused_with_the_place(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(InputError, match=message):
        load_grid(str(path))


def test_cells_may_keep_only_some_positions(tmp_path):
    methods = """methods:
  - {method: low-rank, groups: [4], rank: ["1/4"], bits: [4]}
  - {method: low-rank, groups: [4], rank: ["1/4"], entries: [4, 2], bits: [4]}
  - {method: support, entries: [4], bits: [null]}
"""
    (tmp_path / "own.yaml").write_text(GOOD.partition("methods:")[0] + methods)
    grid = load_grid(str(tmp_path / "own.yaml"))
    names = [
        "low-rank-g4-r1_4-b4-s0",
        "low-rank-g4-r1_4-e4-b4-s0",
        "low-rank-g4-r1_4-e2-b4-s0",
        "support-e4-float-s0",
    ]
    assert [cell.name for cell in grid.cells] == names
    assert grid.cells[1].setting() == LowRank(rank="1/4", groups=4, entries=4, force=True)
    assert grid.cells[3].setting() == SharedSupport(4)
    assert Cell("pairs", 0, 4, entries=2, block=16).setting() == Pairs(2, block=16)
    assert Cell("pairs-2024", 0, 4, entries=6).setting() == Pairs2024(6)
    assert Cell("patdnn-layer", 0, 4, entries=6).name == "patdnn-layer-e6-b4-s0"
    assert Cell("quantise", 0, 4).setting() == Quantise()


def test_windows_of_a_grid_are_those_of_the_command_line(tmp_path):
    methods = """methods:
  - {method: window, row_tiles: [2], window: [auto, 2x3], bits: [4]}
"""
    (tmp_path / "own.yaml").write_text(GOOD.partition("methods:")[0] + methods)
    cells = load_grid(str(tmp_path / "own.yaml")).cells[:2]
    assert [cell.name for cell in cells] == ["window-k2-wauto-b4-s0", "window-k2-w2x3-b4-s0"]
    assert [cell.setting() for cell in cells] == [Windows(row_tiles=2), Windows(row_tiles=2, window=(2, 3))]
    # Rows of low-rank pairs of windows need not be given.
    methods = """methods:
  - {method: window-low-rank, rank: [1/4], bits: [4]}
  - {method: window-low-rank, rank: [8], row_tiles: [2], window: [2x2], bits: [4]}
"""
    (tmp_path / "pairs.yaml").write_text(GOOD.partition("methods:")[0] + methods)
    pairs = load_grid(str(tmp_path / "pairs.yaml")).cells
    wanted = [WindowLowRank(rank="1/4"), WindowLowRank(rank="8", row_tiles=2, window=(2, 2))]
    assert [cell.setting() for cell in pairs] == wanted
    cells = [*cells, *pairs]
    # A table of results that is read back names the same cells.
    known = settings()
    for cell in cells:
        assert {name: known[name].in_grids(str(value)) for name, value in cell.others} == dict(cell.others)


def test_grids_that_are_not_there():
    with pytest.raises(InputError, match=r"unknown grid paper; known are .*smoke.*, or give a \.yaml file"):
        load_grid("paper")
    with pytest.raises(InputError, match=r"grid none\.yaml cannot be read"):
        load_grid("none.yaml")


def test_a_method_may_have_seeds_of_its_own(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text(GOOD + "  - {method: pairs, entries: [4], bits: [4], seeds: [0, 1, 2]}\n")
    cells = load_grid(str(path)).cells
    assert [cell.seed for cell in cells if cell.method == "pairs"] == [0, 1, 2]
    assert {cell.seed for cell in cells if cell.method == "low-rank"} == {0}
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
