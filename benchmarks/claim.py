"""One plan of each network against everything that was trained beside it, by cycles, accuracy and energy.

Usage: python benchmarks/claim.py

Reads `cells.csv` of the grids in `COMPARED`, in `results/reproduction`, and prints the tables of
docs/reproduction.md in Markdown: a plan that was trained under three seeds, and a row for each other network
on the array of that plan; of ResNet-20 the dense networks of 4, 3 and 2 bits, too, which were trained by
themselves (`results/planned/dense-4-bits`, of further seeds `dense-4-bits-s1`, and so on). Cycles in the
published reading and by the best mapping of each layer; energy under the best mapping. Times are the others'
cycles over the plan's, whichever is more accurate: the column of points says that.

Then, of the first training of each, what arrays as they are built make of it: what it keeps there
(`on_arrays.csv`, `window_on_arrays.py`) and what it costs (`priced.csv`, `priced_networks.py`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

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
HEAD_ON_ARRAYS = (
    "network",
    "quantised",
    "on its arrays",
    "array cycles",
    "latency, us",
    "arrays",
    "mm2",
    "energy, nJ",
)
ADC_BITS = "5"  # of the hardware that energy is counted for


@dataclass(frozen=True)
class Compared:
    """A grid, and which of its plans is held against the others on which array.

    Attributes:
        grid: its folder in `results/reproduction`.
        size: rows and columns of the array.
        plan: as tables call it.
        beside: records of dense networks, in `results/planned`, that stand beside it.
        simulated: whether its cells are those of `on_arrays.csv`; another grid has cells of the same names.
    """

    grid: str
    size: int
    plan: str
    beside: tuple[str, ...] = ()
    simulated: bool = True


TWENTY_EPOCHS = ("dense-4-bits", "dense-3-bits", "dense-2-bits")
COMPARED = (
    Compared("resnet20-cifar10-six-epochs", 64, "plan, 5,440 cycles", TWENTY_EPOCHS),
    Compared("wrn16-4-cifar100-one-epoch", 128, "plan, 8,832 cycles"),
    Compared("wrn16-4-cifar100-three-epochs", 128, "plan, 8,832 cycles", simulated=False),
)


@dataclass(frozen=True)
class Trained:
    """A network on one array.

    Attributes:
        name: as tables call it, without what all have in common.
        cell: of its first training; empty where it is no cell of a grid.
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
    cell: str = ""

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
    # The teacher and the bits are those of all.
    own = [in_words(name, value) for name, value in best.of.settings.items()]
    return Trained(
        ", ".join([best.title, *own]),
        best.accuracy,
        best.spread,
        published=published.cycles,
        best=best.cycles,
        energy=best.energy / 1000,
        seeds=best.seeds,
        cell=best.of.cell,
    )


def in_words(setting: str, value: Any) -> str:
    """A setting of a method, as tables have it."""
    if setting == "max_cycles":
        return f"{value:,} cycles"
    if setting == "rounding":
        return f"rounding {value}"
    if setting == "max_energy":
        return f"{int(value.removesuffix('nJ')):,} nJ"
    if setting == "layer_bits":
        return f"{value} bits by layer"
    return f"{settings()[setting].short} = {value}"


def of_record(name: str, size: int) -> Trained:
    """A dense ResNet-20 that was trained by itself, under all seeds on record, on arrays of the size."""
    folder = RESULTS / "planned" / name
    results = []
    for one in (folder, *sorted(folder.parent.glob(f"{name}-s[0-9]"))):
        results.append(json.loads((one / "result.json").read_text(encoding="utf-8")))
    accuracies = [result["accuracy"]["final"] for result in results]
    spread = stdev(accuracies) if len(accuracies) > 1 else None
    plan = Plan.load(folder / "plan.json")
    costs = costs_on(ArraySpec(size, size), zoo_network("resnet20"), plan, {}, DEFAULT_HARDWARE)
    (bits,) = {layer.weight_bits for layer in plan.layers[1:-1]}  # the first and the last have eight
    (epochs,) = {result["recipe"]["epochs"] for result in results}
    return Trained(
        f"dense, {bits} bits, {epochs} epochs",
        fmean(accuracies),
        spread,
        published=costs[PUBLISHED][0],
        best=costs[BEST][0],
        energy=costs[BEST][2] / 1000,
        seeds=len(results),
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


def recorded(table: str, array: str) -> dict[str, dict[str, str]]:
    """The rows of a table in `results/reproduction` that are of one array, by cell."""
    with (RESULTS / "reproduction" / table).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["array"] == array]
    return {row["name"]: row for row in rows if row.get("adc_bits", ADC_BITS) == ADC_BITS}


def on_arrays(compared: Compared, networks: Sequence[Trained]) -> Iterator[Sequence[str]]:
    """A line for each network that was simulated on arrays as they are built."""
    array = f"{compared.size}x{compared.size}"
    kept, priced = recorded("on_arrays.csv", array), recorded("priced.csv", array)
    for network in networks:
        if network.cell not in kept:
            continue
        accuracies, costs = kept[network.cell], priced[network.cell]
        yield (
            network.name,
            f"{100 * float(accuracies['quantised']):.2f} %",
            f"{100 * float(accuracies['on_arrays']):.2f} %",
            f"{int(costs['array_cycles']):,}",
            f"{float(costs['latency_us']):.0f}",
            costs["arrays"],
            costs["mm2"],
            f"{float(costs['energy_nj']):,.0f}",
        )


def main() -> None:
    """Print a table for each grid, then for each what its arrays make of its networks."""
    found = {compared: of_grid(compared) for compared in COMPARED}
    for compared, networks in found.items():
        (plan,) = [one for one in networks if one.name == compared.plan]
        others = [other for other in networks if other is not plan]
        others += [of_record(name, compared.size) for name in compared.beside]
        print(f"`{compared.grid}`, {compared.size}x{compared.size} arrays; {plan.name}:", end=" ")
        print(f"{plan.in_percent}, {plan.published:,.0f} cycles in the published reading,", end=" ")
        print(f"{plan.best:,.0f} by the best mapping, {plan.energy:,.0f} nJ\n")
        print(table(HEAD, [row(plan, other) for other in others], "<>>>>>>>>"), end="\n\n")
    for compared, networks in found.items():
        if not compared.simulated:
            continue
        print(f"`{compared.grid}`, on its arrays:\n")
        print(table(HEAD_ON_ARRAYS, list(on_arrays(compared, networks)), "<>>>>>>>"), end="\n\n")


if __name__ == "__main__":
    main()
