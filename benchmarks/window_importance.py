"""Whether rows of windows are chosen better where errors of outputs count by their second-order importance.

Usage: python benchmarks/window_importance.py --data path/to/cifar10 [--threads 1] [--test 2000]
    [--out results/windows/importance.csv]

The shipped float ResNet-20 with windows and row tiles by stage, and with one row tile everywhere, on 64x64
and 128x128 arrays (see window_settings.py). Inputs of windows are chosen on 512 training images, once as all
outputs count alike, once by `calibration.importance`; for the inputs that the dense network gives (data),
or that the layers before give as they are by then (sequential). Then batch norm is measured again on 2,048.
A row: array, setting, decomposition, importance, test images (the first ones), cycles per image, top-1 in
float, its standard error, commit, device. Nothing but the choice of the training images is drawn (seed 0).
"""

from __future__ import annotations

import argparse
import copy
from itertools import product
from pathlib import Path
from unittest.mock import patch

import torch
from measured_rows import Rows, commit, standard_error
from shipped_network import add_options, subject
from window_settings import BY_STAGE_NAME, plan_of, without_bits

from rankfold import ArraySpec, compress_, cycles, evaluate, quantise_
from rankfold.calibration.output_losses import ScoreLoss
from rankfold.runs.record import device_name

HEADER = (
    "array",
    "setting",
    "decomposition",
    "outputs",
    "images",
    "cycles",
    "float",
    "error",
    "commit",
    "device",
)
SETTINGS = ((64, BY_STAGE_NAME), (64, "windows, k = 1"), (128, BY_STAGE_NAME))
ALIKE, WEIGHED = "alike", "by importance"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=2_000)
    parser.add_argument("--out", type=Path, default=Path("results/windows/importance.csv"))
    options = parser.parse_args()
    measured = subject(options)
    dense, network, data = measured.dense, measured.network, measured.data
    rows = Rows(options.out, HEADER, keys=5)
    for (size, setting), decomposition, outputs in product(
        SETTINGS, ("data", "sequential"), (ALIKE, WEIGHED)
    ):
        key = [f"{size}x{size}", setting, decomposition, outputs, len(data.test)]
        if key in rows:
            continue
        plan = without_bits(plan_of(setting, network, ArraySpec(size, size)))
        model = copy.deepcopy(dense)
        # Networks of whose outputs nothing is known have no importance.
        loss = ScoreLoss() if outputs == WEIGHED else None
        with patch("rankfold.surgery.on_data.known_output_loss", return_value=loss):
            compress_(model, plan, data, decomposition=decomposition)
        quantise_(model, plan, data)
        share = evaluate(model, data)
        error = f"{standard_error(share, len(data.test)):.4f}"
        counted = cycles(network, plan).chosen_cycles
        rows.add([*key, counted, f"{share:.4f}", error, commit(), device_name(torch.device("cpu"))])
        print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
