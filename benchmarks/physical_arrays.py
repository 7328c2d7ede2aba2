"""Windows on physical arrays: where a weight takes several cells, a row holds the outputs of fewer pixels.

Usage: python benchmarks/physical_arrays.py --data path/to/cifar10 [--threads 1] [--test 2000]
    [--arrays 128 256] [--settings ...] [--calibrated results/windows/calibrated.csv]
    [--out results/windows/physical.csv]

ResNet-20 in 4 bits on arrays of 128x128 and 256x256 physical cells: 2-bit cells, differential coding, one-bit
DACs, so that a weight takes four columns and 128 columns hold 32 weights. Windows are chosen for these. A row
has array cycles (activations with each bit of the inputs), arrays, ADC conversions of columns and bits,
energy by `rram-22nm` with 5-bit flash ADCs, the share of it that conversions take, latency, and top-1 without
training on the first test images, in float and with 4 bits, with the standard error of the latter, as
windows.py measures them. Settings that are the same network on every array take theirs from its table. Rows
are written one by one; those that the file holds are not made again.
"""

from __future__ import annotations

import argparse
import copy
import csv
from pathlib import Path

import torch
from measured_rows import Rows, commit
from shipped_network import add_options, subject
from window_settings import DENSE, UNIFORM, Stages, plan_of, staged_plan
from windows import Bench

from rankfold import ArraySpec, Plan, compress_, cycles, quantise_
from rankfold.cost.energy import load_table, network_energy
from rankfold.plan.methods import Quantise
from rankfold.plan.uniform import uniform_plan
from rankfold.runs.record import device_name
from rankfold.workload import Network

HEADER = (
    "cells",
    "setting",
    "array_cycles",
    "arrays",
    "conversions",
    "energy_nj",
    "conversion_share",
    "latency_us",
    "images",
    "float",
    "four_bits",
    "error",
    "commit",
    "device",
)
IM2COL, STAGED = "dense, im2col", "windows, k by stage"
# Most of the rows in the later layers, which are the more sensitive ones.
BY_STAGE = {
    128: Stages(((1, 2), (1, 1), (1, 1)), (1, 1, 3), (None, 1, 2)),
    256: Stages(((2, 2), (1, 2), (1, 1)), (1, 1, 2), (None, 1, 1)),
}
SETTINGS = (IM2COL, STAGED, *UNIFORM)
TABLE = load_table("rram-22nm")


def physical(size: int) -> ArraySpec:
    return ArraySpec(size, size, cell_bits=2, coding="differential", converts="differences", dac_bits=1)


def plan_on(setting: str, network: Network, array: ArraySpec) -> Plan:
    """The plan of a setting, with the first convolution's window chosen for its eight bits."""
    if setting == IM2COL:
        return uniform_plan(network, array, Quantise(), bits=4, mapping="im2col")
    if setting == STAGED:
        return staged_plan(network, array, BY_STAGE[array.rows])
    return plan_of(setting, network, array)


def known(path: Path, setting: str) -> list[object] | None:
    """Images, accuracies and error of a setting that is the same network on every array, from a table."""
    if setting.startswith("windows") or not path.exists():
        return None
    wanted = DENSE if setting == IM2COL else setting
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["array"], row["setting"]) == ("64x64", wanted):
                return [row[name] for name in ("images", "float", "four_bits", "error")]
    return None


def settled(bench: Bench, plan: Plan) -> Plan:
    """The plan with the supports and masks that its costs depend on."""
    model = copy.deepcopy(bench.subject.dense)
    if plan.changed:
        compress_(model, plan, bench.subject.data)
    return quantise_(model, plan, bench.subject.data, images=8)


def costs(network: Network, plan: Plan) -> list[object]:
    """The figures of a row, from array cycles to latency."""
    counted = cycles(network, plan)
    priced = network_energy(network, plan, TABLE)
    return [
        counted.array_cycles,
        priced.arrays,
        priced.conversions,
        f"{priced.energy / 1e3:.0f}",
        f"{priced.components['adc'] / priced.energy:.3f}",
        f"{priced.latency:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=2000)
    parser.add_argument("--arrays", type=int, nargs="+", default=[128, 256], choices=sorted(BY_STAGE))
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--calibrated", type=Path, default=Path("results/windows/calibrated.csv"))
    parser.add_argument("--out", type=Path, default=Path("results/windows/physical.csv"))
    options = parser.parse_args()
    measured = subject(options)
    network = measured.network
    rows, made_by = Rows(options.out, HEADER, 2), [commit(), device_name(torch.device("cpu"))]
    for size in options.arrays:
        array = physical(size)
        bench = Bench(measured, array, "data")
        for setting in options.settings:
            if [str(array), setting] in rows:
                continue
            plan = plan_on(setting, network, array)
            found = known(options.calibrated, setting)
            if found is None:
                plan, (*_, in_float, four_bits, error) = bench.measure(plan)
                found = [len(measured.data.test), in_float, four_bits, error]
            else:
                plan = settled(bench, plan)
            rows.add([str(array), setting, *costs(network, plan), *found, *made_by])
            print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
