"""What distillation without labels adds to reconstruction: the shipped float ResNet-20 under a plan.

Usage: python benchmarks/distillation.py --data path/to/cifar10 --plans FILE ... [--settings 512:1:0.02 ...]
    [--images 512] [--steps 400] [--test 10000] [--threads 1] [--seed 0]
    [--out results/unlabelled/distillation.csv]

For each plan: accuracy on the first test images of the network that is compressed, quantised and
reconstructed on `--images` training images (`benchmarks/reconstruction.py`), and of that network after it
learnt the dense network's outputs as a whole, for each of `--settings`: training images, epochs, peak rate.
Nobody reads labels of training images. What the table holds is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
from measured_rows import Rows, commit
from shipped_network import add_options, subject
from torch import nn

from rankfold import Plan, Recipe, compress_, evaluate, quantise_, reconstruct_
from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.samples import Samples
from rankfold.cli.words.progress import Bars
from rankfold.runs.record import device_name
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.loop import train

CPU = torch.device("cpu")
KEYS = ("plan", "reconstructed_on", "steps", "seed", "images", "epochs", "rate")
HEADER = (*KEYS, "test_images", "dense", "before", "reconstructed", "after", "seconds", "commit", "device")


def setting(text: str) -> tuple[int, int, float]:
    """Images, epochs and peak rate of `512:1:0.02`."""
    images, epochs, rate = text.split(":")
    return int(images), int(epochs), float(rate)


def main() -> None:
    """Measure all settings of all plans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="files of plans for ResNet-20")
    parser.add_argument("--images", type=int, default=512, help="to reconstruct on")
    parser.add_argument("--steps", type=int, default=400, help="of each block")
    parser.add_argument("--settings", type=setting, nargs="+", default=[(512, 1, 0.02), (10_000, 1, 0.02)])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/unlabelled/distillation.csv"))
    options = parser.parse_args()
    rows = Rows(options.out, HEADER, len(KEYS))
    of = subject(options)
    made_by = [commit(), device_name(CPU)]
    dense = evaluate(of.dense, of.data)
    for path in options.plans:
        common = [path.stem, options.images, options.steps, options.seed]
        left = [each for each in options.settings if [*common, *each] not in rows]
        if not left:
            continue
        model = copy.deepcopy(of.dense)
        plan = Plan.load(path)
        compress_(model, plan, of.data, images=options.images)
        quantise_(model, plan, of.data, images=options.images)
        before = evaluate(model, of.data)
        training = {"images": options.images, "steps": options.steps, "seed": options.seed}
        reconstruct_(model, of.dense, of.data, **training, progress=Bars())
        reconstructed = evaluate(model, of.data)
        print(f"{path.stem}: {before:.4f}, reconstructed {reconstructed:.4f}", flush=True)
        for images, epochs, rate in left:
            trained = copy.deepcopy(model)
            start = time.process_time()
            distil_(trained, of.dense, of.data.few(images, options.seed), Recipe(epochs, 128, rate))
            seconds = time.process_time() - start
            shares = [dense, before, reconstructed, evaluate(trained, of.data)]
            figures = [len(of.data.test), *(f"{share:.4f}" for share in shares), f"{seconds:.0f}"]
            rows.add([*common, images, epochs, rate, *figures, *made_by])
            print(rows.rows[-1], flush=True)


def distil_(model: nn.Module, dense: nn.Module, data: object, recipe: Recipe) -> None:
    """Train a network by the dense one alone, as `compress --distil-unlabelled` does; the test images are
    not looked at meanwhile.
    """
    samples = Samples(data, 512, CPU)
    teacher = Teacher(dense, Distillation.unlabelled(), output_loss(dense, samples))
    train(model, data, recipe, CPU, teacher=teacher, progress=Bars(), measure=lambda _: 0.0)


if __name__ == "__main__":
    main()
