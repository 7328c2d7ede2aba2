"""The compiled kernel of the array simulator against torch's operations, on the machines of component tables.

    python benchmarks/simulator_kernels.py --data ../shared/data/cifar10 [--images 256] [--rounds 3]

The shipped 4-bit ResNet-20 classifies CIFAR-10 test images drawn under seed 0, on 64x64 arrays with one-bit
DACs and the cells, coding and 5-bit ADCs that tables assume, once with each cell. Rounds take turns, on one
thread; printed are medians of processor time for an image, the ratio, and the largest difference of logits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from rankfold.cli.arguments.process import prepare_process
from rankfold.cost.energy import find_table
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.runs.evaluate import load_run
from rankfold.simulator import NonIdealities, simulate, strips
from rankfold.simulator.kernels import kernels
from rankfold.training.batches import Batches
from rankfold.training.data import load_images

SIZE = ArraySpec(64, 64, dac_bits=1)
TABLES = ("rram-22nm", "sram-22nm")
CALIBRATION, BATCH = 128, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare_process(1)
    data = load_images(options.data)
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    device = torch.device("cpu")
    test = Batches(data.test.sample(options.images, 0), data.mean, data.std, BATCH, device)
    images = [x for x, _ in test.epoch()]
    for name in TABLES:
        table = find_table(name, SIZE)
        array = replace(SIZE, cell_bits=table.cell_bits, coding=table.coding, converts=table.converts)
        chosen = NonIdealities(adc_bits=table.adc_bits)
        calibration = data.calibration_batches(CALIBRATION, device)
        network = simulate(model, replace(plan, array=array), chosen, calibration=calibration)
        compare(name, network, images, options.rounds)


def compare(name: str, network: nn.Module, images: list[Tensor], rounds: int) -> None:
    """Print what one image takes, with the kernel and without."""
    times: dict[bool, list[float]] = {True: [], False: []}
    logits: dict[bool, Tensor] = {}
    for _ in range(rounds):
        for compiled in (True, False):
            strips.kernels = kernels if compiled else _none
            seconds, logits[compiled] = _run(network, images)
            times[compiled].append(1e3 * seconds / sum(len(x) for x in images))
    fast, slow = statistics.median(times[True]), statistics.median(times[False])
    apart = float((logits[True] - logits[False]).abs().max())
    print(f"{name}: {fast:.1f} ms, {slow:.1f} ms by torch, {slow / fast:.2f} times; logits differ by {apart}")


def _none() -> None:
    return None


@torch.no_grad()
def _run(network: nn.Module, images: list[Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    logits = torch.cat([network(x) for x in images])
    return time.process_time() - start, logits


if __name__ == "__main__":
    main()
