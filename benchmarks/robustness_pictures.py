"""The charts of networks on worse and worse arrays, drawn from the tables that are kept of them.

Usage: python benchmarks/robustness_pictures.py [--to docs/images]

Writes robustness.svg from results/robustness/cifar10-resnet20.csv (arrays whose columns are converted one by
one) and window-robustness.svg from results/windows/robustness.csv. Nothing is simulated; the commands of the
tables are in results/README.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rankfold.report.charts.robustness import write_robustness_chart
from rankfold.report.mixed.simulations import read_sweep

RESULTS = Path(__file__).parents[1] / "results"
COLUMNS_CONVERTED = "default with cell_bits 2, converts columns"
# What networks are called in the chart, by the folder of their run.
LABELS = {
    "dense64-e4": "dense, 64x64",
    "t64-5440-e4": "without windows, 64x64",
    "p64-5440-e4": "windows, 64x64",
    "p128-2208-e4": "windows, 128x128",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("docs/images"), metavar="DIR")
    options = parser.parse_args()
    swept = read_sweep(RESULTS / "robustness" / "cifar10-resnet20.csv", "resnet20").points
    alike = [point for point in swept if point.hardware == COLUMNS_CONVERTED]
    write_robustness_chart(options.to / "robustness.svg", alike)
    swept = read_sweep(RESULTS / "windows" / "robustness.csv", "windows").points
    named = [replace(point, run=LABELS[point.run]) for point in swept]
    write_robustness_chart(options.to / "window-robustness.svg", named)


if __name__ == "__main__":
    main()
