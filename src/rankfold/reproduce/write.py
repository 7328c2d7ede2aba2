"""The files of a reproduction, from the outcomes of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rankfold.files import write_json, write_text
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.plan import LowRank
from rankfold.reproduce.cell import Outcome
from rankfold.reproduce.figure import figure
from rankfold.reproduce.grid import Grid
from rankfold.reproduce.headline import Point, average
from rankfold.reproduce.least_energy import SAVINGS, Saving, savings, savings_table, savings_to_json
from rankfold.reproduce.measure import TABLE, Measurement, write_table
from rankfold.reproduce.summary import (
    OURS,
    Headlines,
    headline_tables,
    headlines,
    headlines_to_json,
)
from rankfold.reproduce.tables import (
    BEST,
    best_table,
    energy_table,
    low_rank_tables,
    published_table,
    support_table,
)

TEXT, PICTURE = "tables.md", "accuracy-cycles.svg"
# The mappings that energies are shown by. A plan for an energy has each layer under the mapping of least
# energy, which may be another one than that of fewest cycles.
ENERGY_BY = {"im2col": "im2col", "sdk": "SDK", BEST: "the mapping of fewest cycles of each layer"}


def write_results(grid: Grid, out: Path, outcomes: Sequence[Outcome]) -> tuple[Path, ...]:
    """Write `cells.csv`, `headlines.json`, `tables.md` and `accuracy-cycles.svg` of all cells that are done.

    Headlines of low-rank are always written, those of our other methods (`OURS`) where any cell is of them,
    and `headlines-energy.json` where a dense network of some bits is. Those of before that are of no cell any
    more are removed.

    Returns:
        The files; none where no cell is done.
    """
    # Of a grid that is under way too: each call writes what is known by then.
    rows: list[Measurement] = []
    for outcome in outcomes:
        rows += outcome.rows
    if not rows:
        return ()
    points = average(rows)
    found = {method: headlines(points, method) for method in _ours(points)}
    saved = savings(points)
    # All of it is made before any is written: what fails leaves no new table beside an old picture.
    text = _markdown(grid, outcomes, points, rows, found, saved)
    drawn = figure(points, f"{grid.model}, fine-tuned for {_epochs(rows)}")
    # The table first: all else can be made of it again.
    write_table(out / TABLE, rows)
    for method, lines in found.items():
        write_json(out / OURS[method], headlines_to_json(lines))
    names = [TABLE, *(OURS[method] for method in found)]
    if saved:
        write_json(out / SAVINGS, savings_to_json(saved))
        names.append(SAVINGS)
    # Of cells that were there before.
    for name in (*OURS.values(), SAVINGS):
        if name not in names:
            (out / name).unlink(missing_ok=True)
    write_text(out / TEXT, text)
    write_text(out / PICTURE, drawn)
    return tuple(out / name for name in (*names, TEXT, PICTURE))


def _markdown(
    grid: Grid,
    outcomes: Sequence[Outcome],
    points: Sequence[Point],
    rows: Sequence[Measurement],
    found: Mapping[str, Headlines],
    saved: Sequence[Saving],
) -> str:
    """All tables, one section each; those without any row are left out."""
    sections = {
        "All networks: cycles by the best mapping of each layer": best_table(points),
        "The published reading: 3x3 layers of stride 1, no padding": published_table(points),
        **_energies(points, _technology(rows)),
        "Low-rank": low_rank_tables(points),
        "Kernel positions that all outputs share": support_table(points),
        f"Headlines: energy, {_technology(rows)}": savings_table(saved),
    }
    # Last, as they are the longest: a line for each opponent, array and mapping.
    measured = {point.method for point in points}
    for method, lines in found.items():
        if lines or method in measured:
            sections[f"Headlines: {method}"] = headline_tables(lines, method)
    parts = [f"# {grid.name}", _how(grid, outcomes, points, rows)]
    for title, text in sections.items():
        if text:
            parts.append(f"## {title}\n\n{text.strip()}")
    return "\n\n".join(parts) + "\n"


def _energies(points: Sequence[Point], technology: str) -> dict[str, str]:
    """A section for each of the mappings that energies are compared by."""
    sections = {}
    for mapping, words in ENERGY_BY.items():
        sections[f"Energy with {words}, nJ per image, {technology}"] = energy_table(points, mapping)
    return sections


def _ours(points: Sequence[Point]) -> list[str]:
    """The methods that get headlines: low-rank, which the claim is of, and those of ours that have points."""
    present = {point.method for point in points}
    return [method for method in OURS if method == LowRank.name or method in present]


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


def _technology(rows: Sequence[Measurement]) -> str:
    """What energy is counted for: hardware by its name, the default one by its component table."""
    names = sorted({row.hardware for row in rows})
    if names == [DEFAULT_HARDWARE.name]:
        return DEFAULT_HARDWARE.technology
    return ", ".join(names)
