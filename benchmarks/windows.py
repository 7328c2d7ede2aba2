"""Accuracy against cycles with 512 unlabelled images and no training: windows beside what costs as much.

Usage: python benchmarks/windows.py --data path/to/cifar10 [--threads 1] [--arrays 64 128] [--test 10000]

The shipped float ResNet-20. Every convolution but the first becomes a window layer of k row tiles (k = 1, 2,
3, 6, and all rows), a support of e positions, or a group low-rank pair; weights are made for 512 training
images (`compress_` with data), batch norm is measured again on 2,048 (`quantise_`), in float and with 4-bit
weights and inputs. Prints a table in Markdown: array, setting, cycles per image, weights stored, top-1 on the
first `--test` test images in float and with 4 bits, and the seconds of processor time it took to make.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from rankfold import (
    ArraySpec,
    LowRank,
    SharedSupport,
    compress_,
    cycles,
    evaluate,
    load_images,
    load_model,
    quantise_,
    trace,
    uniform_plan,
)
from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.plan.methods import Method, Quantise, Windows

EVERYTHING = 99  # row tiles, more than any window of ResNet-20 has
SETTINGS: dict[str, tuple[Method, str]] = {
    "dense, best windows": (Quantise(), "best"),
    "windows, all rows": (Windows(row_tiles=EVERYTHING), "best"),
    "windows, k = 6": (Windows(row_tiles=6), "best"),
    "windows, k = 3": (Windows(row_tiles=3), "best"),
    "windows, k = 2": (Windows(row_tiles=2), "best"),
    "windows, k = 1": (Windows(row_tiles=1), "best"),
    "support, e = 4": (SharedSupport(4), "sdk"),
    "support, e = 2": (SharedSupport(2), "sdk"),
    "group low-rank, g = 4, r = m/4": (LowRank(groups=4, rank="1/4"), "sdk"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arrays", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--test", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    test = replace(
        data.test, images=data.test.images[: options.test], labels=data.test.labels[: options.test]
    )
    data = replace(data, test=test)
    dense = load_model("resnet20", classes=len(data.classes))
    found = shipped_baseline("resnet20", data.classes, data.input_size)
    assert found is not None, "the data must be CIFAR-10"
    apply_weights(dense, read_weights(Path(found.weights)), str(found.weights))
    network = trace(dense, data.input_size, "resnet20")
    print(f"Dense, float: {evaluate(dense, data):.2%}\n")
    print("| array | setting | cycles | weights | float | 4 bits | CPU s |")
    print("| --- | --- | --: | --: | --: | --: | --: |", flush=True)
    for size in options.arrays:
        array = ArraySpec(size, size)
        for name, (method, mapping) in SETTINGS.items():
            plans = [uniform_plan(network, array, method, bits=bits, mapping=mapping) for bits in (None, 4)]
            start = time.process_time()
            model = copy.deepcopy(dense)
            if plans[0].changed:
                compress_(model, plans[0], data)
            made: list[float] = []
            for plan in plans:
                trial: nn.Module = copy.deepcopy(model)
                settled = quantise_(trial, plan, data)
                made.append(evaluate(trial, data))
            counted = cycles(network, settled)
            seconds = time.process_time() - start
            print(
                f"| {size}x{size} | {name} | {counted.chosen_cycles:,} | "
                f"{sum(layer.parameters for layer in counted.layers):,} | {made[0]:.2%} | {made[1]:.2%} | "
                f"{seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
