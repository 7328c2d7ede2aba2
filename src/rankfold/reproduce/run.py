"""Running a grid: what is done is skipped, what fails is listed, and everything measured is written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from rankfold import run_files
from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.machine import hardware_to_json
from rankfold.models.load import check_name, load_model
from rankfold.models.pretrained import shipped_baseline
from rankfold.progress import Progress
from rankfold.records.claim import Claim
from rankfold.records.typed import write_typed
from rankfold.reproduce.cell import Outcome, Work, check_hardware, check_settings, finished, has_result
from rankfold.reproduce.grid import Cell, Grid
from rankfold.runs.record import device_name, versions
from rankfold.runs.state import RunNotes
from rankfold.runs.train import train_network
from rankfold.training.data import check_source, load_images
from rankfold.training.device import choose_device

TYPE, VERSION = "rankfold.reproduction", 1
MARKER = "grid.json"
BASELINE = "baseline"  # folder of the dense network, beside the cells
# The marker is a record of the grid too, so the identity is not nested: other values may change.
CLAIM = Claim(
    TYPE,
    VERSION,
    other="holds the results of another grid (other {keys})",
    same="holds the results of this grid",
    elsewhere="use another folder",
    nested=False,
)


class Runner(Protocol):
    """Runs cells somewhere, in about the given order, and yields each when it ends."""

    def __call__(
        self,
        work: Work,
        cells: Sequence[Cell],
        go_on: Callable[[], bool],
        progress: Progress,
    ) -> Iterator[Outcome]:
        """Begin no more cells once `go_on` is False."""


def reproduce(
    grid: Grid,
    out: Path,
    progress: Progress,
    *,
    time_limit: float | None = None,
    device: str = "auto",
    runner: Runner | None = None,
    captured: bool = False,
) -> tuple[Outcome, ...]:
    """Train every cell of a grid into `out/cells` and map it for every array of the grid.

    Cells that are done are not done again, one that was stopped goes on from its last epoch, and one that
    fails does not stop the others.

    Args:
        grid: what to run.
        out: the folder of the results.
        progress: hears how far the work is.
        time_limit: seconds after which no cell is begun any more; 0: only measure; None: no limit.
        device: `auto`, `cpu`, `cuda`, ...
        runner: where the cells run; None: here, one after another.
        captured: train the dense network by static steps, on a GPU one CUDA graph each.

    Returns:
        What became of each cell, in the grid's order.

    Raises:
        InputError: `out` holds another grid, or cells that were planned for other hardware; a cell has a
            setting that no layer can have; or data or baseline are wrong.
    """
    start = time.monotonic()

    def go_on() -> bool:
        # Monotonic: a clock that is set while cells run must not end the work.
        return time_limit is None or time.monotonic() - start < time_limit

    # Where data or the network's name are wrong no new folder is left: the marker in it would refuse the same
    # grid with the right ones.
    if not (out / MARKER).exists():
        check_name(grid.model)
        check_source(grid.data, None)
    # Before anything is written: tables without these cells would be left.
    check_hardware(grid, out)
    unfinished = [cell for cell in grid.cells if not has_result(cell, out)]
    if unfinished and (go_on() or not (out / MARKER).exists()):
        check_settings(grid, unfinished)
    # Before any cell: the results of two grids in one folder could not be told apart.
    claim(grid, out, device)
    data = _digest(grid.data, progress)
    outcomes = {cell: finished(grid, cell, out, data) for cell in grid.cells}
    waiting = []
    for cell, outcome in outcomes.items():
        # A cell whose folder holds another run stays an error until somebody moves it away.
        if not outcome.done and outcome.error is None:
            waiting.append(cell)
    number = len(grid.cells)
    ready = number - len(waiting)
    if ready:
        progress.note(f"{ready} of {number} cells are done already")
    if waiting and go_on():
        work = Work(grid, out, dense_network(grid, out, device, progress, captured), device)
        # The place in the grid and not in the queue: the numbers stay the same from call to call.
        places = {cell: place for place, cell in enumerate(grid.cells, start=1)}
        # Cells may end in another order than they began.
        for outcome in (runner or one_by_one)(work, waiting, go_on, progress):
            outcomes[outcome.cell] = outcome
            place = f"[{places[outcome.cell]}/{number}]"
            words = _in_words(outcome)
            progress.note(f"{place} {outcome.cell.name}: {words}")
    return tuple(outcomes.values())


def _digest(source: str, progress: Progress) -> str | None:
    """That of the data; None: they are not there any more, and it is told that runs on them count without."""
    try:
        return load_images(source).digest
    except InputError as error:
        progress.note(f"finished cells are not checked against the data, which cannot be read: {error}")
        return None


def one_by_one(
    work: Work,
    cells: Sequence[Cell],
    go_on: Callable[[], bool],
    progress: Progress,
) -> Iterator[Outcome]:
    """The runner of a single machine."""
    for cell in cells:
        if not go_on():
            return
        progress.note(f"-- {cell.name}")
        yield work(cell, progress)


def _in_words(outcome: Outcome) -> str:
    if outcome.error:
        return f"failed: {outcome.error}"
    return f"{outcome.rows[0].accuracy:.2%}"


def claim(grid: Grid, out: Path, device: str) -> None:
    """Take `out` for the grid, and write down what made the results.

    Raises:
        InputError: `out` holds another grid.
    """
    identity = {
        "grid": grid.name,
        "model": grid.model,
        "array": str(grid.array),
        "recipe": asdict(grid.recipe),
        "baseline_recipe": asdict(grid.baseline_recipe),
    }
    # Always resumed: cells are skipped, finished or begun, whatever an earlier call left.
    CLAIM.folder(out, MARKER, identity, True, work="grid", besides=("cells",))
    # Written again each time: cells, arrays and data may be more than they were.
    record = {
        **identity,
        "data": _data_of(grid, out / MARKER),
        "arrays": [str(array) for array in grid.arrays],
        "hardware": hardware_to_json(grid.hardware),
        "cells": [cell.name for cell in grid.cells],
        "device": device_name(choose_device(device)),
        "versions": versions(),
    }
    write_typed(out / MARKER, TYPE, VERSION, record)


def _data_of(grid: Grid, marker: Path) -> str:
    """The source of the data, for the record: what the folder has, where there are none of that name."""
    try:
        check_source(grid.data, None)
    except InputError:
        return str(read_json(marker).get("data", grid.data))
    return grid.data


def has_dense_network(grid: Grid, out: Path) -> bool:
    """Whether the weights that all cells start from are shipped, or trained in `out` already.

    Args:
        grid: whose cells.
        out: the folder of its results.

    Raises:
        InputError: data are wrong.
    """
    data = load_images(grid.data)
    if shipped_baseline(grid.model, data.classes, data.input_size) is not None:
        return True
    return (out / BASELINE / run_files.RESULT).exists()


def dense_network(
    grid: Grid, out: Path, device: str, progress: Progress, captured: bool = False
) -> Path | None:
    """The weights that all cells start from: shipped ones (None), or trained once, or taken up.

    Args:
        grid: whose cells.
        out: the folder of its results.
        device: `auto`, `cpu`, `cuda`, ...
        progress: hears of each epoch.
        captured: train by static steps.

    Raises:
        InputError: training diverged, or data are wrong.
    """
    data = load_images(grid.data)
    if shipped_baseline(grid.model, data.classes, data.input_size) is not None:
        return None
    # Once for all cells, which would else train the same network each.
    folder = out / BASELINE
    progress.note("-- the dense network")
    recipe = grid.baseline_recipe
    train_network(
        load_model(grid.model, len(data.classes), data.input_size[0], recipe.seed, image=data.input_size),
        data,
        recipe,
        out=folder,
        name=grid.model,
        array=grid.array,
        notes=RunNotes(grid.command),
        device=device,
        resume=True,
        progress=progress,
        captured=captured,
    )
    return folder / run_files.WEIGHTS
