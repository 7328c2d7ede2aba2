"""What trained networks cost on the arrays that energy is counted for: array cycles, latency, energy, area.

Usage: python benchmarks/priced_networks.py RUN ... [--array 64x64] [--out results/reproduction/priced.csv]

RUN is the folder of a finished run of `rankfold compress`, such as `cells/NAME` of a reproduction. Its
network lies on `rram-22nm` arrays of the given size, under the best mapping of each layer: 2-bit cells, four
columns for a weight of four bits, inputs bit by bit. Cycles of papers count whole weights and whole inputs;
the array cycles here are reads of these arrays, one for each bit of the inputs and each tile of the matrices
as they lie there. Every stored tile has an array of its own. Nothing is drawn; what the table holds is not
counted again; a second a network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measured_rows import Rows, commit

from rankfold.cost.energy import all_laid_out, hardware_table, network_energy
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan, masks_for
from rankfold.reproduce.tables import BEST
from rankfold.runs.folder import RunFolder
from rankfold.workload import zoo_network

KEYS = 3
HEADER = (
    "network",
    "name",
    "array",
    "array_cycles",
    "arrays",
    "mm2",
    "latency_us",
    "interval_us",
    "energy_nj",
    "commit",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--array", type=ArraySpec.parse, default=ArraySpec(64, 64))
    parser.add_argument("--out", type=Path, default=Path("results/reproduction/priced.csv"))
    options = parser.parse_args()
    machine = DEFAULT_HARDWARE.altered(rows=options.array.rows, columns=options.array.columns)
    rows = Rows(options.out, HEADER, KEYS)
    for folder in options.runs:
        run = RunFolder(folder, "")
        plan = Plan.load(run.plan)
        key = [plan.model, folder.name, str(options.array)]
        if key in rows:
            continue
        network = zoo_network(plan.model, plan.input)
        masks = masks_for(plan, run.weights)
        plan = all_laid_out(plan, BEST).on(machine)
        found = network_energy(network, plan, hardware_table(machine), masks)
        amounts = [f"{found.area:.2f}", f"{found.latency:.1f}", f"{found.interval:.1f}"]
        energy = f"{found.energy / 1000:.4f}"
        rows.add([*key, found.reads, found.arrays, *amounts, energy, commit()])
        print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
