"""A Pareto front as numbers: every point in a CSV file, about twenty of them in a table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.quantities import KNOWN, spoken
from rankfold.records.csv_table import is_plain, write_csv
from rankfold.report.kinds import families
from rankfold.report.pareto.columns import (
    LOSS_DIGITS,
    cost_cells,
    cost_column,
    loss_column,
    number_column,
    word_column,
)
from rankfold.report.pareto.view import FrontView, amounts, column


def write_points(path: str | Path, view: FrontView) -> None:
    """Write every point of the front atomically to `path`, by rising cost.

    Columns: cycles, share of what the dense network costs in the front's quantity, arrays, energy in nJ where
    it was counted, the front's quantity where it is another one, predicted loss, for each layer what it
    becomes, and the name of the hardware.

    Raises:
        InputError: the file cannot be written.
    """
    header = [column(quantity) for quantity in view.told]
    header.insert(1, f"share_of_dense_{view.front.quantity}")
    header.append(loss_column(view.unit))
    header.extend(view.names)
    header.append("hardware")
    hardware = [view.hardware] * len(view.front)
    columns = [*_number_columns(view), *_structure_columns(view), hardware]
    rows = zip(*columns, strict=True)
    write_csv(path, header, rows, plain=_is_plain(view))


def _is_plain(view: FrontView) -> bool:
    """Whether no cell needs a look. Numbers never do, and rows consist of few different structures."""
    words = {*chain.from_iterable(view.structures), view.hardware}
    return all(map(is_plain, words))


def _number_columns(view: FrontView) -> Iterator[list[str]]:
    front = view.front
    for quantity in view.told:
        yield cost_column(quantity, front.totals(quantity))
        if quantity == CYCLES:
            shares = [view.share(cost) for cost in front.costs.tolist()]
            yield number_column(shares, ".6g")
    yield number_column(front.losses, LOSS_DIGITS)


def _structure_columns(view: FrontView) -> Iterator[list[str]]:
    """What each layer becomes."""
    for structures, picks in zip(view.structures, view.front.picks.T, strict=True):
        yield word_column(structures, picks)


def table_headers(view: FrontView) -> list[str]:
    """Titles of the columns of `table_rows`."""
    share = "of dense"
    if view.front.quantity != CYCLES:
        share += f" {spoken(view.front.quantity)}"
    headers = [KNOWN[quantity].title for quantity in view.told]
    headers.insert(1, share)
    return [*headers, "predicted loss", *families()]


def table_rows(view: FrontView, most: int) -> list[list[str]]:
    """At most `most` points of the front by rising cost; the last cells count the layers of each family."""
    front = view.front
    totals = {quantity: amounts(quantity, front.totals(quantity)) for quantity in view.told}
    rows = []
    for point in front.thinned(most).tolist():
        share = view.share(front.costs[point])
        row = cost_cells(totals, point)
        row.insert(1, f"{100 * share:.1f} %")
        row.append(f"{front.losses[point]:.4f}")
        row += _counts(view, point)
        rows.append(row)
    return rows


def _counts(view: FrontView, point: int) -> list[str]:
    """How many layers are of each family; nothing for none, so that the others are seen."""
    cells = []
    for count in view.families(view.front.chosen(point)):
        cells.append(str(count or ""))
    return cells
