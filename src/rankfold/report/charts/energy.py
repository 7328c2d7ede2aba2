"""The chart of energy, stacked by the parts that use it: by layers for one run, by runs for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart, Key
from rankfold.report.charts.rows import BAR, SLIM, draw_ticks, rows_svg
from rankfold.report.numbers import nanojoules
from rankfold.report.palette import GREY, INK
from rankfold.report.runs import Run
from rankfold.report.tables import Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Parts by their names in component tables (see `cost.energy`).
ROWS = ("word_lines", "row_drivers", "row_latches", "dac")
COLUMNS = ("cells", "bit_lines", "column_mux")
SHIFTS = ("weight_shift_add", "input_shift_add")
DIGITAL = ("accumulators", "input_buffer", "output_buffer", "bus")

# Parts that stand side by side on an array share a colour (Okabe & Ito).
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADCs": ("#0072b2", ("adc",)),
    "word lines, drivers, DACs": ("#e69f00", ROWS),
    "cells, bit lines, column multiplexers": ("#56b4e9", COLUMNS),
    "shift-and-add": ("#009e73", SHIFTS),
    "accumulators, buffers, bus": ("#cc79a7", DIGITAL),
    "input steering": ("#d55e00", ("steering",)),
}
OTHERS = ("other parts", GREY[1])


def grouped(components: Mapping[str, float]) -> dict[str, float]:
    """pJ by group of parts, those above in order; parts of a user's own table come last."""
    # Which group a part belongs to.
    home = {}
    for group, (_, parts) in GROUPS.items():
        for part in parts:
            home[part] = group
    others, _ = OTHERS
    sums = dict.fromkeys((*GROUPS, others), 0.0)
    for part, energy in components.items():
        group = home.get(part, others)
        sums[group] += energy
    return sums


@dataclass(frozen=True)
class _Row:
    """A layer or a network.

    Attributes:
        label: its name.
        components: pJ as planned.
        dense: pJ of it dense under im2col.
    """

    label: str
    components: Mapping[str, float]
    dense: float


def energy_chart(runs: Sequence[Run]) -> Chart | None:
    """Energy of every convolution of one run, or of several runs as a whole; None where no result has any."""
    if len(runs) == 1:
        title = "Energy of every convolution, by component"
        rows = _rows_of_layers(runs[0])
    else:
        title = "Energy of each network, by component"
        rows = _rows_of_runs(runs)
    if not rows:
        return None
    return stacked_chart(
        "energy",
        title,
        [(row.label, row.components) for row in rows],
        [row.dense for row in rows],
    )


def _rows_of_layers(run: Run) -> list[_Row]:
    record = run.result.energy
    if record is None:
        return []
    rows = []
    for layer in record.layers:
        rows.append(_Row(layer.name, layer.components, layer.dense))
    return rows


def _rows_of_runs(runs: Sequence[Run]) -> list[_Row]:
    rows = []
    for run in runs:
        record = run.result.energy
        if record is not None:
            rows.append(_Row(run.label, record.components, record.dense))
    return rows


def stacked_chart(
    name: str,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    ticks: Sequence[float] = (),
) -> Chart:
    """Stacked bars of energy.

    Args:
        name: of the drawing, for its ids.
        title: what it shows, for readers who cannot see it.
        rows: (label, pJ by component), from top to bottom.
        ticks: pJ of each row to compare with; empty: none.
    """
    labels = []
    sums = []
    for label, components in rows:
        labels.append(label)
        sums.append(grouped(components))
    # A group that uses nothing anywhere would be an entry of the legend without a bar.
    used = [group for group in sums[0] if any(row[group] for row in sums)]
    marks = [nanojoules(tick) for tick in ticks]

    def draw(axes: Axes) -> None:
        ends = _draw_stacks(axes, sums, used)
        if marks:
            draw_ticks(axes, marks, INK)
        # An axis has some length, even where nothing uses energy.
        longest = max(*ends, *marks, 1e-9)
        axes.set_xlim(0, 1.02 * longest)
        axes.set_xlabel("energy per image, nJ")

    drawn = rows_svg(name, title, labels, 1, draw)
    keys = []
    if ticks:
        keys.append(Key("dense, im2col", INK, "tick"))
    for group in used:
        keys.append(Key(group, _colour(group), "bar"))
    return Chart(drawn, tuple(keys), _table(labels, sums, used, marks))


def _table(
    labels: Sequence[str], sums: Sequence[Mapping[str, float]], used: Sequence[str], marks: Sequence[float]
) -> Table:
    """nJ of each row by group, in all, and of what it is compared with."""
    headers = ["", *(f"{group}, nJ" for group in used), "all, nJ"]
    if marks:
        headers.append("dense, im2col, nJ")
    rows = []
    for number, (label, row) in enumerate(zip(labels, sums, strict=True)):
        amounts = [nanojoules(row[group]) for group in used]
        amounts.append(sum(amounts))
        amounts += marks[number : number + 1]
        rows.append([label, *(f"{amount:,.2f}" for amount in amounts)])
    return table(headers, rows)


def _draw_stacks(
    axes: Axes,
    sums: Sequence[Mapping[str, float]],
    used: Sequence[str],
) -> list[float]:
    """Draw the groups of each row one after the other; returns where each row ends, in nJ."""
    places = range(len(sums))
    ends = [0.0] * len(sums)
    for group in used:
        widths = [nanojoules(row[group]) for row in sums]
        axes.barh(
            places,
            widths,
            SLIM * BAR,
            left=ends,
            color=_colour(group),
        )
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    return ends


def _colour(group: str) -> str:
    others, colour = OTHERS
    if group != others:
        colour, _ = GROUPS[group]
    return colour
