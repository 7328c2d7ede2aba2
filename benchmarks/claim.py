"""One plan of each network against everything that was trained beside it, by cycles, accuracy and energy.

Usage: python benchmarks/claim.py

Reads `cells.csv` of the grids in `COMPARED`, in `results/reproduction`, and prints the tables of
docs/reproduction.md in Markdown: a plan that was trained under three seeds, and a row for each other network
on the array of that plan; of ResNet-20 the dense network of 2 bits, too, which was trained by itself
(`results/planned/dense-2-bits`). Cycles in the published reading and by the best mapping of each layer;
energy under the best mapping. Times are the others' cycles over the plan's, whichever is more accurate: the
column of points says that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from rankfold.cost import PUBLISHED
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.kinds import PLAIN
from rankfold.plan.methods import settings
from rankfold.reproduce.headline import Point, average
from rankfold.reproduce.measure import costs_on, read_table
from rankfold.reproduce.tables import BEST
from rankfold.reproduce.words import table
from rankfold.workload import zoo_network

RESULTS = Path(__file__).resolve().parent.parent / "results"
HEAD = (
    "against",
    "accuracy",
    "the plan has, points",
    "cycles, published reading",
    "times the plan's",
    "cycles, best mapping",
    "times the plan's",
    "energy, nJ",
    "the plan's energy",
)


@dataclass(frozen=True)
class Compared:
    """A grid, which of its plans is held against the others on which array, and a record beside it."""

    grid: str
    size: int
    plan: str
    beside: str | None = None


COMPARED = (
    Compared("resnet20-cifar10-six-epochs", 64, "plan, c = 5440", beside="dense-2-bits"),
    Compared("wrn16-4-cifar100-one-epoch", 128, "plan, c = 8832"),
)


@dataclass(frozen=True)
class Trained:
    """A network on one array.

    Attributes:
        name: as tables call it, without what all have in common.
        accuracy: mean over the seeds, 0 to 1.
        spread: sample standard deviation; None: of one seed.
        published: cycles in the published reading.
        best: cycles by the best mapping of each layer.
        energy: nJ per image, under that.
        seeds: how many.
    """

    name: str
    accuracy: float
    spread: float | None
    _: KW_ONLY
    published: float
    best: float
    energy: float
    seeds: int = 1

    @property
    def in_percent(self) -> str:
        """The accuracy with its spread."""
        text = f"{100 * self.accuracy:.2f}"
        if self.spread is not None:
            text += f" +- {100 * self.spread:.2f}"
        text += " %"
        if self.seeds > 1:
            text += f" ({self.seeds} seeds)"
        return text


def of_grid(compared: Compared) -> list[Trained]:
    """All networks of a grid on the array."""
    points = average(read_table(RESULTS / "reproduction" / compared.grid / "cells.csv"))
    array = f"{compared.size}x{compared.size}"
    here = [point for point in points if point.of.array == array]
    published = {point.of.cell: point for point in here if point.of.mapping == PUBLISHED}
    best = [point for point in here if (point.of.mapping, point.of.steering) == (BEST, PLAIN)]
    return [_trained(point, published[point.of.cell]) for point in best]


def _trained(best: Point, published: Point) -> Trained:
    assert best.energy is not None
    known = settings()
    # The teacher and the bits are those of all.
    own = [f"{known[name].short} = {value}" for name, value in best.of.settings.items()]
    return Trained(
        ", ".join([best.title, *own]),
        best.accuracy,
        best.spread,
        published=published.cycles,
        best=best.cycles,
        energy=best.energy / 1000,
        seeds=best.seeds,
    )


def of_record(name: str, size: int) -> Trained:
    """A dense ResNet-20 that was trained once, by itself, on arrays of the size."""
    folder = RESULTS / "planned" / name
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    plan = Plan.load(folder / "plan.json")
    costs = costs_on(ArraySpec(size, size), zoo_network("resnet20"), plan, {}, DEFAULT_HARDWARE)
    (bits,) = {layer.weight_bits for layer in plan.layers[1:-1]}  # the first and the last have eight
    epochs = result["recipe"]["epochs"]
    return Trained(
        f"dense, {bits} bits, {epochs} epochs",
        result["accuracy"]["final"],
        None,
        published=costs[PUBLISHED][0],
        best=costs[BEST][0],
        energy=costs[BEST][2] / 1000,
    )


def row(plan: Trained, other: Trained) -> Sequence[str]:
    """One line of the table."""
    more = plan.energy / other.energy - 1
    way = "less"
    if more > 0:
        way = "more"
    return (
        other.name,
        other.in_percent,
        f"{100 * (plan.accuracy - other.accuracy):+.2f}",
        f"{other.published:,.0f}",
        f"{other.published / plan.published:.2f}",
        f"{other.best:,.0f}",
        f"{other.best / plan.best:.2f}",
        f"{other.energy:,.0f}",
        f"{100 * abs(more):.0f} % {way}",
    )


def main() -> None:
    """Print a table for each grid."""
    for compared in COMPARED:
        networks = of_grid(compared)
        (plan,) = [one for one in networks if one.name == compared.plan]
        others = [other for other in networks if other is not plan]
        if compared.beside is not None:
            others.append(of_record(compared.beside, compared.size))
        print(f"`{compared.grid}`, {compared.size}x{compared.size} arrays; {plan.name}:", end=" ")
        print(f"{plan.in_percent}, {plan.published:,.0f} cycles in the published reading,", end=" ")
        print(f"{plan.best:,.0f} by the best mapping, {plan.energy:,.0f} nJ\n")
        print(table(HEAD, [row(plan, other) for other in others], "<>>>>>>>>"), end="\n\n")


if __name__ == "__main__":
    main()
