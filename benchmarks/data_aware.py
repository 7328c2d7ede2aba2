"""Accuracy before any fine-tuning: what data, centring and correction in closed form are worth.

Usage: python benchmarks/data_aware.py --data path/to/cifar10 [--threads 2] [--settings 4:1/8 1:1/4] [--test
    10000]

The shipped float ResNet-20, every convolution but the first low-rank with the given g and r, in float.
Factors by SVD; for data as they are (`compress_` with `patch_moments`), 512 training images; and for centred
data with mean and variance of batch norms corrected in closed form (`compress_on_data_`), with 128, 512 and
2,048 images. Each is tested as it is, and with batch norm measured again on 2,048 training images. Prints a
table in Markdown: top-1 on the first `--test` test images, and the seconds of processor time of moments and
factors.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rankfold.runs.compress import calibration_batches
from torch import nn

from rankfold import ArraySpec, load_images, load_model, trace, uniform_plan
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.moments import patch_moments
from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.plan import LOW_RANK, Plan
from rankfold.surgery.compress import compress_, compress_on_data_
from rankfold.training.loop import evaluate

Change = Callable[[nn.Module, Plan], object]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", nargs="+", default=["4:1/8", "1:1/4"], metavar="g:r")
    parser.add_argument("--test", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data, device = load_images(options.data), torch.device("cpu")
    test = replace(
        data.test, images=data.test.images[: options.test], labels=data.test.labels[: options.test]
    )
    dense = load_model("resnet20", classes=len(data.classes))
    found = shipped_baseline("resnet20", data.classes, data.input_size)
    assert found is not None, "the data must be CIFAR-10"
    apply_weights(dense, read_weights(Path(found.weights)), str(found.weights))
    network = trace(dense, data.input_size, "resnet20")

    def for_data(images: int) -> Change:
        def change(model: nn.Module, plan: Plan) -> object:
            names = [layer.name for layer in plan.layers if layer.kind == LOW_RANK]
            return compress_(
                model, plan, moments=patch_moments(model, calibration_batches(data, device, 0, images), names)
            )

        return change

    def corrected(images: int) -> Change:
        return lambda model, plan: compress_on_data_(
            model, plan, lambda: calibration_batches(data, device, 0, images)
        )

    variants: dict[str, Change] = {
        "SVD": compress_,
        "data, 512": for_data(512),
        "centred and corrected, 128": corrected(128),
        "centred and corrected, 512": corrected(512),
        "centred and corrected, 2,048": corrected(2048),
    }
    print(f"Dense: {evaluate(dense, test, data, device):.2%}\n")
    print(
        "| g | r | factors, images | top-1 | with batch norm measured again | CPU s |\n| --- | --- | --- | "
        "--- | --- | --- |"
    )
    for setting in options.settings:
        groups, rank = setting.split(":")
        plan = uniform_plan(network, ArraySpec(64, 64), int(groups), rank)
        for name, change in variants.items():
            model = copy.deepcopy(dense)
            start = time.process_time()
            change(model, plan)
            seconds = time.process_time() - start
            before = evaluate(model, test, data, device)
            reestimate_batch_norm_(model, calibration_batches(data, device, 0))
            after = evaluate(model, test, data, device)
            print(
                f"| {groups} | m * {rank} | {name} | {before:.2%} | {after:.2%} | {seconds:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
