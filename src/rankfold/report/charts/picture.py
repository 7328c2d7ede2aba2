"""The chart of accuracy against cycles as a picture file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.report.charts.accuracy import accuracy_chart
from rankfold.report.charts.drawing import svg_file
from rankfold.report.runs import Run


def check_picture(path: str | Path) -> None:
    """Refuse a file that is no picture of this chart.

    Raises:
        InputError: `path` is no .svg.
    """
    if Path(path).suffix != ".svg":
        raise InputError(f"picture {path} must be an .svg file")


def write_picture(path: str | Path, runs: Sequence[Run]) -> None:
    """Write the chart for `runs` atomically to `path`, an SVG file.

    Raises:
        InputError: there is no run, `path` is no .svg, or it cannot be written.
    """
    check_picture(path)
    if not runs:
        raise InputError("a picture needs at least one run")
    chart = accuracy_chart(runs)
    write_text(path, svg_file(chart.svg))
