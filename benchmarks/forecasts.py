"""How good foreseen accuracies are: every trained network as it is foreseen without the runs of its plan.

Usage: python benchmarks/forecasts.py [--out results/planned/forecasts.csv]

Takes the outcomes that come with the package (trained_plans.py), leaves all of one plan out at a time, and
foresees them from the others, with the interval that these others give; then all of the plans with windows
from those without, and the other way round, which is what a new kind of layer would meet. Where fewer than
nine plans are left there is no interval, and its cells are empty. Writes every network with both, and prints
a summary; no data, nothing is drawn, a second.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rankfold.planning.forecast.curve import accuracy_at
from rankfold.planning.forecast.held_out import HeldOut, by_plan, left_out, margin, margins_without
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


def summary(name: str, held_out: Sequence[HeldOut], reaches: Sequence[float]) -> str:
    """How far off accuracies are, and how many lie within intervals that have not seen them."""
    errors = [100 * abs(one.accuracy - one.outcome.accuracy) for one in held_out]
    pairs = zip(held_out, reaches, strict=True)
    within = [abs(one.residual) <= reach for one, reach in pairs if reach < math.inf]
    words = "–"
    if within:
        words = f"{sum(within)} of {len(within)}, {fmean(within):.0%}"
    plans = len({one.outcome.plan for one in held_out})
    return f"| {name} | {plans} | {len(held_out)} | {fmean(errors):.2f} | {max(errors):.2f} | {words} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/planned/forecasts.csv"))
    options = parser.parse_args()
    outcomes = shipped_outcomes()
    reach = margins_without(outcomes)
    held_out = {one.outcome: one for one in left_out(outcomes)}
    others = {one.outcome: one for one in left_out(outcomes, has_windows)}
    tell(held_out, others, reach)
    rows = []
    for own, one in sorted(held_out.items(), key=lambda pair: pair[0].loss):
        found = reach[own.plan, own.taught]
        ends = ["", ""]
        if found < math.inf:
            ends = [f"{accuracy_at(one.excess + sign * found, own.baseline):.4f}" for sign in (1, -1)]
        figures = [own.run, own.kinds, own.loss, own.epochs, int(own.taught), own.before, own.accuracy]
        rows.append([*figures, f"{one.accuracy:.4f}", *ends, f"{others[own].accuracy:.4f}"])
    write_csv(options.out, HEADER, rows)


def tell(
    held_out: Mapping[Outcome, HeldOut],
    others: Mapping[Outcome, HeldOut],
    reach: Mapping[tuple[str, bool], float],
) -> None:
    """Print a row for each set of networks, foreseen without their plan, and one without any windows."""

    def row(name: str, chosen: Callable[[Outcome], bool]) -> str:
        own = [one for outcome, one in held_out.items() if chosen(outcome)]
        return summary(name, own, [reach[by_plan(one.outcome), one.outcome.taught] for one in own])

    print("| networks | plans | networks | mean error, points | largest | within the interval |")
    print("| --- | --: | --: | --: | --: | --: |")
    print(row("all", lambda _: True))
    print(row("with a teacher", lambda outcome: outcome.taught))
    print(row("labels alone", lambda outcome: not outcome.taught))
    print(row("with windows", lambda outcome: has_windows(outcome) == "True"))
    windows = [one for outcome, one in others.items() if has_windows(outcome) == "True"]
    unseen = left_out([one.outcome for one in held_out.values() if has_windows(one.outcome) == "False"])
    reaches = [margin(unseen, one.outcome.taught) for one in windows]
    print(summary("with windows, from those without", windows, reaches))
    largest = max(abs(one.residual) for one in unseen if one.outcome.taught)
    count = sum(abs(one.residual) <= largest for one in windows)
    plans = len({one.outcome.plan for one in unseen if one.outcome.taught})
    print(
        f"within the largest residual of the {plans} taught plans without windows: {count} of {len(windows)}"
    )
    print(f"margin of log-odds with a teacher: {margin(list(held_out.values()), True):.3f}")


if __name__ == "__main__":
    main()
