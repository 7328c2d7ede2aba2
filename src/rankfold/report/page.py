"""The report: one self-contained HTML page for one run, or for several compared."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.errors import InputError
from rankfold.files import check_target, write_text
from rankfold.report import facts
from rankfold.report.charts.accuracy import accuracy_chart
from rankfold.report.charts.energy import energy_chart
from rankfold.report.charts.layers import arrays_chart, cycles_chart, error_chart
from rankfold.report.charts.training import training_chart
from rankfold.report.palette import colours
from rankfold.report.runs import Run, float_baseline

if TYPE_CHECKING:
    from jinja2 import Template

PAGE_BEGINNINGS = (b"<!doctype html", b"<html")
LOOKED_AT = 1024  # bytes, for the beginning of a page


def write_report(path: str | Path, runs: Sequence[Run], title: str | None = None) -> None:
    """Write the page for `runs` atomically to `path`.

    Args:
        path: the HTML file.
        runs: one run, or several of the same network, data and array to compare.
        title: heading; default: what was done to which network.

    Raises:
        InputError: there is no run, the runs cannot be compared, or the file cannot be written or must not be replaced.
    """
    page = render_report(runs, title)
    check_page(path)
    write_text(path, page)


def check_page(path: str | Path) -> None:
    """Refuse to put a page in the place of something else.

    A page may replace a page: a file that begins with `<!DOCTYPE html` or `<html`, in any case, after white space. It may
    also replace an empty file.

    Raises:
        InputError: `path` exists and is no page, or it is a file that a run is made of.
    """
    target = Path(path)
    check_target(target)
    if not target.is_file():
        return
    try:
        with target.open("rb") as file:
            beginning = file.read(LOOKED_AT)
    except OSError as error:
        raise InputError(f"cannot read {target}, which exists: {error.strerror}; choose another file") from error
    if beginning and not beginning.removeprefix(BOM_UTF8).lstrip().lower().startswith(PAGE_BEGINNINGS):
        raise InputError(f"{target} exists and is no HTML page, and only a page is replaced; choose another file")


def render_report(runs: Sequence[Run], title: str | None = None) -> str:
    """The page as text; the same runs give the same bytes.

    Raises:
        InputError: there is no run, or the runs cannot be compared.
    """
    _check_comparable(runs)
    headers, rows = facts.comparison(runs)
    return template("report.html").render(
        title=title or f"{runs[0].result.model}: {runs[0].label if len(runs) == 1 else f'{len(runs)} networks compared'}",
        headline=facts.headline(runs),
        runs=runs,
        colours=colours([run.result for run in runs]),
        baseline=float_baseline(runs),
        cards=facts.cards(runs),
        comparison_headers=headers,
        comparison_rows=rows,
        charts={
            "accuracy": accuracy_chart(runs),
            "cycles": cycles_chart(runs),
            "energy": energy_chart(runs),
            "error": error_chart(runs),
            "training": training_chart(runs),
            "arrays": arrays_chart(runs),
        },
        energy_notes=facts.energy_notes(runs),
        error_notes=facts.error_notes(runs),
        commands=facts.commands(runs),
        reproduction=facts.reproduction(runs),
    )


def _check_comparable(runs: Sequence[Run]) -> None:
    if not runs:
        raise InputError("a report needs at least one run")
    first = runs[0]
    for run in runs[1:]:
        for what, one, other in (
            ("network", first.result.model, run.result.model),
            ("data", first.result.data.digest, run.result.data.digest),
            ("array", facts.size(first.result.array), facts.size(run.result.array)),
        ):
            if one != other:
                raise InputError(
                    f"the runs {first.label} and {run.label} cannot be compared on one page: {what} {one} is not {other}; "
                    "write a report for each"
                )


@cache
def template(name: str) -> Template:
    """A page's template by its file name, with the filters that all pages use."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rankfold.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=facts.percent, number=facts.count, size=facts.size)
    return environment.get_template(name)
