"""`rankfold map` of tables of 1,000 different layers, none of which is like another.

Usage: python benchmarks/mapping_tables.py [--layers 1000] [--array 128x128] [--seed 0]

Writes two tables into a temporary folder and runs `rankfold map TABLE --array RxC` on each, in a process of
its own on one thread, and prints its user time:
  harsh      channels 3 to 1,024, planes of 4 to 64 pixels a side, kernels 1 to 7 and strides 1 and 2, each
             drawn by itself, every eighth layer in groups: few such layers were ever built
  realistic  kernels 1, 3, 5 and 7 with the padding that keeps the plane, channels in steps of 8, planes of 7
             to 56, depthwise 3x3 layers among them

Aim: 15 s for either.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

COLUMNS = "name,in_channels,out_channels,kernel,input,stride,padding,groups"
Layer = tuple[int, int, int, int, int, int, int]  # the columns after the name


def harsh(draw: random.Random) -> Layer:
    """A layer whose sizes have nothing to do with each other."""
    kernel = draw.randint(1, 7)
    size = draw.randint(max(4, kernel), 64)
    inputs, outputs = draw.randint(3, 1024), draw.randint(3, 1024)
    groups = 1
    if draw.random() < 1 / 8:
        groups = draw.choice((2, 4, 8))
        inputs, outputs = groups * math.ceil(inputs / groups), groups * math.ceil(outputs / groups)
    return inputs, outputs, kernel, size, draw.choice((1, 2)), draw.choice((0, kernel // 2)), groups


def realistic(draw: random.Random) -> Layer:
    """A layer as networks have them."""
    kernel, size = draw.choice((1, 1, 1, 3, 3, 3, 3, 5, 7)), draw.choice((7, 8, 14, 16, 28, 32, 56))
    inputs, outputs = 8 * draw.randint(2, 128), 8 * draw.randint(2, 128)
    groups = 1
    if kernel == 3 and draw.random() < 1 / 4:
        groups = outputs = inputs
    return inputs, outputs, kernel, size, draw.choice((1, 1, 1, 2)), kernel // 2, groups


def table(layer: Callable[[random.Random], Layer], layers: int, seed: int) -> str:
    """So many different layers as CSV."""
    draw = random.Random(seed)
    found: dict[Layer, None] = {}
    while len(found) < layers:
        found[layer(draw)] = None
    lines = [COLUMNS]
    for number, sizes in enumerate(found):
        lines.append(",".join(map(str, (f"layer{number}", *sizes))))
    return "\n".join(lines) + "\n"


def seconds(path: Path, array: str) -> float:
    """User time of `rankfold map`."""
    command = [sys.executable, "-m", "rankfold.cli.main", "map", str(path), "--array", array]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--array", default="128x128")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for layer in (harsh, realistic):
            path = Path(folder) / f"{layer.__name__}.csv"
            path.write_text(table(layer, options.layers, options.seed))
            print(f"{layer.__name__:10}{seconds(path, options.array):7.1f} s for {options.layers} layers")


if __name__ == "__main__":
    main()
