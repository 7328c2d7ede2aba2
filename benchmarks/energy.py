"""Energy, latency and area of ResNet-20 and WRN16-4 by method, array and technology, and how sure that is.

Usage: python benchmarks/energy.py [--out results/energy]

Writes to results/energy:
  networks.csv     every network x method x array (32 to 256) x technology (SRAM, RRAM at 22 and 32 nm) x ADC
                   (flash, SAR)
  sensitivity.csv  saving against dense im2col for ADC shares of 30 to 80 %, and the share at which it turns
  flips.csv        pairs of methods that change places between ADC shares of 30 and 80 %, and where
benchmarks/energy_figures.py draws them. Takes a few minutes on one core, nearly all of it for the mappings of
pruned layers. Nothing is random but the weights of WRN16-4 (seed 0), whose pruning patterns have no trained
network to come from. ResNet-20's patterns are those of the shipped float weights, from which pruned training
starts. Accuracies are those of results/cifar10-resnet20, whose folders the rows name; without a folder no
network has been trained. 4-bit weights and inputs (8 in the first convolution), 5-bit ADCs, 1-bit DACs, 1-bit
SRAM and 2-bit RRAM cells, differential coding, ADCs that convert differences of columns. The accuracy on
these arrays is that of default_arrays.py, where it simulated the row's network on them; else `not simulated`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from rankfold.cost import Masks, network_cycles
from rankfold.cost.energy import (
    TABLES,
    Comparison,
    NetworkEnergy,
    cheapest_mappings,
    load_table,
    network_energy,
)
from rankfold.files import write_text
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Pairs, PatDNN, PatternLayer, Plan, uniform_plan
from rankfold.plan import Method as Setting
from rankfold.plan.kinds import IDEAL
from rankfold.pruning import Pruning, choose_masks
from rankfold.workload import Network, zoo_network

RUNS = Path("results/cifar10-resnet20")
SIDES = (32, 64, 128, 256)
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
BITS = 4
Make = Callable[[Network, ArraySpec], Plan]


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        name: what it is called.
        plan: makes its plan for a network and an array.
        folder: the run that gives its accuracy on ResNet-20; for pruned networks one is looked for, see
            `run_of`.
        circuits: whether steering circuits are paid for.
        only: the only network it exists for, or None.
        cheapest: whether every layer gets the mapping of least energy, whatever the plan says; accuracy does
            not depend on it.
    """

    name: str
    plan: Make
    folder: str | None = None
    circuits: bool = True
    only: str | None = None
    cheapest: bool = False


def uniform(mapping: str, setting: Setting | None = None) -> Make:
    return lambda network, array: uniform_plan(network, array, setting, bits=BITS, mapping=mapping)


def of_run(folder: str) -> Make:
    """The plan of a run; it was made for its own array and is followed on others as it is."""
    return lambda network, array: replace(Plan.load(RUNS / folder / "plan.json"), array=array)


SHIPPED = uniform("sdk")  # as the shipped 4-bit network is laid out
METHODS = (
    Method("dense, im2col", uniform("im2col"), "4bit"),
    Method("dense, SDK", SHIPPED, "4bit"),
    Method("dense, best windows", uniform("best"), "4bit"),
    Method("dense, mappings of least energy", uniform("best"), "4bit", cheapest=True),
    Method("PatDNN, e = 4, rows skipped", uniform("sdk", PatDNN(4))),
    Method("PatDNN, e = 4, ideal steering for free", uniform("sdk", PatDNN(4, IDEAL)), circuits=False),
    Method("PatDNN, e = 4, ideal steering with circuits", uniform("sdk", PatDNN(4, IDEAL))),
    Method("PAIRS, e = 4", uniform("sdk", Pairs(4))),
    Method("PAIRS, e = 2", uniform("sdk", Pairs(2))),
    Method("plain low-rank, r = m/4, im2col", uniform("im2col", LowRank(rank="1/4", force=True)), "g1-r4"),
    Method("plain low-rank, r = m/8, im2col", uniform("im2col", LowRank(rank="1/8", force=True)), "g1-r8"),
    Method(
        "group low-rank, g = 4, r = m/4, SDK",
        uniform("sdk", LowRank(rank="1/4", groups=4, force=True)),
        "g4-r4-10",
    ),
    Method(
        "group low-rank, g = 4, r = m/8, SDK",
        uniform("sdk", LowRank(rank="1/8", groups=4, force=True)),
        "g4-r8",
    ),
    Method(
        "group low-rank, g = 4, r = m/4, mappings of least energy",
        uniform("sdk", LowRank(rank="1/4", groups=4, force=True)),
        "g4-r4-10",
        cheapest=True,
    ),
    Method("mixed plan, made by hand for 64x64", of_run("mixed"), "mixed", only="resnet20"),
    Method("mixed plan, mappings of least energy", of_run("mixed"), "mixed", only="resnet20", cheapest=True),
)


