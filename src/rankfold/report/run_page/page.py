"""The report: one self-contained HTML page for one run, or for several compared."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import check_target, write_text
from rankfold.report.charts.accuracy import accuracy_chart
from rankfold.report.charts.arrays import arrays_chart
from rankfold.report.charts.cycles import cycles_chart
from rankfold.report.charts.drawing import Chart
from rankfold.report.charts.energy import energy_chart
from rankfold.report.charts.errors import error_chart
from rankfold.report.charts.training import training_chart
from rankfold.report.methods import colours
from rankfold.report.numbers import size
from rankfold.report.run_page.cards import cards
from rankfold.report.run_page.comparison import comparison
from rankfold.report.run_page.headline import headline
from rankfold.report.run_page.notes import energy_notes, error_notes
from rankfold.report.run_page.on_arrays import on_arrays
from rankfold.report.run_page.reproduction import commands, reproduction
from rankfold.report.runs import Run, float_baseline, measured_by
from rankfold.report.template import template

# In small letters, as tags may be written in any.
PAGE_BEGINNINGS = (b"<!doctype html", b"<html")
# Bytes, in which a page must begin.
LOOKED_AT = 1024


def write_report(path: str | Path, runs: Sequence[Run], title: str | None = None) -> None:
    """Write the page for `runs` atomically to `path`.

    Args:
        path: the HTML file.
        runs: one run, or several of the same network, data and array to compare.
        title: heading; default: what was done to which network.

    Raises:
        InputError: there is no run, the runs cannot be compared, or the file cannot be written or must not be
            replaced.
    """
    # Runs that cannot be compared are the first complaint: no other file would mend that.
    page = render_report(runs, title)
    check_page(path)
    write_text(path, page)


def check_page(path: str | Path) -> None:
    """Refuse to put a page in the place of something else.

    A page may replace a page: a file that begins with `<!DOCTYPE html` or `<html`, in any case, after white
    space. It may also replace an empty file.

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
        raise InputError(
            f"cannot read {target}, which exists: {error.strerror}; choose another file"
        ) from error
    first_tag = beginning.removeprefix(BOM_UTF8).lstrip().lower()
    if beginning and not first_tag.startswith(PAGE_BEGINNINGS):
        raise InputError(
            f"{target} exists and is no HTML page, and only a page is replaced; choose another file"
        )


def render_report(runs: Sequence[Run], title: str | None = None) -> str:
    """The page as text; the same runs give the same bytes.

    Raises:
        InputError: there is no run, or the runs cannot be compared.
    """
    _check_comparable(runs)
    return template("report.html").render(title=title or _title(runs), headline=headline(runs), **_said(runs))


def runs_in_page(runs: Sequence[Run]) -> str:
    """What a page says of comparable runs, as a part of a page that shows more than these.

    Raises:
        InputError: there is no run, or the runs cannot be compared.
    """
    _check_comparable(runs)
    return template("runs.html").render(**{**_said(runs), "level": 3})


def _said(runs: Sequence[Run]) -> dict[str, Any]:
    """What the template `runs.html` asks for."""
    headers, rows = comparison(runs)
    return {
        "level": 2,
        "runs": runs,
        "colours": colours([run.result for run in runs]),
        "baseline": float_baseline(runs),
        "measured": measured_by(runs),
        "cards": cards(runs),
        "comparison_headers": headers,
        "comparison_rows": rows,
        "on_arrays": on_arrays(runs),
        "charts": _charts(runs),
        "energy_notes": energy_notes(runs),
        "error_notes": error_notes(runs),
        "commands": commands(runs),
        "reproduction": reproduction(runs),
    }


def comparable(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups of such as can be compared, in the order of the first of each."""
    groups: list[list[Run]] = []
    for run in runs:
        for group in groups:
            if _compared(group[0]) == _compared(run):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _title(runs: Sequence[Run]) -> str:
    what = f"{len(runs)} networks compared"
    if len(runs) == 1:
        what = runs[0].label
    return f"{runs[0].result.model}: {what}"


def _charts(runs: Sequence[Run]) -> dict[str, Chart | None]:
    """The charts by the names that the template has for them; it omits the section of one that is None."""
    return {
        "accuracy": accuracy_chart(runs),
        "cycles": cycles_chart(runs),
        "energy": energy_chart(runs),
        "error": error_chart(runs),
        "training": training_chart(runs),
        "arrays": arrays_chart(runs),
    }


def _check_comparable(runs: Sequence[Run]) -> None:
    if not runs:
        raise InputError("a report needs at least one run")
    first = runs[0]
    wanted = _compared(first)
    for run in runs[1:]:
        # One complaint is enough: the first difference.
        for what, value in _compared(run).items():
            if value != wanted[what]:
                raise InputError(
                    f"the runs {first.label} and {run.label} cannot be compared on one page: "
                    f"{what} {wanted[what]} is not {value}; write a report for each"
                )


def _compared(run: Run) -> dict[str, str]:
    """What the runs of one page have in common."""
    result = run.result
    return {
        "network": result.model,
        "data": result.data.digest,
        "array": size(result.array),
    }
