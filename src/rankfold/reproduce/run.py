"""Running a grid: what is done is skipped, what fails is listed, and everything measured is written down."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import rankfold
from rankfold.errors import InputError
from rankfold.files import is_vacant, read_json, remove_strays, write_json
from rankfold.models.pretrained import shipped_baseline
from rankfold.reproduce.grid import Cell, Grid
from rankfold.reproduce.measure import Measurement, measure
from rankfold.runs.compress import compress, device_name, train_baseline
from rankfold.runs.result import Result
from rankfold.runs.settings import CompressSettings, Observer
from rankfold.training.data import load_images
from rankfold.training.loop import choose_device

TYPE, VERSION = "rankfold.reproduction", 1


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: rows, or the error that ended it; neither where the budget left no time for it."""

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

    def __call__(self, cell: Cell, observer: Observer | None = None) -> Outcome:
        """Run the cell; whatever goes wrong becomes part of the outcome."""
        folder = cell_folder(self.out, cell)
        try:
            compress(self.grid.settings(cell, folder, self.checkpoint, self.device), observer)
            return Outcome(cell, measure(cell, folder, self.grid.arrays))
        except Exception as error:  # a cell of a long grid may fail in any way, and the others go on
            return Outcome(cell, error=in_words(error))


class Runner(Protocol):
    """Runs cells somewhere, in about the given order, and yields each when it ends."""

    def __call__(self, work: Work, cells: Sequence[Cell], go_on: Callable[[], bool], observer: Observer) -> Iterator[Outcome]:
        """Begin no more cells once `go_on` is False."""


def reproduce(grid: Grid, out: Path, observer: Observer, budget: float | None = None, device: str = "auto",
              runner: Runner | None = None) -> tuple[Outcome, ...]:  # fmt: skip
    """Train every cell of a grid into `out/cells` and map it for every array of the grid.

    Cells that are done are not done again, one that was stopped goes on from its last epoch, and one that fails does not stop
    the others.

    Args:
        grid: what to run.
        out: the folder of the results.
        observer: hears of the progress.
        budget: seconds after which no cell is begun any more; 0 only measures what is there; None: no limit.
        device: `auto`, `cpu`, `cuda`, ...
        runner: where the cells run; None: here, one after another.

    Returns:
        What became of each cell, in the grid's order.

    Raises:
        InputError: `out` holds another grid, or data or baseline are wrong.
    """
    start = time.monotonic()
    _claim(grid, out, device)
    outcomes = {cell: _finished(grid, cell, out) for cell in grid.cells}
    left = [cell for cell in grid.cells if not outcomes[cell].done and outcomes[cell].error is None]
    ready = len(grid.cells) - len(left)
    if ready:
        observer.note(f"{ready} of {len(grid.cells)} cells are done already")
    if left and (budget is None or time.monotonic() - start < budget):
        checkpoint = _baseline(grid, out, device, observer)
        work = Work(grid, out, checkpoint, device)
        numbers = {cell: number for number, cell in enumerate(grid.cells, start=1)}
        for outcome in (runner or one_by_one)(work, left, lambda: budget is None or time.monotonic() - start < budget, observer):
            outcomes[outcome.cell] = outcome
            words = f"failed: {outcome.error}" if outcome.error else f"{outcome.rows[0].accuracy:.2%}"
            observer.note(f"[{numbers[outcome.cell]}/{len(grid.cells)}] {outcome.cell.name}: {words}")
    return tuple(outcomes.values())


def one_by_one(work: Work, cells: Sequence[Cell], go_on: Callable[[], bool], observer: Observer) -> Iterator[Outcome]:
    """The runner of a single machine."""
    for cell in cells:
        if not go_on():
            return
        observer.note(f"-- {cell.name}")
        yield work(cell, observer)


def in_words(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def cell_folder(out: Path, cell: Cell) -> Path:
    """The run folder of a cell."""
    return out / "cells" / cell.name


def _finished(grid: Grid, cell: Cell, out: Path) -> Outcome:
    """What is there of a cell already."""
    path = cell_folder(out, cell) / "result.json"
    if path.parent.is_dir():
        remove_strays(path.parent)  # a finished cell is not claimed again
    if not path.exists():
        return Outcome(cell)
    try:
        recipe, settings = Result.load(path).recipe, grid.settings(cell, path.parent, None)
        wanted = asdict(settings.recipe)
        other = sorted(name for name in ("epochs", "batch_size", "peak_rate", "seed") if recipe[name] != wanted[name])
        if recipe.get("distillation_weight", 0.0) != (settings.teaching.weight if settings.teaching else 0.0):
            other.append("distillation")
        if other:
            raise InputError(f"{path.parent} holds a run with another {', '.join(other)}; move it away")
        return Outcome(cell, measure(cell, path.parent, grid.arrays))
    except InputError as error:
        return Outcome(cell, error=str(error))


def _claim(grid: Grid, out: Path, device: str) -> None:
    """Take `out` for the grid, and write down what made the results."""
    path = out / "grid.json"
    made = {
        "grid": grid.name, "model": grid.model, "array": str(grid.array), "recipe": asdict(grid.recipe),
        "baseline_recipe": asdict(grid.baseline_recipe),
    }  # fmt: skip
    if path.exists():
        content = read_json(path)
        there = content if isinstance(content, dict) else {}
        other = [key for key, value in made.items() if there.get(key) != value]
        if other:
            raise InputError(f"{out} holds the results of another grid (other {', '.join(other)}); use another folder")
    elif not is_vacant(out, besides=("cells",)):
        raise InputError(f"{out} is not empty and holds no grid; use an empty or a new folder")
    if out.is_dir():
        remove_strays(out)
    packages = ("torch", "numpy", "datasets")
    versions: dict[str, Any] = {"rankfold": rankfold.__version__, "python": platform.python_version()}
    versions |= {package: metadata.version(package) for package in packages}
    write_json(
        path,
        {
            "_type": TYPE, "_version": VERSION, **made, "data": grid.data, "arrays": [str(array) for array in grid.arrays],
            "cells": [cell.name for cell in grid.cells], "device": device_name(choose_device(device)), "versions": versions,
        },
    )  # fmt: skip


def _baseline(grid: Grid, out: Path, device: str, observer: Observer) -> Path | None:
    """The weights that all cells start from: shipped ones (None), or trained once."""
    data = load_images(grid.data)
    if shipped_baseline(grid.model, data.classes, data.input_size) is not None:
        return None
    folder = out / "baseline"
    observer.note("-- the dense network")
    settings = CompressSettings(
        grid.model, grid.data, folder, grid.array, baseline_recipe=grid.baseline_recipe, device=device, resume=True,
        command=f"rankfold reproduce {grid.name}",
    )  # fmt: skip
    train_baseline(settings, observer)
    return folder / "model.safetensors"
