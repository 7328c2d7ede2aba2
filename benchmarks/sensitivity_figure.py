"""The figure of docs/sensitivity.md, from results/sensitivity/plans.csv.

Usage: python benchmarks/sensitivity_figure.py [--from results/sensitivity] [--to docs/images]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.files import write_text
from rankfold.report.charts.drawing import SIZE, svg, svg_file
from rankfold.report.palette import INK, SOFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (  # set, column of the predictor, title
    ("any", "predicted", "any size: predicted loss"),
    ("equal", "predicted", "50 to 60 % of the weights: predicted loss"),
    ("equal", "output_error", "the same: sum of relative output errors"),
)
MEASURED = {"accuracy": ("float", "#0072b2"), "accuracy_4bit": ("4 bits", "#d55e00")}
WIDE = 100  # ratio of predictions above which the axis shows powers of ten alone
Rows = list[dict[str, str]]


def scatter(rows: Rows) -> str:
    """Accuracy against what was predicted, one dot for each plan."""

    # Imported here, as in the report: matplotlib is slow to load.
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def draw(figure: Figure) -> None:
        width, height = figure.get_size_inches() * 72
        for number, (name, predictor, title) in enumerate(PANELS):
            axes = figure.add_axes(
                ((34 + 226 * number) / width, 62 / height, 194 / width, (height - 88) / height)
            )
            shown = [row for row in rows if row["set"] == name]
            for column, (_, shade) in MEASURED.items():
                points = [
                    (float(row[predictor]), 100 * float(row[column])) for row in shown if row[column] != "nan"
                ]
                axes.scatter(
                    *zip(*points, strict=True), s=11, color=shade, alpha=0.75, linewidths=0
                ) if points else None
            values = [float(row[predictor]) for row in shown if float(row[predictor]) > 0]
            axes.set_xscale("log")
            wide = not values or max(values) / min(values) > WIDE
            labelled = (1.0, 2.0, 5.0)
            if wide:
                labelled = (1.0,)
            axes.xaxis.set_major_locator(LogLocator(subs=labelled))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(0, 100)
            axes.tick_params(length=0, which="both")
            axes.set_title(title, loc="left", fontsize=SIZE - 1.2, color=SOFT)
        for number, (label, shade) in enumerate(MEASURED.values()):
            figure.text(0.01 + 0.1 * number, 16 / height, "●", color=shade, va="center")
            figure.text(0.03 + 0.1 * number, 16 / height, label, color=INK, va="center")
        figure.text(0.22, 16 / height, "upwards: accuracy before fine-tuning, %", color=SOFT, va="center")

    return svg("sensitivity", "Accuracy of random plans against their predicted loss", 290, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the figure of docs/sensitivity.md.")
    parser.add_argument("--from", type=Path, default=Path("results/sensitivity"), dest="source")
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with (options.source / "plans.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    write_text(options.to / "sensitivity.svg", svg_file(scatter(rows)))


if __name__ == "__main__":
    main()
