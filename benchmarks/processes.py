"""What several processes make of a training on digits: accuracy, and processor time for each epoch.

    torchrun --nproc-per-node 2 benchmarks/processes.py

Three seeds of resnet8, float32, with batches of 32 images in all: in one process, in all of them with batch
norm over the whole batch (as Rankfold trains), and with statistics of each process's own share, those of the
first process being kept.
"""

import time
from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.distributed as dist

from rankfold.models.zoo import build
from rankfold.training.accuracy import accuracy_on_tests
from rankfold.training.data import load_images
from rankfold.training.loop import train
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")
SEEDS = range(3)
RECIPE = Recipe(epochs=4, batch_size=32, peak_rate=0.1, augment="crop", precision="float32")


def trained(data, seed, processes, own_statistics=False):
    """Test accuracy at the end, and processor seconds an epoch in all processes."""
    model = build("resnet8", 10, 1, seed=seed)
    norms = nullcontext()
    if own_statistics:
        norms = patch("rankfold.training.epochs.synchronised_norms", lambda _: nullcontext())
    start = time.process_time()
    with norms:
        train(model, data, replace(RECIPE, seed=seed), CPU, processes=processes)
    seconds = torch.tensor([time.process_time() - start])
    processes.sum_(seconds)
    processes.take_first_(model)
    return accuracy_on_tests(model, data, CPU), float(seconds) / RECIPE.epochs


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    processes = Processes.of_group()
    data = load_images("digits")
    settings = {
        "one process": (ALONE, False),
        f"{processes.share.of}, whole batch": (processes, False),
        f"{processes.share.of}, own share": (processes, True),
    }
    for words, setting in settings.items():
        ends = [trained(data, seed, *setting) for seed in SEEDS]
        if processes.is_first:
            accuracies = ", ".join(f"{accuracy:.2%}" for accuracy, _ in ends)
            seconds = min(seconds for _, seconds in ends)
            print(f"{words:16} {accuracies}   {seconds:.2f} s of processor time an epoch", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
