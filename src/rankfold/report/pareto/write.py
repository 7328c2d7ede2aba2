"""What is written of a Pareto front: a CSV file, a picture, an interactive page, a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankfold.files import write_text
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan.prediction import NATS
from rankfold.planning.exact import Candidate, Front
from rankfold.records.text_table import format_table
from rankfold.report.pareto.chart import picture
from rankfold.report.pareto.page import page
from rankfold.report.pareto.table import (
    table_headers,
    table_rows,
    write_points,
)
from rankfold.report.pareto.view import FrontView, checked, setting_in_words


def write_front(
    out: str | Path,
    front: Front,
    network: str,
    array: ArraySpec,
    dense: Sequence[Candidate],
    chosen: Sequence[Candidate] | None = None,
    *,
    hardware: Hardware = DEFAULT_HARDWARE,
    unit: str = NATS,
) -> tuple[Path, ...]:
    """Write `front.csv`, `front.html` and `front.svg` into a folder, each atomically.

    Args:
        out: the folder, made where it is missing.
        front: all best trades.
        network: the network's name, for titles.
        array: R x C, for titles.
        dense: every layer kept as it is, in the front's order.
        chosen: every layer of the plan that was made, if one was.
        hardware: what energy is counted for, which every file names.
        unit: of losses.

    Returns:
        The files written.

    Raises:
        InputError: a point costs nothing, or a file cannot be written.
        ValueError: `dense` or `chosen` has other layers than the front.
    """
    plan = None
    if chosen is not None:
        plan = tuple(chosen)
    setting = setting_in_words(network, array, dense)
    view = FrontView(checked(front), tuple(dense), plan, setting, hardware.name, unit)
    # Made before anything is written: all files or none.
    texts = {"front.html": page(view), "front.svg": picture(view)}
    folder = Path(out)
    write_points(folder / "front.csv", view)
    for name, text in texts.items():
        write_text(folder / name, text)
    return (folder / "front.csv", *(folder / name for name in texts))


def front_table(front: Front, dense: Sequence[Candidate], most: int = 20) -> str:
    """At most `most` points of the front as a table, by rising cost; the last columns count layers.

    Args:
        front: all best trades.
        dense: every layer kept as it is, in the front's order; shares are of its cost.
        most: rows, both ends of the front among them.

    Raises:
        ValueError: `dense` has other layers than the front.
    """
    view = FrontView(front, tuple(dense))
    headers = table_headers(view)
    return format_table(headers, table_rows(view, most), ">" * len(headers))
