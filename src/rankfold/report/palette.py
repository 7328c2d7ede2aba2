"""The colours of charts and pages: one for each method, the same in every chart and table of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.methods import run_method

if TYPE_CHECKING:
    from rankfold.report.runs import Run
    from rankfold.runs.result import Result

INK, SOFT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PALE = "#d5dae1"
EDGE = "#9ca3af"  # of axes and planes

# Okabe & Ito's colour-blind safe hues, each with darker and lighter shades for several runs of one method.
SHADES = {
    "dense": ("#6b7280", "#374151", "#8b93a1"),
    "plain": ("#d55e00", "#8f3f00", "#cf8440"),
    "group": ("#0072b2", "#00395c", "#3d9bd6", "#5b6fae", "#1f8a99"),
    "mixed": ("#009e73", "#005c43", "#55a888"),
    "patdnn": ("#b0568a", "#7d2f5f", "#cc79a7", "#8d5a9e"),
    "pairs": ("#9a7b00", "#6b5500", "#bd9d1f", "#7f7a35"),
    "sparse": ("#6a4fb3", "#41307a", "#9380cf", "#57489c"),
    "support": ("#4d7c0f", "#2f4d08", "#7fa63f", "#5f7a3a"),
    "channel": ("#7a5c3e", "#513a25", "#a3835f"),
}


def colours(results: Sequence[Result]) -> tuple[str, ...]:
    """A colour for each result, by its method; several results of one method get different shades of it."""
    used = dict.fromkeys(SHADES, 0)
    chosen = []
    for result in results:
        hue = run_method(result).hue
        shades = SHADES[hue]
        # With more results than shades, the first shade comes again.
        chosen.append(shades[used[hue] % len(shades)])
        used[hue] += 1
    return tuple(chosen)


def coloured(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Each run with its colour."""
    shades = colours([run.result for run in runs])
    return list(zip(runs, shades, strict=True))
