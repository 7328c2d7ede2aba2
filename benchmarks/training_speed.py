"""CPU time of training steps, of two checkouts in one run, and of window networks against the dense one.

Usage: python benchmarks/training_speed.py [--against ../older] [--rounds 9] [--threads 1]
           [--networks resnet20 wrn16-4 resnet20-float wrn16-4-float resnet20-windows]

Each variant is a process of its own, which trains on 6 batches of 128 random images at its turn: 4 bits
(first and last layer 8), taught by the float network, in the layout and precision that the training loop
chooses, batches and augmentation included. The variants take turns, so that a busy machine slows all of them
alike, and what is compared is their own processor time, medians over the rounds, not time on the wall.
`NAME-float` is the network before it is quantised, without a teacher, and `NAME-windows` with window layers
of two row tiles on 64x64 arrays. `--against` names the folder of another checkout of this repository, as old
as e95f9c8.

Aims on a processor: 1.5 times the images/s of e95f9c8; a step of a window network at most 1.5 times the dense
network's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.training.data import ImageData

BATCH, STEPS = 128, 6
HERE = Path(__file__).resolve().parents[1]
CLASSES = {"resnet20": 10, "wrn16-4": 100}
WINDOWS, FLOAT = "-windows", "-float"
EVERY = ["resnet20", "wrn16-4", f"resnet20{FLOAT}", f"wrn16-4{FLOAT}", f"resnet20{WINDOWS}"]


class Variant:
    """A process that trains one network by the code of one checkout whenever it is told to."""

    def __init__(self, checkout: Path, network: str, threads: int) -> None:
        command = [sys.executable, __file__, "--networks", network, "--threads", str(threads), "--worker"]
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.seconds: list[float] = []
        self._train()  # the first steps allocate and compile

    def turn(self) -> None:
        """Train once more, and note the time."""
        self.seconds.append(self._train())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _train(self) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def work(name: str, threads: int) -> None:
    """Train at each line of the standard input, and print the processor seconds of a step."""
    import torch
    from torch import nn

    from rankfold.training.distillation import Distillation, Teacher
    from rankfold.training.loop import train
    from rankfold.training.recipe import Recipe

    try:
        from rankfold.calibration.quantisers import calibrate_
        from rankfold.calibration.signs import observe_signs
        from rankfold.cli.arguments.process import prepare_process
        from rankfold.models.zoo import build
        from rankfold.nn.quantised import LayerBits, replace_by_quantised_
    except ImportError:  # as e95f9c8 called them
        from rankfold.cli.options import prepare_process
        from rankfold.nn.models import build
        from rankfold.nn.quantise import LayerBits, calibrate_, observe_signs
        from rankfold.nn.quantise import quantise_ as replace_by_quantised_

    prepare_process(threads)
    network = name.removesuffix(WINDOWS).removesuffix(FLOAT)
    classes = CLASSES[network]
    data = random_data(classes)
    x = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = build(network, classes)
    teacher = None
    if not name.endswith(FLOAT):
        teacher = Teacher(model, Distillation())
        if name.endswith(WINDOWS):
            add_windows(model, network, x)
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        bits = dict.fromkeys(names, 4) | dict.fromkeys((names[0], names[-1]), 8)
        signs = observe_signs(model, [x], names)
        replace_by_quantised_(model, {name: LayerBits(bits[name], bits[name], signs[name]) for name in names})
        calibrate_(model, [x])
    recipe = Recipe(epochs=1, batch_size=BATCH, peak_rate=0.001)
    for _ in sys.stdin:
        start = time.process_time()
        train(model, data, recipe, torch.device("cpu"), teacher=teacher)
        print((time.process_time() - start) / STEPS, flush=True)


def random_data(classes: int) -> ImageData:
    """Images to train on for all steps, and a few to test on."""
    import numpy as np

    from rankfold.training.data import ImageData, ImageSplit

    random = np.random.default_rng(0)

    def images(count: int) -> ImageSplit:
        pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return ImageSplit(pixels, random.integers(0, classes, count))

    return ImageData(
        name="random",
        classes=tuple(map(str, range(classes))),
        train=images(BATCH * STEPS),
        test=images(8),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        mirror=True,
        digest="",
    )


def add_windows(model, network: str, x) -> None:
    import rankfold as rf

    shapes = rf.trace(model, (3, 32, 32), network)
    plan = rf.uniform_plan(shapes, rf.ArraySpec(64, 64), rf.plan.Windows(row_tiles=2))
    rf.compress_(model, plan, [x])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--networks", nargs="+", default=EVERY)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each variant, %(default)s by default")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each process, %(default)s by default"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.networks[0], options.threads)
        return
    here = {name: Variant(HERE, name, options.threads) for name in options.networks}
    there = {}
    if options.against is not None:
        # Older checkouts have no windows.
        dense = [name for name in options.networks if not name.endswith(WINDOWS)]
        there = {name: Variant(options.against, name, options.threads) for name in dense}
    everyone = [*here.values(), *there.values()]
    for _ in range(options.rounds):
        for variant in everyone:
            variant.turn()
    for variant in everyone:
        variant.close()
    print(f"{options.threads} threads, {options.rounds} rounds of {STEPS} steps of {BATCH} images")
    for name, variant in here.items():
        print(f"{name:20} {_milliseconds(variant):6.0f} ms a step, {_images(variant):5.0f} images/s")
    for name, variant in there.items():
        print(f"{name:20} {_milliseconds(variant):6.0f} ms a step at {options.against}")
        print(f"images/s of {name} / those of {options.against}: {_ratio(variant, here[name]):.2f}")
    for name, variant in here.items():
        base = name.removesuffix(WINDOWS)
        if base != name and base in here:
            print(f"time of {name} / {base}: {_ratio(variant, here[base]):.2f}")


def _milliseconds(variant: Variant) -> float:
    return 1000 * statistics.median(variant.seconds)


def _images(variant: Variant) -> float:
    return BATCH / statistics.median(variant.seconds)


def _ratio(variant: Variant, base: Variant) -> float:
    """Median over the rounds of the ratio of their times."""
    return statistics.median(a / b for a, b in zip(variant.seconds, base.seconds, strict=True))


if __name__ == "__main__":
    main()
