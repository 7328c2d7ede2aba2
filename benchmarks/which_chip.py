"""The worked example of docs/chips.md: which of three chips for ResNet-50, and what methods change about it.

Usage: python benchmarks/which_chip.py [--network resnet50] [--out results/chips]

On every chip, with 4 bits (first and last layer 8): dense under im2col, dense with the mappings of the
shortest interval, group low-rank (g = 4, r = m/8), windows of two row tiles, and a plan of mappings and
copies for the least energy whose interval is no longer than that of the dense network. No data, no seed:
shapes alone. Accuracies are not measured here.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

from measured_rows import commit

from rankfold.chip.best import run_on_chip
from rankfold.chip.run import ChipRun
from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.machine import ChipSpec, load_chip
from rankfold.plan import LowRank, Windows, uniform_plan
from rankfold.planning.exact import Budget
from rankfold.planning.on_chip.plan import mapping_plan_on_chip
from rankfold.workload import Network, zoo_network

CHIPS = ("isaac", "puma", "isscc-2021-16.4")
COLUMNS = (
    "chip",
    "method",
    "how",
    "arrays_used",
    "images_per_second",
    "latency_us",
    "energy_uj",
    "area_mm2",
    "limit",
    "commit",
)


def runs(network: Network, chip: ChipSpec) -> dict[str, ChipRun]:
    """The network under every method, by its name; without those that the chip cannot run."""
    array = chip.hardware.array
    plans = {
        "dense, im2col": (uniform_plan(network, array, bits=4, mapping="im2col"), False),
        "dense": (uniform_plan(network, array, bits=4), True),
        "group low-rank": (uniform_plan(network, array, LowRank(groups=4, rank="1/8"), bits=4), True),
        "windows": (uniform_plan(network, array, Windows(row_tiles=2), bits=4), True),
    }
    found = {}
    for name, (plan, free) in plans.items():
        found[name] = run_on_chip(network, plan, chip, choose_mappings=free)
    try:
        within = Budget("interval", found["dense"].interval)
        found["planned mappings and copies"] = mapping_plan_on_chip(
            network, chip, within, objective="energy"
        ).run
    except InputError as error:
        print(f"{network.name} on {chip.name}: {error}")
    return found


def row(name: str, run: ChipRun) -> list[str]:
    """One line of the table."""
    return [
        run.chip.name,
        name,
        run.mode,
        str(run.arrays_used),
        f"{run.images_per_second:.1f}",
        f"{run.latency:.2f}",
        f"{1e-6 * run.total_energy:.2f}",
        f"{sum(run.area.values()):.1f}",
        run.limit,
        commit(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--out", type=Path, default=Path("results/chips"))
    options = parser.parse_args()
    network = zoo_network(options.network)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for chip_name in CHIPS:
        for name, run in runs(network, load_chip(chip_name)).items():
            writer.writerow(row(name, run))
            print(*row(name, run), sep="  ", flush=True)
    write_text(options.out / f"which_chip_{network.name}.csv", text.getvalue())


if __name__ == "__main__":
    main()
