"""Pairs with free cells beside window layers and tied pairs: cycles at equal error of the outputs.

Usage: python benchmarks/window_pairs.py --data path/to/cifar10 [--arrays 16 32 64] [--layers NAME ...]
                                         [--images 256] [--csv pairs.csv] [--threads 1]

The shipped float ResNet-20. Each layer is made in all settings of each kind, for the centred inputs of
`--images` training images, and its error is that of its outputs on as many others, relative to their
variation (biases and batch norm take back what is constant). A layer of 64 -> 64 channels on 16x16 arrays is
cut into as many tiles as one of 512 -> 512 on 128x128: 36 row tiles and 4 column tiles a pixel; on 32x32 as
one of 512 -> 512 on 256x256.

- windows: every window of `WINDOWS` with each number of inputs of `ROWS`, and all;
- tied pairs: g = 1, 2, 4, ranks m/2 to m/16, each on its cheapest mapping, SDK windows or `best`;
- free pairs: every window with each rank q of `RANKS` up to half its outputs, and as many inputs.

Prints a table in Markdown, the fewest cycles of each kind with an error of at most so many percent, summed
over the layers, and writes all that was made as a table of its own.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from shipped_network import add_options, subject
from torch import nn

from rankfold import ArraySpec
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Cut
from rankfold.lowrank import decompose_for_data, reconstruct
from rankfold.lowrank.row_factors import low_rank_rows
from rankfold.lowrank.rows import nested_rows
from rankfold.mapping import map_layer, map_low_rank
from rankfold.mapping.window_low_rank import window_low_rank_cycles
from rankfold.mapping.window_matrix import window_cycles
from rankfold.nn.window import WindowConv2d
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

LAYERS = ["layer3.1.conv1"]
WINDOWS = [(1, 1), (1, 2), (2, 2), (2, 4)]
GROUPS, SHARES = (1, 2, 4), (2, 4, 8, 16)
ROWS = (64, 128, 192, 256, 320, 384, 512, 640, 768, 1024)
RANKS = (16, 32, 48, 64, 96, 128)
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
KINDS = ("windows", "tied pairs", "free pairs")


@dataclass(frozen=True)
class Made:
    """A layer as one kind, with what it costs on an array and loses."""

    layer: str
    array: int
    kind: str
    setting: str
    cycles: int
    error: float


@dataclass(frozen=True)
class Box:
    """A window of a layer: its matrix of copies, and centred moments of its inputs on two sets of images."""

    copies: np.ndarray
    second: np.ndarray
    other: np.ndarray

    def error(self, made: np.ndarray) -> float:
        """||(W - M) X||_F / ||W X||_F on the other images."""
        change = (self.copies - made).reshape(len(made), -1)
        whole = self.copies.reshape(len(made), -1)
        lost = np.sum((change @ self.other[0]) * change)
        return float(np.sqrt(lost / np.sum((whole @ self.other[0]) * whole)))


def boxes(model: nn.Module, name: str, batches: list[list[torch.Tensor]]) -> dict[Pair, Box]:
    """Those of all windows."""
    conv = model.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    found = {}
    for window in WINDOWS:
        layer = WindowConv2d.from_conv(conv, window)
        moments: list[PatchMoments] = []
        for images in batches:
            gathered = patch_moments(model, images, {name: Cut(layer.matrix, layer.extended, layer.present)})
            moments.append(gathered[name].centred())
        copies = layer.weight.detach().double().numpy()
        found[window] = Box(copies, moments[0].second, moments[1].second)
    return found


def budgets(inputs: int, least: int = 1) -> list[int]:
    """Numbers of inputs, and all."""
    return [rows for rows in ROWS if least <= rows < inputs] + [inputs]


Cost = Callable[[ArraySpec], int]
Setting = tuple[str, str, float, Cost]  # kind, its setting, error, and cycles on an array


def windows(shape: ConvShape, found: dict[Pair, Box]) -> Iterator[Setting]:
    for window, box in found.items():
        inputs = box.copies[0].size
        for rows, fitted in nested_rows(box.copies, 1, box.second, budgets(inputs)).items():
            cost = partial(window_cycles, shape, window, rows=rows)
            yield "windows", f"{window} {rows}", box.error(fitted.weight), cost


def tied_pairs(shape: ConvShape, box: Box) -> Iterator[Setting]:
    def cost(array: ArraySpec, groups: int, rank: int) -> int:
        return min(map_low_rank(shape, array, groups, rank, method).cycles for method in ("sdk", "best"))

    for groups in GROUPS:
        for rank in (shape.m // share for share in SHARES):
            made = decompose_for_data(box.copies, 1, groups, rank, box.second)
            error = box.error(reconstruct(made, 1, groups))
            yield "tied pairs", f"g{groups} r{rank}", error, partial(cost, groups=groups, rank=rank)


def free_pairs(shape: ConvShape, found: dict[Pair, Box]) -> Iterator[Setting]:
    for window, box in found.items():
        outputs, inputs = len(box.copies), box.copies[0].size
        for rank in (rank for rank in RANKS if rank <= outputs // 2):
            wanted = budgets(inputs, rank)
            for rows, made in low_rank_rows(box.copies, 1, rank, box.second, wanted).items():
                error = box.error((made.outputs @ made.rows).reshape(box.copies.shape))
                cost = partial(window_low_rank_cycles, shape, window, rank, rows=rows)
                yield "free pairs", f"{window} q{rank} {rows}", error, cost


def fewest(made: list[Made], size: int, kind: str, level: float) -> int | None:
    """Cycles of all layers, each as the cheapest of a kind with an error of at most `level`."""
    total = 0
    for layer in {one.layer for one in made}:
        fit = [
            one.cycles
            for one in made
            if (one.layer, one.array, one.kind) == (layer, size, kind) and one.error <= level
        ]
        if not fit:
            return None
        total += min(fit)
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, test=None)
    parser.add_argument("--arrays", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--csv", default="pairs.csv")
    options = parser.parse_args()
    measured = subject(options)
    model, network, data = measured.dense, measured.network, measured.data
    made: list[Made] = []
    batches = []
    for skip in (0, options.images):
        split = data.train.sample(options.images, seed=0, skip=skip)
        batches.append([images for images, _ in data.batches_of(split, torch.device("cpu"))])
    for name in options.layers:
        (shape,) = [shape for shape in network.layers if shape.name == name]
        own = boxes(model, name, batches)
        for settings in (windows(shape, own), tied_pairs(shape, own[(1, 1)]), free_pairs(shape, own)):
            for kind, setting, error, cost in settings:
                for size in options.arrays:
                    cycles = cost(array=ArraySpec(size, size))
                    made.append(Made(name, size, kind, setting, cycles, error))
    with open(options.csv, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["layer", "array", "kind", "setting", "cycles", "error"])
        for one in made:
            table.writerow([one.layer, one.array, one.kind, one.setting, one.cycles, f"{one.error:.4f}"])
    shapes = [shape for shape in network.layers if shape.name in options.layers]
    print("| array | dense | error at most | " + " | ".join(KINDS) + " |")
    print("| --- | --: | --: |" + " --: |" * len(KINDS))
    for size in options.arrays:
        dense = sum(map_layer(shape, ArraySpec(size, size), "best").cycles for shape in shapes)
        for level in LEVELS:
            counts = [fewest(made, size, kind, level) for kind in KINDS]
            told = ["none" if count is None else f"{count:,}" for count in counts]
            print(f"| {size}x{size} | {dense:,} | {level:.0%} | " + " | ".join(told) + " |")


if __name__ == "__main__":
    main()
