"""`Work`: one cell of a grid, trained and mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from rankfold import run_files
from rankfold.cost.energy.chosen_table import array_with_cells, completed
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.load import load_model
from rankfold.plan import Plan
from rankfold.plan.methods import Planned
from rankfold.progress import Progress
from rankfold.reproduce.grid import Cell, Grid
from rankfold.reproduce.measure import Measurement, measure, sized
from rankfold.reproduce.planned import figures_of, planned
from rankfold.runs.baseline import dense_weights
from rankfold.runs.choices import RunChoices
from rankfold.runs.prepare import prepare
from rankfold.runs.recipes import effective
from rankfold.runs.result import Result
from rankfold.runs.run import Begun, begin, finish
from rankfold.runs.state import RunNotes, RunState, traced
from rankfold.surgery.methods import plan_of
from rankfold.temporaries import remove_strays
from rankfold.training.data import ImageData, load_images
from rankfold.training.device import choose_device
from rankfold.training.recipe import Recipe
from rankfold.workload import Network

COMPARED = ("epochs", "batch_size", "peak_rate", "seed")  # parts of a recipe that make a run another one


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: rows, or the error that ended it; neither where there was no time for it."""

    cell: Cell
    rows: tuple[Measurement, ...] = ()
    error: str | None = None

    @property
    def done(self) -> bool:
        """Whether it has been trained and mapped."""
        return bool(self.rows)


@dataclass(frozen=True)
class Work:
    """Trains and maps one cell; it can be sent to another process.

    Attributes:
        grid: the grid.
        out: the folder of the results, which every process must see.
        checkpoint: weights of the dense network; None: shipped ones.
        device: as in `reproduce`.
    """

    grid: Grid
    out: Path
    checkpoint: Path | None
    device: str

    def __call__(self, cell: Cell, progress: Progress | None = None) -> Outcome:
        """Run the cell; whatever goes wrong becomes part of the outcome."""
        try:
            # A cell that is complete is not trained again: the run finds its own result.
            finish(self.begin(cell, progress, captured=False))
            return self.measured(cell)
        except Exception as error:  # a cell of a long grid may fail in any way, and the others go on
            return Outcome(cell, error=in_words(error))

    def begin(self, cell: Cell, progress: Progress | None = None, *, captured: bool = True) -> Begun:
        """The run of a cell up to its fine-tuning, which captured steps shall do or ordinary ones.

        Raises:
            InputError: the cell cannot be run, or its folder holds another run.
        """
        return begin(self._prepared(cell, progress, captured), cell_folder(self.out, cell), resume=True)

    def measured(self, cell: Cell) -> Outcome:
        """The rows of a cell whose run is complete.

        Raises:
            InputError: its folder is damaged.
        """
        folder = cell_folder(self.out, cell)
        return Outcome(cell, measure(cell, folder, self.grid.arrays, self.grid.hardware))

    def _prepared(self, cell: Cell, progress: Progress | None, captured: bool) -> RunState:
        """The run of a cell, of which nothing is done yet."""
        grid = self.grid
        recipe = grid.recipe_of(cell)
        data = load_images(grid.data)
        model = load_model(
            grid.model, len(data.classes), data.input_size[0], recipe.seed, image=data.input_size
        )
        choices = RunChoices(
            baseline=dense_weights(grid.model, data, self.checkpoint, grid.baseline_recipe),
            distillation=cell.distillation,
            notes=RunNotes(grid.command),
            device=self.device,
            progress=progress,
            captured=captured,
        )
        return prepare(model, data, self._plan(cell, model, data, choices), recipe, choices)

    def _plan(self, cell: Cell, model: nn.Module, data: ImageData, choices: RunChoices) -> Plan:
        """The plan of a cell; one that is made on images is made for the dense weights, which are loaded."""
        network = traced(model, data, self.grid.model)
        method = cell.setting()
        if not isinstance(method, Planned):
            return cell_plan(cell, model, network, self.grid.array)
        assert choices.baseline is not None  # `_prepared` chose it
        choices.baseline.load_(model)
        return planned(
            method,
            model,
            data,
            network,
            self.grid.array,
            hardware=self.grid.hardware,
            bits=cell.bits,
            out=self.out,
            device=choose_device(self.device),
            progress=choices.progress,
        )


def cell_plan(cell: Cell, model: nn.Module, network: Network, array: ArraySpec) -> Plan:
    """The plan of a cell for a network on an array.

    Raises:
        InputError: a layer cannot have the cell's setting.
        MissingDependencyError: channels are to be chosen and torch-pruning is not installed.
    """
    return plan_of(cell.setting(), model, network, array, bits=cell.bits)


