"""One plan of each network against everything that was trained beside it, by cycles, accuracy and energy.

Usage: python benchmarks/claim.py

Reads `cells.csv` of the grids in `COMPARED`, in `results/reproduction`, and prints the tables of
docs/reproduction.md in Markdown: the plan that was trained under three seeds, and a row for each other
network on the array of that plan. Cycles in the published reading and by the best mapping of each layer;
energy under the best mapping. Times are the others' cycles over the plan's, whichever is more accurate: the
column of points says that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankfold.cost import PUBLISHED
from rankfold.reproduce.headline import Point, average
from rankfold.reproduce.measure import read_table
from rankfold.reproduce.words import table

RESULTS = Path(__file__).resolve().parent.parent / "results" / "reproduction"
BEST = "best"
HEAD = (
    "against",
    "accuracy, %",
    "the plan has, points",
    "cycles, published reading",
    "times the plan's",
    "cycles, best mapping",
    "times the plan's",
    "energy, nJ",
    "the plan needs",
)


@dataclass(frozen=True)
class Compared:
    """A grid, and which of its plans is held against the others on which array."""

    grid: str
    array: str
    max_cycles: int


COMPARED = (
    Compared("resnet20-cifar10-six-epochs", "64x64", 5440),
    Compared("wrn16-4-cifar100-one-epoch", "128x128", 8832),
)


@dataclass(frozen=True)
class Trained:
    """A network of a grid on one array, over its seeds: its point under two readings."""

    best: Point
    published: Point

    @property
    def name(self) -> str:
        """As tables call it, without what all have in common."""
        method, *settings = self.best.label.split(", ")
        own = [words for words in settings if not words.startswith("distilled") and "bits" not in words]
        return ", ".join([method, *own])

    @property
    def energy(self) -> float:
        """nJ per image, under the best mapping."""
        assert self.best.energy is not None
        return self.best.energy / 1000

    @property
    def accuracy(self) -> str:
        """In percent, with the spread over seeds."""
        text = f"{100 * self.best.accuracy:.2f}"
        if self.best.spread is not None:
            text += f" +- {100 * self.best.spread:.2f} ({self.best.seeds} seeds)"
        return text


def trained(compared: Compared) -> list[Trained]:
    """All networks of a grid on the array."""
    points = average(read_table(RESULTS / compared.grid / "cells.csv"))
    here = [point for point in points if point.of.array == compared.array]
    best = {point.of.cell: point for point in here if point.is_of(point.method, BEST)}
    published = {point.of.cell: point for point in here if point.is_of(point.method, PUBLISHED)}
    return [Trained(best[cell], published[cell]) for cell in best]


def row(plan: Trained, other: Trained) -> Sequence[str]:
    """One line of the table."""
    more = plan.energy / other.energy - 1
    return (
        other.name,
        other.accuracy,
        f"{100 * (plan.best.accuracy - other.best.accuracy):+.2f}",
        f"{other.published.cycles:,.0f}",
        f"{other.published.cycles / plan.published.cycles:.2f}",
        f"{other.best.cycles:,.0f}",
        f"{other.best.cycles / plan.best.cycles:.2f}",
        f"{other.energy:,.0f}",
        f"{100 * abs(more):.0f} % {'more' if more > 0 else 'less'}",
    )


def main() -> None:
    for compared in COMPARED:
        networks = trained(compared)
        (plan,) = [one for one in networks if one.best.of.settings == {"max_cycles": compared.max_cycles}]
        others = [other for other in networks if other is not plan]
        print(f"`{compared.grid}`, {compared.array} arrays; {plan.name}: {plan.accuracy} %,", end=" ")
        print(f"{plan.published.cycles:,.0f} cycles in the published reading,", end=" ")
        print(f"{plan.best.cycles:,.0f} by the best mapping, {plan.energy:,.0f} nJ\n")
        print(table(HEAD, [row(plan, other) for other in others], "<>>>>>>>>"), end="\n\n")


if __name__ == "__main__":
    main()
