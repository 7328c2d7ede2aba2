"""A Pareto front as numbers: every point in a CSV file, about twenty of them in a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rankfold.files import replacing
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY
from rankfold.report.pareto.view import FAMILIES, FrontView


def write_csv(path: str | Path, view: FrontView) -> None:
    """Write every point of the front atomically to `path`, by rising cost.

    Columns: cycles, share of what the dense network costs in the front's quantity, arrays, energy in nJ where it was counted,
    predicted loss in nats, and for each layer what it becomes.

    Raises:
        InputError: the file cannot be written.
    """
    energy = ("energy_nj",) if view.has_energy else ()
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        quantity = view.front.quantity
        csv.writer(file, lineterminator="\n").writerow(
            ["cycles", f"share_of_dense_{quantity}", "arrays", *energy, "predicted_loss", *view.names]
        )
        # No number or structure needs quotes; looking for what does would take longer than all the rest.
        file.writelines(f"{','.join(row)}\n" for row in zip(*_columns(view), strict=True))


def _columns(view: FrontView) -> Iterator[list[str]]:
    """Text of each column, made for all points at once: there may be 100,000."""
    front = view.front
    yield [f"{cycles:.0f}" for cycles in front.totals(CYCLES).tolist()]
    yield [f"{view.share(cost):.6g}" for cost in front.costs.tolist()]
    yield [f"{arrays:.0f}" for arrays in front.totals(ARRAYS).tolist()]
    if view.has_energy:
        yield [f"{1e-3 * energy:.6g}" for energy in front.totals(ENERGY).tolist()]
    yield [f"{loss:.9g}" for loss in front.losses.tolist()]
    for structures, picks in zip(view.structures, front.picks.T, strict=True):
        yield np.array(structures, dtype=object)[picks].tolist()


def table_headers(view: FrontView) -> list[str]:
    """Titles of the columns of `table_rows`."""
    energy = ["energy, nJ"] if view.has_energy else []
    return ["cycles", f"of dense{'' if view.front.quantity == CYCLES else f' {view.front.quantity}'}", "arrays", *energy,
            "predicted loss", *FAMILIES]  # fmt: skip


def table_rows(view: FrontView, most: int) -> list[list[str]]:
    """At most `most` points of the front by rising cost; the last cells count the layers of each family."""
    front = view.front
    quantities = (CYCLES, ARRAYS, ENERGY) if view.has_energy else (CYCLES, ARRAYS)
    totals = {quantity: front.totals(quantity) for quantity in quantities}
    rows = []
    for point in front.thinned(most).tolist():
        energy = [f"{1e-3 * totals[ENERGY][point]:,.1f}"] if view.has_energy else []
        rows.append(
            [f"{totals[CYCLES][point]:,.0f}", f"{100 * view.share(front.costs[point]):.1f} %", f"{totals[ARRAYS][point]:,.0f}",
             *energy, f"{front.losses[point]:.4f}", *(str(count or "") for count in view.families(front.chosen(point)))]
        )  # fmt: skip
    return rows
