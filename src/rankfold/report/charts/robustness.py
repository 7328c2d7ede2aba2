"""The chart of accuracy on arrays against what they fall short in, with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.report.charts.drawing import SIZE, count, frame, svg
from rankfold.report.charts.picture import HEAD
from rankfold.report.palette import SHADES, SOFT
from rankfold.runs.robustness import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT, LEFT, BETWEEN, TOP, BOTTOM, RIGHT = 260.0, 40.0, 26.0, 46.0, 38.0, 10.0
COLOURS = (SHADES["dense"][1], SHADES["group"][0], SHADES["plain"][0], SHADES["mixed"][0], *SHADES["group"][1:])
MARKS = "osD^vP"
SPREAD = ("drift", "ir_drop")  # over many powers of ten: one step for each value
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
    """Draw one panel for each thing that varies and one line for each run, as SVG, and write it atomically.

    Raises:
        InputError: there is no point, or the file cannot be written.
    """
    if not points:
        raise InputError("a chart of robustness needs at least one point")
    varied = list(dict.fromkeys(point.varied for point in points))
    runs = list(dict.fromkeys(point.run for point in points))

    def draw(figure: Figure) -> None:
        width = float(figure.get_size_inches()[0]) * 72
        wide = (width - LEFT - RIGHT - BETWEEN * (len(varied) - 1)) / len(varied)
        first: Axes | None = None
        for number, name in enumerate(varied):
            left = LEFT + number * (wide + BETWEEN)
            axes = frame(figure, left, width - left - wide, TOP, BOTTOM)
            for place, run in enumerate(runs):
                at = {value: i for i, value in enumerate(_values(points, name))} if name in SPREAD else {}
                _line(axes, [point for point in points if (point.run, point.varied) == (run, name)], run, place, at)
            axes.set_xlabel(WORDS[name])
            axes.xaxis.set_major_formatter(count)
            axes.set_ylim(0, 102)
            values = _values(points, name)
            if name == "adc_bits":
                axes.set_xticks(values)
            elif name in SPREAD:
                axes.set_xticks(range(len(values)), [_word(name, value) for value in values])
            first = first or axes
        assert first is not None
        first.set_title("accuracy on arrays, %", loc="left", fontsize=SIZE, color=SOFT)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", ncols=len(runs), frameon=False, fontsize=SIZE)

    told = "; ".join(f"{p.run}, {WORDS[p.varied]} {p.value:g}: {p.mean:.1%}" for p in points)
    write_text(path, svg("robustness", f"Accuracy on arrays. {told}", HEIGHT, draw).replace("<svg ", HEAD, 1) + "\n")


def _values(points: Sequence[Point], name: str) -> list[float]:
    return sorted({point.value for point in points if point.varied == name})


def _word(name: str, value: float) -> str:
    """A duration as it is given on the command line, or the number."""
    if name != "drift":
        return f"{value:g}"
    size, unit = next(((size, unit) for size, unit in UNITS if value >= size), (1.0, "s"))
    return f"{value / size:.3g}{unit}"


def _line(axes: Axes, points: Sequence[Point], run: str, place: int, at: dict[float, int]) -> None:
    if not points:
        return
    shade = COLOURS[place % len(COLOURS)]
    ordered = sorted(points, key=lambda point: point.value)
    places = [float(at[point.value]) if at else point.value for point in ordered]
    axes.errorbar(
        places, [100 * point.mean for point in ordered],
        yerr=[100 * (point.deviation or 0.0) for point in ordered], color=shade, marker=MARKS[place % len(MARKS)], markersize=4,
        linewidth=1.2, capsize=2.5, label=run,
    )  # fmt: skip
    axes.axhline(100 * ordered[0].ideal, color=shade, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
