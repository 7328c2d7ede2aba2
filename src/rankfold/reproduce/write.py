"""The files of a reproduction, from the outcomes of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankfold.files import write_json, write_text
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.plan import SharedSupport
from rankfold.reproduce.cell import Outcome
from rankfold.reproduce.figure import figure
from rankfold.reproduce.grid import Grid
from rankfold.reproduce.headline import ROW_SPARSE, Point, average
from rankfold.reproduce.measure import TABLE, Measurement, write_table
from rankfold.reproduce.summary import headline_tables, headlines, headlines_to_json
from rankfold.reproduce.tables import energy_table, low_rank_tables, published_table, support_table

SPARSE_METHODS = (ROW_SPARSE, SharedSupport.name)


def write_results(grid: Grid, out: Path, outcomes: Sequence[Outcome]) -> tuple[Path, ...]:
    """Write `cells.csv`, `headlines.json`, `tables.md` and `accuracy-cycles.svg` of all cells that are done.

    Where any of them is row-sparse or has a shared support, `headlines-row-sparse.json` too.

    Returns:
        The files; none where no cell is done.
    """
    # Of a grid that is under way too: each call writes what is known by then.
    rows: list[Measurement] = []
    for outcome in outcomes:
        rows += outcome.rows
    if not rows:
        return ()
    # The table first: all else can be made of it again.
    write_table(out / TABLE, rows)
    points = average(rows)
    found = headlines(points)
    write_json(out / "headlines.json", headlines_to_json(found))
    names = [TABLE, "headlines.json", "tables.md", "accuracy-cycles.svg"]
    sections = {
        "Headlines": headline_tables(found),
        "Low-rank": low_rank_tables(points),
        "The published reading: 3x3 layers of stride 1, no padding": published_table(points),
        f"Energy with SDK, nJ per image, {_technology(grid)}": energy_table(points),
    }
    # Papers have no such method; grids without it get no empty section.
    if any(point.method in SPARSE_METHODS for point in points):
        sparse = headlines(points, ROW_SPARSE)
        write_json(out / "headlines-row-sparse.json", headlines_to_json(sparse))
        names.append("headlines-row-sparse.json")
        tables = f"{support_table(points)}\n{headline_tables(sparse, ROW_SPARSE)}"
        sections["Kernel positions that all outputs share"] = tables
    parts = [f"# {grid.name}", _how(grid, outcomes, points, rows)]
    for title, text in sections.items():
        if text:
            parts.append(f"## {title}\n\n{text.strip()}")
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    title = f"{grid.model}, fine-tuned for {_epochs(rows)}"
    write_text(out / "accuracy-cycles.svg", figure(points, title))
    return tuple(out / name for name in names)


def _how(
    grid: Grid,
    outcomes: Sequence[Outcome],
    points: Sequence[Point],
    rows: Sequence[Measurement],
) -> str:
    """How the numbers were made, in two sentences."""
    done = sum(outcome.done for outcome in outcomes)
    return (
        f"{grid.model}, {done} of {len(outcomes)} cells of the grid `{grid.name}`, "
        f"{_epochs(rows)} of fine-tuning, {_seeds(points)} a point. "
        "Only measured points are compared; nothing is interpolated."
    )


def _seeds(points: Sequence[Point]) -> str:
    counts = sorted({point.seeds for point in points})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds"
    if counts == [1]:
        return "1 seed"
    return f"{counts[0]} seeds"


def _epochs(rows: Sequence[Measurement]) -> str:
    epochs = sorted({row.epochs for row in rows})
    if epochs == [1]:
        return "1 epoch"
    return f"{' and '.join(map(str, epochs))} epochs"


def _technology(grid: Grid) -> str:
    """What energy is counted for: hardware by its name, the default one by its component table."""
    if grid.hardware == DEFAULT_HARDWARE:
        return grid.hardware.technology
    return grid.hardware.name
