"""How good foreseen accuracies are: every trained network as it is foreseen without the runs of its plan.

Usage: python benchmarks/forecasts.py [--out results/planned/forecasts.csv]

Takes the outcomes that come with the package (trained_plans.py), leaves all of one plan out at a time, and
foresees them from the others; then all of the plans with windows from those without, and the other way round,
which is what a new kind of layer would meet. Writes every network with both, and prints a summary; no data,
nothing is drawn, a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from rankfold.planning.forecast.curve import accuracy_at
from rankfold.planning.forecast.held_out import HeldOut, left_out, margins
from rankfold.planning.forecast.outcome import Outcome, shipped_outcomes
from rankfold.records.csv_table import write_csv

HEADER = (
    "run",
    "kinds",
    "loss",
    "epochs",
    "taught",
    "before",
    "accuracy",
    "foreseen",
    "low",
    "high",
    "from_other_kinds",
)


def has_windows(outcome: Outcome) -> str:
    """Whether any layer became windows."""
    return str("window" in outcome.kinds)


def summary(name: str, held_out: list[HeldOut], reach: dict[bool, float]) -> str:
    """How far off accuracies are."""
    errors = [100 * abs(one.accuracy - one.outcome.accuracy) for one in held_out]
    within = fmean(abs(one.residual) <= reach[one.outcome.taught] for one in held_out)
    plans = len({one.outcome.plan for one in held_out})
    return f"| {name} | {plans} | {len(held_out)} | {fmean(errors):.2f} | {max(errors):.2f} | {within:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/planned/forecasts.csv"))
    options = parser.parse_args()
    outcomes = shipped_outcomes()
    held_out = left_out(outcomes)
    reach = margins(held_out)
    others = {one.outcome: one for one in left_out(outcomes, has_windows)}
    print("| networks | plans | networks | mean error, points | largest | within the interval |")
    print("| --- | --: | --: | --: | --: | --: |")
    print(summary("all", list(held_out), reach))
    print(summary("with a teacher", [one for one in held_out if one.outcome.taught], reach))
    print(summary("labels alone", [one for one in held_out if not one.outcome.taught], reach))
    windows = [one for one in held_out if has_windows(one.outcome) == "True"]
    print(summary("with windows", windows, reach))
    print(summary("with windows, from those without", [others[one.outcome] for one in windows], reach))
    print(f"margins of log-odds: {reach[True]:.3f} with a teacher, {reach[False]:.3f} from labels alone")
    rows = []
    for one in sorted(held_out, key=lambda one: one.outcome.loss):
        own = one.outcome
        ends = [accuracy_at(one.excess + sign * reach[own.taught], own.baseline) for sign in (1, -1)]
        foreseen = [one.accuracy, *ends, others[own].accuracy]
        shares = [f"{share:.4f}" for share in foreseen]
        figures = [own.run, own.kinds, own.loss, own.epochs, int(own.taught), own.before, own.accuracy]
        rows.append([*figures, *shares])
    write_csv(options.out, HEADER, rows)


if __name__ == "__main__":
    main()
