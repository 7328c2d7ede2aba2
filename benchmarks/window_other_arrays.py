"""Trained networks that are the same on every array, counted on arrays of other sizes.

Usage: python benchmarks/window_other_arrays.py RUN ... [--arrays 32 64 128 256]
    [--runs results/windows/runs.csv] [--out results/windows/other_arrays.csv]

RUN is the folder of a finished run of `rankfold compress` without window layers: the dense network, low-rank
pairs of one setting, PAIRS. Their weights do not depend on the array, so that one training serves all sizes;
windows and plans are made for one array each, and window_runs.py has them. Each layer has its best mapping.
Cycles are those of arrays of R x C weights; array cycles and energy (by `rram-22nm` with 5-bit flash ADCs) of
R x C cells, of which a weight takes several, as physical_arrays.py has them. Accuracies stand in `--runs`
under the run's name.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

from physical_arrays import TABLE, physical

from rankfold import ArraySpec, cycles, zoo_network
from rankfold.cost.energy import network_energy
from rankfold.cost.keys import CostKey
from rankfold.plan import Plan, masks_for
from rankfold.records.csv_table import write_csv
from rankfold.runs.result import Result

BEST, IM2COL = "best", "im2col"
HEADER = (
    "name",
    "array",
    "cycles",
    "dense_best",
    "im2col",
    "array_cycles",
    "arrays",
    "energy_nj",
    "accuracy",
    "epochs",
)


def counted(folder: Path, size: int) -> tuple[object, ...]:
    """The figures of a run's network on arrays of size x size, from cycles to energy."""
    network = zoo_network(Result.load(folder / "result.json").model)
    plan = Plan.load(folder / "plan.json")
    masks = masks_for(plan, folder / "model.safetensors")
    plan = replace(plan, layers=tuple(replace(layer, mapping=BEST) for layer in plan.layers))
    in_weights = cycles(network, plan.on(ArraySpec(size, size)), (BEST, IM2COL), masks)
    dense = (in_weights.total[CostKey.dense(mapping)] for mapping in (BEST, IM2COL))
    on_cells = plan.on(physical(size))
    reads = cycles(network, on_cells, (), masks).array_cycles
    priced = network_energy(network, on_cells, TABLE, masks)
    return in_weights.chosen_cycles, *dense, reads, priced.arrays, f"{priced.energy / 1e3:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--arrays", nargs="+", type=int, default=[32, 64, 128, 256])
    parser.add_argument("--runs", type=Path, default=Path("results/windows/runs.csv"))
    parser.add_argument("--out", type=Path, default=Path("results/windows/other_arrays.csv"))
    options = parser.parse_args()
    with options.runs.open(newline="", encoding="utf-8") as file:
        trained = {row["name"]: row for row in csv.DictReader(file)}
    rows = []
    for size in options.arrays:
        for folder in options.folders:
            run = trained[folder.name]
            figures = counted(folder, size)
            rows.append((folder.name, f"{size}x{size}", *figures, run["accuracy"], run["epochs"]))
    write_csv(options.out, HEADER, rows)


if __name__ == "__main__":
    main()
