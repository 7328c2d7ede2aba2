"""Planned networks against uniform settings of every method: cycles, and accuracy before and after training.

Usage: python benchmarks/planned.py results/reproduction/resnet20-cifar10-cpu/cells.csv runs/planned/* [--csv
    FILE]

The uniform settings are the cells of a reproduction (`rankfold reproduce resnet20-cifar10-cpu`), each under
its best mapping and in the plain reading of cycles; the planned ones are runs of `rankfold compress --plan`
with the same recipe, bits and epochs. For every planned run:
  equal cycles    the most accurate uniform setting of any method that needs no more cycles, and how many
  points the plan gains equal accuracy  the uniform setting of fewest cycles that is no less accurate, and how
  many times as many it needs
Only measured points are compared. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rankfold.files import write_text
from rankfold.plan import Plan
from rankfold.plan.kinds import PLAIN
from rankfold.reproduce.headline import Point, average
from rankfold.reproduce.measure import read_table
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result

HEADS = (
    "array",
    "cycles",
    "before",
    "after",
    "best uniform of no more cycles",
    "its before",
    "its after",
    "points gained",
    "uniform of no less accuracy",
    "times fewer cycles",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    points = [
        point
        for point in average(read_table(options.cells))
        if (point.of.mapping, point.of.steering) == ("best", PLAIN) and point.of.bits == 4
    ]
    loaded = [(Result.load(run / "result.json"), Plan.load(RunFolder(run, "").plan)) for run in options.runs]
    loaded.sort(key=lambda pair: (pair[1].array.rows, -pair[0].planned_cycles))
    rows = [row(result, plan, points) for result, plan in loaded]
    print(
        "\n".join(
            [
                f"| {' | '.join(HEADS)} |",
                f"|{' --- |' * len(HEADS)}",
                *(f"| {' | '.join(cells)} |" for cells in rows),
            ]
        )
    )
    if options.csv is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADS, *rows])
        write_text(options.csv, text.getvalue())


def row(result: Result, plan: Plan, points: Sequence[Point]) -> list[str]:
    """One planned run against the uniform points of its array."""
    here = [
        point
        for point in points
        if point.of.array == str(plan.array) and point.of.epochs == result.recipe["epochs"]
    ]
    cycles, accuracy = result.planned_cycles, result.accuracy.final
    affordable = [point for point in here if point.cycles <= cycles]
    as_good = [point for point in here if point.accuracy >= accuracy]
    best = max(affordable, key=lambda point: point.accuracy, default=None)
    fewest = min(as_good, key=lambda point: point.cycles, default=None)
    return [
        str(plan.array),
        f"{cycles:,}",
        percent(result.accuracy.decomposed),
        percent(accuracy),
        "none" if best is None else f"{best.label}, {best.cycles:,.0f}",
        "–" if best is None else percent(best.of.before),
        "–" if best is None else percent(best.accuracy),
        "–" if best is None else f"{100 * (accuracy - best.accuracy):+.2f}",
        "none" if fewest is None else f"{fewest.label}, {fewest.cycles:,.0f}, {percent(fewest.accuracy)}",
        "–" if fewest is None else f"{fewest.cycles / cycles:.2f}",
    ]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


if __name__ == "__main__":
    main()
