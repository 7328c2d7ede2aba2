"""The README's picture: ResNet-20 on CIFAR-10 under each method, and as the planner made it, on 64x64 arrays.

Usage: python benchmarks/accuracy_picture.py [PICTURE]

Draws runs that are kept in `results`; their commands and seeds are in results/README.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rankfold.report import load_run
from rankfold.report.charts.picture import write_picture

RESULTS = Path(__file__).resolve().parent.parent / "results"
PICTURE = "docs/images/accuracy-cycles.svg"
# Folders, and what they are called for readers who know none of the methods.
RUNS = {
    "planned/distil-64-5440": "planned, 5,440 cycles",
    "planned/distil-64-9088": "planned, 9,088 cycles",
    "planned/distil-64-12016": "planned, 12,016 cycles",
    "cifar10-resnet20/g1-r4": "low-rank, rank 1/4",
    "cifar10-resnet20/g4-r4-10": "low-rank in 4 groups, rank 1/4",
    "cifar10-resnet20/g4-r8": "low-rank in 4 groups, rank 1/8",
    "cifar10-resnet20/pairs-e4": "4 of 9 weights kept (PAIRS)",
    "cifar10-resnet20/patdnn-e4": "4 of 9 weights kept (PatDNN)",
}


def main(arguments: list[str]) -> None:
    """Draw the picture, by default in its place."""
    path = PICTURE
    if arguments:
        path = arguments[0]
    write_picture(path, [load_run(RESULTS / folder, label) for folder, label in RUNS.items()])


if __name__ == "__main__":
    main(sys.argv[1:])
