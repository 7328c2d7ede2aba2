"""Accuracy before any fine-tuning: what data, centring and correction in closed form are worth.

Usage: python benchmarks/data_aware.py --data path/to/cifar10 [--threads 2] [--settings 4:1/8 1:1/4] [--test
    10000]

The shipped float ResNet-20, every convolution but the first low-rank with the given g and r, in float.
Factors by SVD; for data as they are (`compress_by_weights_` with `patch_moments`), 512 training images; and
for centred data with mean and variance of batch norms corrected in closed form (`compress_` with data), with
128, 512 and 2,048 images. Each is tested as it is, and with batch norm measured again on 2,048 training
images. Prints a table in Markdown: top-1 on the first `--test` test images, and the seconds of processor
time of moments and factors.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from shipped_network import add_options, subject
from torch import nn

from rankfold import (
    ArraySpec,
    LowRank,
    Plan,
    compress_,
    evaluate,
    uniform_plan,
)
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.samples import CALIBRATION_IMAGES
from rankfold.surgery.by_weights import compress_by_weights_

Change = Callable[[nn.Module, Plan], object]


def main() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, threads=2)
    parser.add_argument("--settings", nargs="+", default=["4:1/8", "1:1/4"], metavar="g:r")
    options = parser.parse_args()
    measured = subject(options)
    dense, network, data = measured.dense, measured.network, measured.data
    device = torch.device("cpu")

    def for_data(images: int) -> Change:
        def change(model: nn.Module, plan: Plan) -> object:
            names = [layer.name for layer in plan.changed]
            moments = patch_moments(model, data.calibration_batches(images, device), names)
            return compress_by_weights_(model, plan, moments)

        return change

    def corrected(images: int) -> Change:
        return lambda model, plan: compress_(model, plan, data, images=images)

    variants: dict[str, Change] = {
        "SVD": compress_,
        "data, 512": for_data(512),
        "centred and corrected, 128": corrected(128),
        "centred and corrected, 512": corrected(512),
        "centred and corrected, 2,048": corrected(2048),
    }
    print(f"Dense: {evaluate(dense, data):.2%}\n")
    print(
        "| g | r | factors, images | top-1 | with batch norm measured again | CPU s |\n| --- | --- | --- | "
        "--- | --- | --- |"
    )
    for setting in options.settings:
        groups, rank = setting.split(":")
        plan = uniform_plan(network, ArraySpec(64, 64), LowRank(groups=int(groups), rank=rank, force=True))
        for name, change in variants.items():
            model = copy.deepcopy(dense)
            start = time.process_time()
            change(model, plan)
            seconds = time.process_time() - start
            before = evaluate(model, data)
            reestimate_batch_norm_(model, data.calibration_batches(CALIBRATION_IMAGES, device))
            after = evaluate(model, data)
            print(
                f"| {groups} | m * {rank} | {name} | {before:.2%} | {after:.2%} | {seconds:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