@dataclass(frozen=True)
class Row:
    """One method on one array in one technology."""

    network: Network
    method: Method
    plan: Plan
    array: ArraySpec
    energy: NetworkEnergy
    cycles: int
    conversions: int
    against: Comparison


def masks_of(network: Network, plan: Plan) -> Masks:
    """The masks of a pruned plan: from the shipped float weights, or from random ones where there are
    none.
    """
    from safetensors.numpy import load_file

    chosen = {layer.name: layer.kind for layer in plan.layers if isinstance(layer.kind, PatternLayer)}
    if not chosen:
        return {}
    if network.name == "resnet20":
        stored = load_file("src/rankfold/weights/resnet20-cifar10-float/model.safetensors")
        weights = {name: stored[f"{name}.weight"].astype(np.float64) for name in chosen}
    else:
        draw = np.random.default_rng(0)
        shapes = {layer.weight: layer for layer in network.convolutions}
        weights = {
            name: draw.standard_normal(
                (shapes[name].m, shapes[name].in_channels // shapes[name].groups, *shapes[name].kernel)
            )
            for name in chosen
        }
    prunings = {name: Pruning(str(kind.variant), kind.entries) for name, kind in chosen.items()}
    return choose_masks(weights, prunings)


def rows() -> Iterator[Row]:
    for name in ("resnet20", "wrn16-4"):
        network = zoo_network(name)
        for side in SIDES:
            plans = {
                method: method.plan(network, ArraySpec(side, side))
                for method in METHODS
                if method.only in (None, name)
            }
            masks = {method: masks_of(network, plan) for method, plan in plans.items()}
            counts = {
                method: network_cycles(network, plan, ("im2col",), masks[method])
                for method, plan in plans.items()
            }
            for cell in (
                "rram",
                "sram",
            ):  # their cells hold 2 bits and 1, which is all that mappings see of a technology
                tables = [load_table(table) for table in TABLES if table.startswith(cell)]
                mapped = {
                    method: network_energy(network, plan, tables[0], masks[method], method.circuits)
                    for method, plan in plans.items()
                }
                for table in (table.with_adc(adc) for table in tables for adc in ("flash", "sar")):
                    dense = mapped[METHODS[0]].with_table(table)
                    for method, energy in mapped.items():
                        found, count = energy.with_table(table), counts[method]
                        if method.cheapest:
                            plan = cheapest_mappings(network, plans[method], table)
                            found, count = (
                                network_energy(network, plan, table),
                                network_cycles(network, plan, ("im2col",)),
                            )
                        yield Row(
                            network,
                            method,
                            plans[method],
                            plans[method].array,
                            found,
                            count.chosen_cycles,
                            count.chosen_conversions,
                            Comparison.of(found, dense),
                        )


def run_of(row: Row) -> str | None:
    """The folder of the trained network: the method's own, or that of the best run pruned alike; None: there
    is none.
    """
    if row.network.name != "resnet20":
        return None
    if row.method.folder is not None:
        return row.method.folder
    wanted = patterns(row.plan)
    alike = [folder.name for folder in RUNS.iterdir() if patterns(Plan.load(folder / "plan.json")) == wanted]
    return max(alike, key=final_accuracy, default=None)


def patterns(plan: Plan) -> set[tuple[str | None, int]]:
    """(pruning, entries) of the layers that are pruned."""
    return {
        (layer.kind.variant, layer.kind.entries)
        for layer in plan.layers
        if isinstance(layer.kind, PatternLayer)
    }


def final_accuracy(folder: str) -> float:
    return float(json.loads((RUNS / folder / "result.json").read_text())["accuracy"]["final"])


def accuracy(row: Row) -> str:
    folder = run_of(row)
    return "" if folder is None else f"{final_accuracy(folder):.4f}"


def accuracy_on_arrays(row: Row) -> str:
    """What the row's trained network keeps on arrays of this kind, if that was simulated (default_arrays.py).

    The shipped weights are those of the dense 4-bit run, and so is its plan; nothing else was simulated.
    """
    if run_of(row) is None:
        return "no network"
    table, array = row.energy.table, row.energy.array
    machine = [str(array.cell_bits), array.coding, array.converts, str(table.adc_bits)]
    if run_of(row) == "4bit" and (array.rows, array.columns) == (64, 64) and row.method.plan is SHIPPED:
        with (Path("results/energy") / "default_arrays.csv").open() as file:
            for line in csv.reader(file):
                if line[:4] == machine:
                    return line[-1]
    return "not simulated"


def written(header: list[str], lines: list[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def networks_csv(found: list[Row]) -> str:
    parts = list(found[0].energy.components)
    header = [
        "network",
        "method",
        "run",
        "accuracy",
        "accuracy_on_arrays",
        "array",
        "technology",
        "adc",
        "cycles",
        "conversions",
        "array_reads",
        "array_conversions",
        "energy_nj",
        "saving",
        "saving_low",
        "saving_high",
        "leakage_uw",
        "arrays",
        "area_mm2",
        "latency_us",
        "interval_us",
        "tops_per_watt",
        "utilisation",
        *(f"{part}_nj" for part in parts),
    ]
    return written(header, [network_line(row, parts) for row in found])


def network_line(row: Row, parts: list[str]) -> list[object]:
    """The values of a row in the order of the header of networks.csv."""
    energy = row.energy
    figures = (energy.energy / 1e3, row.against.saving, *row.against.band, energy.leakage)
    rest = (energy.area, energy.latency, energy.interval, energy.tops_per_watt, energy.utilisation)
    return [
        row.network.name,
        row.method.name,
        run_of(row) or "",
        accuracy(row),
        accuracy_on_arrays(row),
        str(row.array),
        energy.table.name,
        f"{energy.table.adc_bits}-bit {energy.table.adc}",
        row.cycles,
        row.conversions,
        energy.reads,
        energy.conversions,
        *(f"{value:.5g}" for value in figures),
        energy.arrays,
        *(f"{value:.5g}" for value in rest),
        *(f"{energy.components[part] / 1e3:.5g}" for part in parts),
    ]


def sensitivity_csv(found: list[Row]) -> str:
    """Making every conversion dearer moves the ADC's share and nothing else, so one line serves both kinds of
    ADC.
    """
    header = [
        "network",
        "method",
        "array",
        "technology",
        "adc_ratio",
        "others_ratio",
        *(f"saving_at_{share:.0%}" for share in SHARES),
        "flips_at_share",
        "flash_share",
    ]
    lines: list[list[object]] = []
    for row in found:
        if row.energy.table.adc != "flash":
            continue
        against = row.against
        flip = "" if against.flip is None else f"{against.flip:.3f}"
        lines.append(
            [
                row.network.name,
                row.method.name,
                str(row.array),
                row.energy.table.name,
                f"{against.adc:.4f}",
                f"{against.others:.4f}",
                *(f"{1 - against.ratio(share):.4f}" for share in SHARES),
                flip,
                f"{against.share:.3f}",
            ]
        )
    return written(header, lines)


def flips_csv(found: list[Row]) -> str:
    """Which methods change places, and at which share of ADCs in the energy of dense im2col."""
    places: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        if row.energy.table.adc == "flash":
            places.setdefault((row.network.name, str(row.array), row.energy.table.name), []).append(row)
    lines: list[list[object]] = []
    for place, there in places.items():
        for first, second in combinations(there, 2):
            share = first.against.flip_against(second.against)
            if share is not None and SHARES[0] < share < SHARES[-1]:
                low, high = sorted((first, second), key=lambda row: row.against.ratio(SHARES[0]))
                lines.append([*place, low.method.name, high.method.name, f"{share:.3f}"])
    return written(["network", "array", "technology", "better_below", "better_above", "share"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Energy of ResNet-20 and WRN16-4 under every method.")
    parser.add_argument("--out", type=Path, default=Path("results/energy"))
    options = parser.parse_args()
    found = list(rows())
    write_text(options.out / "networks.csv", networks_csv(found))
    write_text(options.out / "sensitivity.csv", sensitivity_csv(found))
    write_text(options.out / "flips.csv", flips_csv(found))
    print(f"{len(found)} rows in {options.out}")


if __name__ == "__main__":
    main()
