"""The chart of energy, stacked by the parts that use it: layer by layer for one run, run by run for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart, Key, svg
from rankfold.report.charts.layers import BAR, rows_chart
from rankfold.report.palette import INK
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Parts that stand side by side on an array share a colour (Okabe & Ito).
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADCs": ("#0072b2", ("adc",)),
    "word lines, drivers, DACs": ("#e69f00", ("word_lines", "row_drivers", "row_latches", "dac")),
    "cells, bit lines, column multiplexers": ("#56b4e9", ("cells", "bit_lines", "column_mux")),
    "shift-and-add": ("#009e73", ("weight_shift_add", "input_shift_add")),
    "accumulators, buffers, bus": ("#cc79a7", ("accumulators", "input_buffer", "output_buffer", "bus")),
    "input steering": ("#d55e00", ("steering",)),
}
OTHERS = ("other parts", "#6b7280")


def grouped(components: Mapping[str, float]) -> dict[str, float]:
    """pJ by group of parts, those above in order; parts of a user's own table come last."""
    home = {name: group for group, (_, names) in GROUPS.items() for name in names}
    found = dict.fromkeys([*GROUPS, OTHERS[0]], 0.0)
    for name, value in components.items():
        found[home.get(name, OTHERS[0])] += value
    return found


def stacked_chart(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float]]], ticks: Sequence[float] = ()) -> Chart:
    """Stacked bars of energy.

    Args:
        name: of the drawing, for its ids.
        title: what it shows, for readers who cannot see it.
        rows: (label, pJ by component), from top to bottom.
        ticks: pJ of each row to compare with; empty: none.
    """
    values = [grouped(components) for _, components in rows]
    used = [group for group in values[0] if any(row[group] for row in values)]
    shades = {group: shade for group, (shade, _) in GROUPS.items()} | {OTHERS[0]: OTHERS[1]}

    def draw(axes: Axes) -> None:
        places = range(len(rows))
        left = [0.0] * len(rows)
        for group in used:
            widths = [1e-3 * row[group] for row in values]
            axes.barh(places, widths, 0.86 * BAR, left=left, color=shades[group])
            left = [start + width for start, width in zip(left, widths, strict=True)]
        marks = [1e-3 * tick for tick in ticks]
        if marks:
            axes.vlines(marks, [row - BAR / 2 for row in places], [row + BAR / 2 for row in places], color=INK, linewidth=1.3)
        axes.set_xlim(0, 1.02 * max(*left, *marks, 1e-9))
        axes.set_xlabel("energy per image, nJ")

    keys = [Key("dense, im2col", INK, "tick")] if ticks else []
    keys += [Key(group, shades[group], "bar") for group in used]
    return Chart(svg(name, title, *rows_chart([label for label, _ in rows], draw, 1)), tuple(keys))


def energy_chart(runs: Sequence[Run]) -> Chart | None:
    """Energy of every convolution of one run, or of several runs as a whole; None where a result has no energy."""
    if len(runs) == 1:
        record = runs[0].result.energy
        if record is None:
            return None
        rows = [(layer.name, layer.components) for layer in record.layers]
        return stacked_chart(
            "energy", "Energy of every convolution, by component", rows, [layer.dense for layer in record.layers]
        )
    known = [(run.label, run.result.energy) for run in runs if run.result.energy is not None]
    if not known:
        return None
    rows = [(label, record.components) for label, record in known]
    return stacked_chart("energy", "Energy of each network, by component", rows, [record.dense for _, record in known])
