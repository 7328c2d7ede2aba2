"""Accuracy on shifted test images: a window layer is the same function at every window, not at every pixel.

Usage: python benchmarks/shifts.py RUN ... --data path/to/cifar10 [--threads 1] [--images 10000]
    [--settings "windows, k by stage" ...] [--out results/windows/shifts.csv]

RUN is the folder of a finished run of `rankfold compress`, or the name of shipped weights
(resnet20-cifar10-float, resnet20-cifar10-4bit). `--settings` adds networks that were not trained, of 4 bits
on 64x64 arrays, as windows.py makes them. Test images (the first ones) are moved by 0 to 3 pixels, each in
one of eight directions, and what comes in at a border is the image's reflection, as in the crops of training
(`rankfold.training.shift`). Each row is written as soon as it is done, and none is measured twice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from measured_rows import Rows, commit, standard_error
from shipped_network import first_images, shipped_resnet20
from torch import nn
from window_settings import BY_STAGE_NAME, UNIFORM, plan_of

from rankfold import ArraySpec, compress_, evaluate, load_images, load_run, quantise_, trace
from rankfold.models.pretrained import run_folder
from rankfold.runs.record import device_name
from rankfold.runs.result import Result
from rankfold.training.data import ImageData
from rankfold.training.shift import shifted_test

SHIFTS = (0, 1, 2, 3)
HEADER = ("network", "epochs", "images", "shift", "cycles", "accuracy", "error", "commit", "device")
KEYS = 4


def networks(
    options: argparse.Namespace, data: ImageData
) -> Iterator[tuple[str, int | str, int | str, Callable[[], nn.Module]]]:
    """Name, epochs, cycles, and what makes the network."""
    for name in options.runs:
        folder = Path(run_folder(name))
        result = Result.load(folder / "result.json")
        yield (
            folder.name,
            result.recipe["epochs"],
            result.planned_cycles,
            lambda folder=folder: load_run(folder)[0],
        )
    for name in options.settings:
        yield name, 0, "", lambda name=name: calibrated(name, data)


def calibrated(setting: str, data: ImageData) -> nn.Module:
    """The shipped network under a setting, made on images and not trained."""
    model = shipped_resnet20()
    plan = plan_of(setting, trace(model, data.input_size, "resnet20"), ArraySpec(64, 64))
    if plan.changed:
        compress_(model, plan, data)
    quantise_(model, plan, data)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--settings", nargs="*", choices=(BY_STAGE_NAME, *UNIFORM), default=())
    parser.add_argument("--out", type=Path, default=Path("results/windows/shifts.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    test = first_images(data.test, options.images)
    data = replace(data, test=test)
    rows, made_by = Rows(options.out, HEADER, KEYS), (commit(), device_name(torch.device("cpu")))
    for name, epochs, cycles, make in networks(options, data):
        keys = {shift: (name, epochs, len(test), shift) for shift in SHIFTS}
        missing = [shift for shift in SHIFTS if keys[shift] not in rows]
        if not missing:
            continue
        model = make()
        for shift in missing:
            found = evaluate(model, shifted_test(data, shift))
            error = standard_error(found, len(test))
            rows.add([*keys[shift], cycles, f"{found:.4f}", f"{error:.4f}", *made_by])
            print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
