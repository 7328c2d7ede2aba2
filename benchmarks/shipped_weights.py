"""The weights that travel with the package: how small their files can be without changing what they give.

    python benchmarks/shipped_weights.py --cifar10 DATA --cifar100 DATA [--write NAME ...]

Quantised networks are kept as the levels of their weights, which gives the same outputs bit by bit; float
networks are tried in half precision, which is right of as many test images or is not taken. Test accuracy and
bytes are printed before and after, and `--write` replaces the files named.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from shipped_network import first_images

from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import SHIPPED, shipped
from rankfold.models.stored_weights import with_levels
from rankfold.runs.evaluate import load_run
from rankfold.training.data import load_images

NAMES = {"cifar10": [], "cifar100": []}
for shipped_name in SHIPPED:
    NAMES[shipped_name.split("-")[-2]].append(shipped_name)


@torch.no_grad()
def outputs_on(model, data):
    """Logits (N, classes) of all test images."""
    return torch.cat([model.eval()(images) for images, _ in data.test_batches(torch.device("cpu"))])


def smaller(model, name):
    """What the file of a network may hold instead."""
    if name.endswith("-4bit"):
        return with_levels(model)
    weights = {}
    for key, value in model.state_dict().items():
        # Statistics and biases are few, and of any size.
        weights[key] = value.half() if value.dim() > 1 else value
    return weights


def compare(name, data, folder):
    """Print accuracy and bytes before and after; the smaller file."""
    model, *_ = load_run(shipped(name).folder)
    before = outputs_on(model, data)
    file = Path(folder) / f"{name}.safetensors"
    save_file(smaller(model, name), file)
    apply_weights(model, read_weights(file), str(file))
    after = outputs_on(model, data)
    labels = torch.from_numpy(data.test.labels)
    right = [f"{(outputs.argmax(1) == labels).float().mean():.2%}" for outputs in (before, after)]
    print(
        f"{name:24} {shipped(name).weights.stat().st_size:10,} -> {file.stat().st_size:10,} bytes   "
        f"{right[0]} -> {right[1]}   "
        f"{(before.argmax(1) != after.argmax(1)).sum()} answers differ, largest difference of an output "
        f"{(before - after).abs().max():.2g}, identical: {torch.equal(before, after)}",
        flush=True,
    )
    return file


def main():
    parser = argparse.ArgumentParser()
    for data in NAMES:
        parser.add_argument(f"--{data}", help="its folder; without it, its networks are left out")
    parser.add_argument("--test", type=int, default=10_000, help="how many test images, the first ones")
    parser.add_argument("--write", nargs="*", default=(), help="networks whose files are replaced")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for source, names in NAMES.items():
            if getattr(options, source) is None:
                continue
            data = load_images(getattr(options, source))
            data = replace(data, test=first_images(data.test, options.test))
            for name in names:
                file = compare(name, data, folder)
                if name in options.write:
                    shutil.copyfile(file, shipped(name).weights)


if __name__ == "__main__":
    main()
