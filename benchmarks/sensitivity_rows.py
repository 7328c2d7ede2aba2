"""The table of measured plans, and how well each predictor ranks them: for sensitivity.py beside it."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from rankfold.files import write_text

ANY, EQUAL, WINDOWS, PLAIN = "any", "equal", "windows", "plain"  # the sets of plans
PREDICTORS = ("predicted", "kronecker", "output_error", "weight_error", "parameters", "cycles")
RISING = ("parameters", "cycles")  # the more, the better; of the others the less


@dataclass(frozen=True)
class Row:
    """One plan: predictors, and what was measured."""

    set: str
    plan: str
    predicted: float
    kronecker: float
    output_error: float
    weight_error: float
    parameters: int
    cycles: int
    accuracy: float
    accuracy_4bit: float


def correlate(file: Path, rows: list[Row], seed: int) -> None:
    """Rank correlations of every predictor with every measurement, in each set."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["set", "plans", "measured", "predictor", "spearman", "low", "high", "kendall", "low", "high"]
    )
    for name, measure in (
        (ANY, "accuracy"),
        (ANY, "accuracy_4bit"),
        (EQUAL, "accuracy"),
        (WINDOWS, "accuracy"),
        (PLAIN, "accuracy"),
    ):
        chosen = [row for row in rows if row.set == name and not math.isnan(getattr(row, measure))]
        if chosen:
            for predictor in PREDICTORS:
                sign = 1 if predictor in RISING else -1
                pairs = np.array([(sign * getattr(row, predictor), getattr(row, measure)) for row in chosen])
                found = []
                for rank in (spearmanr, kendalltau):
                    draw = np.random.default_rng(seed)
                    samples = [
                        rank(*pairs[draw.integers(len(pairs), size=len(pairs))].T).statistic
                        for _ in range(2000)
                    ]
                    found += [rank(*pairs.T).statistic, *np.nanquantile(samples, (0.025, 0.975))]
                table.writerow([name, len(chosen), measure, predictor, *(f"{value:.3f}" for value in found)])
                print(
                    f"{name:5} {measure:13} {predictor:12} "
                    f"Spearman {found[0]:6.3f} [{found[1]:.3f}, {found[2]:.3f}]   "
                    f"Kendall {found[3]:6.3f} [{found[4]:.3f}, {found[5]:.3f}]"
                )
    write_text(file, out.getvalue())


def read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as source:
        return [
            Row(row["set"], row["plan"], *(float(row[one.name]) for one in fields(Row)[2:]))
            for row in csv.DictReader(source)
        ]


def write(file: Path, rows: list[Row]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([one.name for one in fields(Row)])
    table.writerows(
        [row.set, row.plan, *(f"{getattr(row, one.name):.8g}" for one in fields(Row)[2:])] for row in rows
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, out.getvalue())
