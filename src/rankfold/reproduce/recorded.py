"""The cells of a table that is kept, where the folders of their runs are not."""

from __future__ import annotations

from pathlib import Path

from rankfold.errors import InputError
from rankfold.reproduce.cell import Outcome
from rankfold.reproduce.grid import Grid
from rankfold.reproduce.measure import TABLE, Measurement, read_table


def recorded_outcomes(grid: Grid, out: Path) -> tuple[Outcome, ...]:
    """The rows of each cell of a grid, in its order; a cell that the table lacks has none.

    Args:
        grid: that the table is of.
        out: the folder of its results; the runs themselves are not needed.

    Raises:
        InputError: there is no such table, or it holds a cell that the grid does not have.
    """
    rows: dict[str, list[Measurement]] = {cell.name: [] for cell in grid.cells}
    for row in read_table(out / TABLE):
        if row.cell not in rows:
            raise InputError(f"{out / TABLE} has a cell {row.cell}, which grid {grid.name} does not have")
        rows[row.cell].append(row)
    return tuple(Outcome(cell, tuple(rows[cell.name])) for cell in grid.cells)
