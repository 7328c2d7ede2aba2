"""The chart of accuracy on arrays against what they fall short in, with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.report.charts.drawing import (
    INCH,
    SIZE,
    Chart,
    count,
    dotted_line,
    frame,
    svg,
    svg_file,
)
from rankfold.report.numbers import DASH, percent
from rankfold.report.palette import BLUE, CRIMSON, GREEN, GREY, OCHRE, PINK, SOFT, VERMILION, VIOLET
from rankfold.report.tables import table
from rankfold.runs.robustness import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points: of the chart, its margins, and between two panels.
HEIGHT = 260.0
LEFT, BETWEEN, RIGHT = 40.0, 26.0, 10.0
TOP, BOTTOM = 46.0, 38.0
# Of runs, in order; with more of them, colours and marks come again, in other pairs.
COLOURS = tuple(hue[0] for hue in (GREY, BLUE, VERMILION, GREEN, VIOLET, CRIMSON, PINK, OCHRE))
MARKS = "osD^vP"
# Values over many powers of ten: one step of the axis for each.
SPREAD = ("drift", "ir_drop")
# Seconds, the longest first.
UNITS = ((365.25 * 86400, "y"), (86400.0, "d"), (3600.0, "h"), (60.0, "m"))
WORDS = {
    "adc_bits": "ADC bits",
    "program_noise": "programming noise, of a cell's range",
    "read_noise": "read noise, of a cell's range",
    "stuck": "share of stuck cells",
    "ir_drop": "line resistance x cell conductance",
    "output_noise": "output noise, in cells",
    "drift": "time since programming",
}


def write_robustness_chart(path: Path, points: Sequence[Point]) -> None:
    """Write the chart as an SVG file, atomically.

    Raises:
        InputError: there is no point, or the file cannot be written.
    """
    write_text(path, svg_file(robustness_chart(points).svg))


def robustness_chart(points: Sequence[Point]) -> Chart:
    """One panel for each thing that varies, and one line for each run.

    Raises:
        InputError: there is no point.
    """
    if not points:
        raise InputError("a chart of robustness needs at least one point")
    varied = list(dict.fromkeys(point.varied for point in points))
    runs = list(dict.fromkeys(point.run for point in points))
    measured = " or ".join(dict.fromkeys(point.measured for point in points))

    def draw(figure: Figure) -> None:
        panels = _panels(figure, len(varied))
        for axes, name in zip(panels, varied, strict=True):
            _draw_panel(axes, name, points, runs)
        # The first panel has the title of all, and the legend, as all have the same lines.
        first = panels[0]
        first.set_title(f"{measured} on arrays, %", loc="left", fontsize=SIZE, color=SOFT)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="upper right",
            ncols=len(runs),
            frameon=False,
            fontsize=SIZE,
        )

    told = "; ".join(_told(point) for point in points)
    drawn = svg("robustness", f"{measured.capitalize()} on arrays. {told}", HEIGHT, draw)
    rows = []
    for point in points:
        spread = DASH
        if point.deviation is not None:
            spread = percent(point.deviation)
        numbers = percent(point.ideal), percent(point.mean), spread, str(point.chips)
        rows.append([point.run, WORDS[point.varied], f"{point.value:g}", *numbers])
    headers = ["run", "what varies", "value", "quantised", "on arrays", "deviation", "chips"]
    return Chart(drawn, table=table(headers, rows, [1]))


def _told(point: Point) -> str:
    return f"{point.run}, {WORDS[point.varied]} {point.value:g}: {point.mean:.1%}"


def _panels(figure: Figure, number: int) -> list[Axes]:
    """Axes side by side."""
    width = float(figure.get_size_inches()[0]) * INCH
    wide = (width - LEFT - RIGHT - BETWEEN * (number - 1)) / number
    panels = []
    for panel in range(number):
        left = LEFT + panel * (wide + BETWEEN)
        right = width - left - wide
        panels.append(frame(figure, left, right, TOP, BOTTOM))
    return panels


def _draw_panel(axes: Axes, name: str, points: Sequence[Point], runs: Sequence[str]) -> None:
    """Draw what varies by this name, with a line for each run."""
    values = sorted({point.value for point in points if point.varied == name})
    # Where values are on the axis, the same for all runs, of which some may lack a value.
    places = {value: value for value in values}
    if name in SPREAD:
        places = {value: float(step) for step, value in enumerate(values)}
    for number, run in enumerate(runs):
        line = [point for point in points if (point.run, point.varied) == (run, name)]
        if line:  # a run may have been simulated under other things only
            _draw_line(axes, line, number, places)
    axes.set_xlabel(WORDS[name])
    axes.xaxis.set_major_formatter(count)
    # A little more than all, so that the marks of full accuracy are whole.
    axes.set_ylim(0, 102)
    if name == "adc_bits":
        axes.set_xticks(values)
    elif name in SPREAD:
        axes.set_xticks(range(len(values)), [_tick(name, value) for value in values])


def _tick(name: str, value: float) -> str:
    """A duration as it is given on the command line, or the number."""
    if name != "drift":
        return f"{value:g}"
    for seconds, unit in UNITS:
        if value >= seconds:
            return f"{value / seconds:.3g}{unit}"
    return f"{value:.3g}s"


def _draw_line(
    axes: Axes,
    points: Sequence[Point],
    number: int,
    places: dict[float, float],
) -> None:
    """Draw one run's line.

    Args:
        axes: the panel.
        points: of this run and what the panel varies, at least one.
        number: of the run, for its colour and its mark.
        places: where each value is on the horizontal axis.
    """
    colour = COLOURS[number % len(COLOURS)]
    ordered = sorted(points, key=lambda point: point.value)
    axes.errorbar(
        [places[point.value] for point in ordered],
        [100 * point.mean for point in ordered],
        # A single chip has no deviation.
        yerr=[100 * (point.deviation or 0.0) for point in ordered],
        color=colour,
        marker=MARKS[number % len(MARKS)],
        markersize=4,
        linewidth=1.2,
        capsize=2.5,
        label=ordered[0].run,
    )
    # What the network reaches without arrays.
    dotted_line(axes, 100 * ordered[0].ideal, colour)
