"""Accuracy before any fine-tuning: SVD of the weights against factors made for data.

Usage: python benchmarks/decomposition.py --data path/to/cifar10 [--threads 2] [--settings 4:1/4 4:1/8 1:1/4]

The shipped float ResNet-20, every convolution but the first low-rank with the given g and r, float, batch
norm measured again on 2,048 training images, all test images. Factors by SVD; for data, with 128, 512 and
2,048 training images; and sequentially, with 512. Printed: accuracy, mean relative error of the layers'
outputs on the images used, and seconds.
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
from rankfold.calibration.samples import CALIBRATION_IMAGES
from rankfold.surgery.layer_report import LayerReport

Change = Callable[[nn.Module, Plan], tuple[LayerReport, ...]]


def main() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, threads=2, test=None)
    parser.add_argument("--settings", nargs="+", default=["1:1/4", "1:1/8", "4:1/4", "4:1/8"], metavar="g:r")
    options = parser.parse_args()
    measured = subject(options)
    dense, network, data = measured.dense, measured.network, measured.data
    device = torch.device("cpu")

    def on_data(images: int, decomposition: str = "data") -> Change:
        return lambda model, plan: compress_(model, plan, data, decomposition=decomposition, images=images)

    variants: dict[str, Change] = {
        "svd": compress_,
        "data, 128": on_data(128),
        "data, 512": on_data(512),
        "data, 2048": on_data(2048),
        "sequential, 512": on_data(512, "sequential"),
    }
    print(f"dense {evaluate(dense, data):.2%}")
    for setting in options.settings:
        groups, rank = setting.split(":")
        plan = uniform_plan(network, ArraySpec(64, 64), LowRank(groups=int(groups), rank=rank, force=True))
        for name, change in variants.items():
            model = copy.deepcopy(dense)
            start = time.perf_counter()
            reports = change(model, plan)
            seconds = time.perf_counter() - start
            reestimate_batch_norm_(model, data.calibration_batches(CALIBRATION_IMAGES, device))
            errors = [report.output_error for report in reports if report.output_error is not None]
            mean = "-"
            if errors:
                mean = f"{sum(errors) / len(errors):.1%}"
            accuracy = evaluate(model, data)
            print(
                f"g = {groups}, r = m * {rank}: {name:16} {accuracy:7.2%}   output error {mean:>6}   "
                f"{seconds:5.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
