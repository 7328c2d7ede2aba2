"""The report: one self-contained HTML page for one run, or for several compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.files import write_text
from rankfold.report.charts import accuracy_chart, cycles_chart, error_chart, training_chart, unique_ids
from rankfold.report.runs import SUMMARY_HEADERS, Run, summary_rows

if TYPE_CHECKING:
    from jinja2 import Template


def write_report(path: str | Path, runs: Sequence[Run], title: str | None = None) -> None:
    """Write the page for `runs` atomically to `path`.

    Args:
        path: the HTML file.
        runs: one run, or several of the same network and data to compare.
        title: heading; default: what was done to which network.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, render_report(runs, title))


def render_report(runs: Sequence[Run], title: str | None = None) -> str:
    """The page as text; the same runs give the same bytes."""
    drawings = {
        "accuracy": accuracy_chart(runs),
        "cycles": cycles_chart(runs),
        "error": error_chart(runs),
        "training": training_chart(runs),
    }
    return _template().render(
        title=title or f"{runs[0].result.model}: {runs[0].label}",
        runs=runs,
        headline=[headline(run) for run in runs],
        summary_headers=SUMMARY_HEADERS,
        summary=summary_rows(runs),
        charts={name: unique_ids(svg, name) if svg else None for name, svg in drawings.items()},
    )


def headline(run: Run) -> str:
    """The run in one sentence."""
    result = run.result
    bits = sorted({layer.weight_bits for layer in result.layers if layer.weight_bits is not None})
    at = f" at {bits[0]} bits" if bits else " in float"
    array = "x".join(str(side) for side in result.array)
    ratio = result.cycles["im2col"] / result.planned_cycles
    saved = 1 - result.parameters_after / result.parameters_before
    fewer = f", {saved:.0%} fewer parameters" if saved > 0.005 else ""
    return (
        f"{run.label}: {result.accuracy.final:.2%} test accuracy{at}, {result.planned_cycles:,} cycles per image on {array} "
        f"arrays ({ratio:.2f}x fewer than dense im2col){fewer}."
    )


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rankfold.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, count=_count, size=_size)
    return environment.get_template("report.html")


def _percent(value: Any, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _count(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _size(values: Any) -> str:
    return "-" if values is None else "x".join(str(value) for value in values)
