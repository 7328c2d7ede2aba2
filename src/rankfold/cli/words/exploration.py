"""What was found of a space, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rankfold.explore import Exploration
from rankfold.explore.front import LOSS
from rankfold.report.exploration.rows import front_table, labels_of, reasons, thinned, traded_in_words


def exploration_in_words(found: Exploration) -> str:
    """A table of some of the front, and what became of all points."""
    points, runs = len(found.outcomes), found.runs
    lines = []
    if found.front:
        lines += [front_table(found), ""]
    traded = traded_in_words(found)
    shown = len(thinned(found))
    above = ""
    if shown < len(found.front):
        above = f", {shown} of them above"
    best = f"{len(found.front):,} of these are best trades of {traded}{above}"
    lines.append(f"{points:,} points, of which {runs:,} run; {best}")
    if found.accuracies is not None:
        lines.append("accuracy is measured on the arrays of each, before any training")
    elif LOSS in found.objectives:
        lines.append(
            "the predicted loss counts neither rounding nor converters: no point gives way to one whose "
            "ADCs, weights or inputs have fewer bits"
        )
    for why, count in reasons(found):
        lines.append(f"{count:,} cannot run: {why}")
    return "\n".join(lines)


def exploration_to_json(found: Exploration) -> dict[str, Any]:
    """The stable interface of `--json`: the front, with what was found of each point."""
    points = []
    for number in found.front:
        outcome = found.outcomes[number]
        assert outcome.figures is not None  # it is on the front
        point = {"point": number, "is": labels_of(found, number), **asdict(outcome.figures)}
        if found.accuracies is not None:
            point["accuracy"] = found.accuracies[number]
        points.append(point)
    return {
        "points": len(found.outcomes),
        "run": found.runs,
        "objectives": list(found.objectives),
        "front": points,
        "cannot_run": [{"why": why, "points": count} for why, count in reasons(found)],
    }