def has_result(cell: Cell, out: Path) -> bool:
    """Whether a run of the cell is complete in the folder of the results."""
    return (cell_folder(out, cell) / run_files.RESULT).exists()


def check_settings(grid: Grid, cells: Sequence[Cell]) -> None:
    """Refuse cells whose settings no layer of the network can have, before anything is trained.

    What plans for a budget, and those that look at weights, need is seen when their cells are run.

    Args:
        grid: its network, data and array.
        cells: those that are to be run.

    Raises:
        InputError: there is such a cell; the message names it. Or data or network are wrong.
    """
    data = load_images(grid.data)
    model = load_model(grid.model, len(data.classes), data.input_size[0], image=data.input_size)
    network = traced(model, data, grid.model)
    checked = set()
    for cell in cells:
        key = replace(cell, seed=0)
        if key in checked or cell.setting().maker or isinstance(cell.setting(), Planned):
            continue
        checked.add(key)
        try:
            cell_plan(cell, model, network, grid.array)
        except InputError as error:
            raise InputError(f"cell {cell.name} of grid {grid.name} cannot be run: {error}") from None


def finished(grid: Grid, cell: Cell, out: Path, data: str | None) -> Outcome:
    """What is there of a cell already.

    Args:
        grid: the grid.
        cell: the cell.
        out: the folder of the results.
        data: digest of the grid's data, where a run on others is an error; None: not known.
    """
    path = cell_folder(out, cell) / run_files.RESULT
    if path.parent.is_dir():
        remove_strays(path.parent)  # a finished cell is not claimed again
    if not path.exists():
        return Outcome(cell)
    try:
        # The name has the cell's setting; what the grid says for all cells is only in the result.
        result = Result.load(path)
        other = _differences(result, grid.recipe_of(cell), cell)
        if data is not None and result.data.digest != data:
            other.insert(0, "data set")
        if result.model != grid.model:
            other.insert(0, "network")
        if not _fits_its_cells(Plan.load(path.parent / run_files.PLAN)):
            other.append("range of weight levels")
        if other:
            raise InputError(f"{path.parent} holds a run with another {', '.join(other)}; move it away")
        return Outcome(cell, measure(cell, path.parent, grid.arrays, grid.hardware))
    except InputError as error:
        return Outcome(cell, error=str(error))


def _fits_its_cells(plan: Plan) -> bool:
    """Whether a network has the levels of weights that it would have today."""
    if not plan.quantised:
        return True
    return plan == plan.with_levels_for(array_with_cells(plan.machine))


def check_hardware(grid: Grid, out: Path) -> None:
    """Refuse hardware that has no prices for its cells, or that finished cells were not planned for: the next
    cells would have another plan.

    Plans for cycles are for any hardware.

    Args:
        grid: with the hardware that is asked for.
        out: the folder of the results.

    Raises:
        InputError: it cannot be priced, or a plan for an energy was made for other hardware.
    """
    completed(grid.hardware)
    wanted = sized(grid.hardware, grid.array)
    for cell in grid.cells:
        method = cell.setting()
        folder = cell_folder(out, cell)
        if not isinstance(method, Planned) or method.max_energy is None:
            continue
        if not has_result(cell, out):
            continue
        try:
            known = Plan.load(folder / run_files.PLAN).machine
        except InputError:
            continue  # a damaged folder is an error of its cell, which `finished` tells
        if figures_of(known) != figures_of(wanted):
            raise InputError(
                f"{folder} was planned for hardware {known.name}, and this is {wanted.name}; give the "
                "hardware of before, or another folder, or count it elsewhere by --price-again"
            )


def cell_folder(out: Path, cell: Cell) -> Path:
    """The run folder of a cell."""
    return out / "cells" / cell.name


def in_words(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    # A sentence of ours says what is wrong; of others the kind of error says as much as the words.
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text}"


def _differences(result: Result, recipe: Recipe, cell: Cell) -> list[str]:
    """In what a finished run is not the one that a cell asks for."""
    other = sorted(name for name in COMPARED if result.recipe[name] != getattr(recipe, name))
    weight = 0.0  # also of runs that are older than distillation
    distillation = effective(cell.distillation, recipe)
    if distillation is not None:
        weight = distillation.weight
    if result.recipe.get("distillation_weight", 0.0) != weight:
        other.append("distillation")
    return other
