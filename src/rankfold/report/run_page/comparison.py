"""The table of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.report.numbers import DASH, GAP, points
from rankfold.report.runs import Run, float_baseline
from rankfold.report.summary import MISSING, summary_headers, summary_rows


def comparison(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The table of several runs: that of the command line, with the loss against the baseline in points.

    Returns:
        The titles of its columns, and its rows.
    """
    network, accuracy, *others = summary_headers(runs)
    headers = [network, accuracy, "points", *others]
    shared = float_baseline(runs)
    rows = []
    for run, row in zip(runs, summary_rows(runs), strict=True):
        label, final, *numbers = row
        lost = _lost(run, shared)
        # The label is the user's; nothing in it is a sign of ours.
        cells = [label]
        for cell in (final, lost, *numbers):
            cells.append(_typeset(cell))
        rows.append(cells)
    return headers, rows


def _lost(run: Run, shared: float | None) -> str:
    """The difference from the accuracy of its own baseline; of a run without any, from that of the others."""
    baseline = run.result.accuracy.baseline
    if baseline is None:
        baseline = shared
    if baseline is None:
        return DASH
    return points(run.result.accuracy.final, baseline)


def _typeset(cell: str) -> str:
    """A number of the terminal's table with the signs that a page has for it."""
    if cell == MISSING:
        return DASH
    # All that these tables have of either sign are per cent and ratios.
    with_gaps = cell.replace("%", f"{GAP}%")
    return with_gaps.replace("x", "×")
