"""Accuracy of finished 4-bit networks on the arrays that their energy is counted for.

Usage: python benchmarks/window_on_arrays.py RUN ... --data path/to/cifar10 [--images 1000] [--threads 1]
    [--arrays 128 256] [--adc-bits 5] [--out results/windows/on_arrays.csv]

RUN is the folder of a finished run of `rankfold compress`, or the name of shipped weights. Its network lies
on arrays of its plan's size as energies of results/windows/runs.csv assume them: 2-bit cells, differential
coding, differences converted by ADCs (of 5 bits, if nothing is said) whose ranges are calibrated on 512
training images, one-bit DACs. Test images are drawn under seed 0, and nothing else is drawn. With `--arrays`
the network lies on arrays of these sizes instead, each layer under its best mapping there: for networks
without windows, which are the same on every array. What the table holds for an array and ADC is not simulated
on it again; a run takes a minute or two.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from measured_rows import Rows, commit, standard_error

from rankfold import ArraySpec, Plan
from rankfold.cli.arguments.process import prepare_process
from rankfold.machine import NonIdealities
from rankfold.models.pretrained import run_folder
from rankfold.runs.chips import LoadedRun
from rankfold.runs.evaluate import evaluate
from rankfold.runs.record import device_name
from rankfold.simulator import simulate

CELLS = {"cell_bits": 2, "coding": "differential", "converts": "differences", "dac_bits": 1}
SEED = 0
HEADER = (
    "name",
    "array",
    "adc_bits",
    "images",
    "seed",
    "quantised",
    "on_arrays",
    "error",
    "commit",
    "device",
)


def on_cells(plan: Plan, size: int | None) -> Plan:
    """The plan on physical arrays of its own size, or of size x size with the best mapping of each layer."""
    if size is None:
        return replace(plan, array=replace(plan.array, **CELLS))
    best = tuple(replace(layer, mapping="best") for layer in plan.layers)
    return replace(plan, layers=best).on(ArraySpec(size, size, **CELLS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arrays", type=int, nargs="+", default=[None])
    parser.add_argument("--adc-bits", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/windows/on_arrays.csv"))
    options = parser.parse_args()
    prepare_process(options.threads)
    rows = Rows(options.out, HEADER, 3)
    made_by = [commit(), device_name(torch.device("cpu"))]
    for folder in (Path(run_folder(name)) for name in options.runs):
        run = LoadedRun.load(folder, options.data, "cpu")
        test = replace(run.data, test=run.data.test.sample(options.images, SEED))
        for size in options.arrays:
            plan = on_cells(run.plan, size)
            key = [folder.name, str(plan.array), str(options.adc_bits)]
            if key in rows:
                continue
            noise = NonIdealities(adc_bits=options.adc_bits)
            on_arrays = simulate(run.model, plan, noise, calibration=run.data)
            quantised, found = float(evaluate(run.model, test)), float(evaluate(on_arrays, test))
            error = standard_error(found, options.images)
            figures = [options.images, SEED, f"{quantised:.4f}", f"{found:.4f}", f"{error:.4f}"]
            rows.add([*key, *figures, *made_by])
            print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
