"""The files of a reproduction, from the outcomes of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankfold.cost.energy import DEFAULT_TABLE
from rankfold.files import write_json, write_text
from rankfold.plan import SUPPORT
from rankfold.reproduce.figure import figure
from rankfold.reproduce.grid import Grid
from rankfold.reproduce.headline import ROW_SPARSE, average
from rankfold.reproduce.measure import write_table
from rankfold.reproduce.run import Outcome
from rankfold.reproduce.summary import (
    energy_table,
    headline_tables,
    headlines,
    headlines_to_json,
    low_rank_tables,
    support_table,
)


def write_results(grid: Grid, out: Path, outcomes: Sequence[Outcome]) -> tuple[Path, ...]:
    """Write `cells.csv`, `headlines.json`, `tables.md` and `accuracy-cycles.svg` of all cells that are done.

    Where any of them is row-sparse or has a shared support, `headlines-row-sparse.json` too.

    Returns:
        The files; none where no cell is done.
    """
    rows = [row for outcome in outcomes for row in outcome.rows]
    if not rows:
        return ()
    write_table(out / "cells.csv", rows)
    points = average(rows)
    found = headlines(points)
    write_json(out / "headlines.json", headlines_to_json(found))
    counts = sorted({point.seeds for point in points})
    seeds = f"{counts[0]} seed{'s' * (counts[0] != 1)}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    epochs = sorted({row.epochs for row in rows})
    trained = f"{' and '.join(map(str, epochs))} epoch{'s' * (epochs != [1])}"
    how = (
        f"{grid.model}, {sum(outcome.done for outcome in outcomes)} of {len(outcomes)} cells of the grid `{grid.name}`, "
        f"{trained} of fine-tuning, "
        f"{seeds} a point. Only measured points are compared; nothing is interpolated."
    )
    sections = {
        "Headlines": headline_tables(found),
        "Low-rank": low_rank_tables(points),
        f"Energy with SDK, nJ per image, {DEFAULT_TABLE}": energy_table(points),
    }
    names = ["cells.csv", "headlines.json", "tables.md", "accuracy-cycles.svg"]
    if any(point.kind in (ROW_SPARSE, SUPPORT) for point in points):
        sparse = headlines(points, ROW_SPARSE)
        write_json(out / "headlines-row-sparse.json", headlines_to_json(sparse))
        names.append("headlines-row-sparse.json")
        sections["Kernel positions that all outputs share"] = f"{support_table(points)}\n{headline_tables(sparse, ROW_SPARSE)}"
    parts = [f"# {grid.name}", how, *(f"## {title}\n\n{text.strip()}" for title, text in sections.items() if text)]
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    title = f"{grid.model}, fine-tuned for {trained}"
    write_text(out / "accuracy-cycles.svg", figure(points, title))
    return tuple(out / name for name in names)
