"""The chart of the errors of weights, with one row for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart, Key
from rankfold.report.charts.rows import offset, rows_svg
from rankfold.report.methods import bound_says_more, coloured
from rankfold.report.numbers import DASH
from rankfold.report.palette import SOFT
from rankfold.report.runs import Run
from rankfold.report.tables import Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rankfold.runs.layer_result import LayerResult

DESCRIBE = "Error of the weights of every decomposed or pruned layer"
# Of a row's height, from the first run's dots to the last one's.
APART = 0.62
BOUND = "bound: the error of one group at equal rank"


@dataclass(frozen=True)
class _Dots:
    """The errors of one run.

    Attributes:
        label: the run's.
        colour: the run's.
        layers: those of its layers that have an error, in percent, and the bound of it where it has one.
        bounded: whether bounds say more than errors: with one group, both are the same.
    """

    label: str
    colour: str
    layers: tuple[tuple[str, float, float | None], ...]
    bounded: bool


def error_chart(runs: Sequence[Run]) -> Chart | None:
    """Dots: relative error of every decomposed or pruned layer; diamonds: its bound by Theorem 1.

    None where no layer has an error.
    """
    series = []
    for run, colour in coloured(runs):
        dots = _dots(run, colour)
        if dots.layers:
            series.append(dots)
    if not series:
        return None
    # A row for each layer that any of the runs has an error of.
    layers = [layer for dots in series for layer in dots.layers]
    names = list(dict.fromkeys(name for name, _, _ in layers))
    largest = max(error for _, error, _ in layers)

    def draw(axes: Axes) -> None:
        for number, dots in enumerate(series):
            below = offset(number, len(series)) * APART / len(series)
            _draw_dots(axes, dots, names, below)
        axes.grid(visible=True, axis="y", linewidth=0.5)
        # Factors made for data may be further from the weights than nothing is, where the data do not
        # show it.
        axes.set_xlim(0, max(100, 1.04 * largest))
        axes.set_xlabel("relative error of the weights before fine-tuning, %")

    drawn = rows_svg("error", DESCRIBE, names, len(series), draw)
    return Chart(drawn, tuple(_keys(series, alone=len(runs) == 1)), _table(series, names))


def _table(series: Sequence[_Dots], names: Sequence[str]) -> Table:
    """Each layer's error and bound, of every run."""
    headers = ["layer"]
    columns = []
    for dots in series:
        headers.append(f"{dots.label}: error, %")
        columns.append({name: f"{error:.2f}" for name, error, _ in dots.layers})
        if dots.bounded:
            headers.append(f"{dots.label}: bound, %")
            columns.append({name: f"{bound:.2f}" for name, _, bound in dots.layers if bound is not None})
    rows = [[name, *(column.get(name, DASH) for column in columns)] for name in names]
    return table(headers, rows)


def _dots(run: Run, colour: str) -> _Dots:
    layers = []
    for layer in run.result.layers:
        if layer.error is not None:
            layers.append((layer.name, 100 * layer.error, _bound(layer)))
    # With one group, the error is the bound, and its diamond would hide behind the dot.
    bounded = any(layer.plain_error is not None and bound_says_more(layer) for layer in run.result.layers)
    return _Dots(run.label, colour, tuple(layers), bounded)


def _bound(layer: LayerResult) -> float | None:
    if layer.plain_error is None:
        return None
    return 100 * layer.plain_error


def _draw_dots(axes: Axes, dots: _Dots, names: Sequence[str], below: float) -> None:
    """Draw the errors of one run, so far below the middle of each row."""
    rows = [names.index(name) + below for name, _, _ in dots.layers]
    errors = [error for _, error, _ in dots.layers]
    if dots.bounded:
        # A layer without a bound is drawn as if it met it, so that lines and dots stay in step.
        bounds = [bound or error for _, error, bound in dots.layers]
        axes.hlines(rows, errors, bounds, color=dots.colour, linewidth=1.2, alpha=0.45)
        axes.plot(
            bounds,
            rows,
            "D",
            color=dots.colour,
            markerfacecolor="white",
            markersize=4.2,
            markeredgewidth=1.1,
        )
    axes.plot(errors, rows, "o", color=dots.colour, markersize=5.2)


def _keys(series: Sequence[_Dots], alone: bool) -> list[Key]:
    keys = []
    for dots in series:
        # The title of the page says which run it is, if there is but one.
        text = dots.label
        if alone:
            text = "error"
        keys.append(Key(text, dots.colour, "dot"))
    bounded = [dots for dots in series if dots.bounded]
    if not bounded:
        return keys
    colour = SOFT  # of no run, as the sign stands for the diamonds of all of them
    if len(bounded) == 1:
        colour = bounded[0].colour
    keys.append(Key(BOUND, colour, "diamond"))
    return keys
