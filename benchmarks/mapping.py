"""Mapping speed: `vw-sdk` and `best` against a plain loop over windows, and a low-rank sweep.

Usage: python benchmarks/mapping.py [--rounds 3]

All in one process on one core, processor time, empty caches before every round, the median over rounds:
  loop      every window of every layer in plain Python, as the published VW-SDK scripts do it
  vw-sdk    the same search, `map_layer(..., "vw-sdk")`; checked to give the same cycles as the loop
  best      `map_layer(..., "best")`
  windows   one-window searches: (windows tried x layers) per second
  sweep     16 choices of (g, r) x 5 arrays x all layers of ResNet-50 as low-rank pairs, both stages' best
            windows
and, started anew each time, wall time: `rankfold map resnet50 --array 512x512`.

The layers are all convolutions of ResNet-50, VGG-16 and MobileNetV2 at 224x224 on arrays of 32 to 512, one
after another; the library remembers layers of equal shape, the loop does not. Aims: vw-sdk 100 times faster
than the loop, best faster than the loop, 100,000 windows/s (the papers' figures for whole evaluations, energy
included: CiMLoop 83 on one core, NeuroSim 0.07), sweep under 1 s, map under 0.5 s.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from rankfold.mapping import ArraySpec, clear_cache, map_layer, map_low_rank, map_one_window
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.windows import Windows
from rankfold.workload import ConvShape, zoo_network

ARRAYS = [ArraySpec(side, side) for side in (32, 64, 128, 256, 512)]
LAYERS = [layer for name in ("resnet50", "vgg16", "mobilenetv2") for layer in zoo_network(name).convolutions]
CASES = [(shape, array) for shape in LAYERS for array in ARRAYS]
RESNET50 = zoo_network("resnet50").convolutions


def loop(shape: ConvShape, array: ArraySpec) -> int:
    """VW-SDK as its published script searches it: window by window; one too large divides by zero.

    Groups, which the script does not know, are taken one after another.
    """
    height, width = shape.output
    channels, outputs = shape.in_channels // shape.groups, shape.m // shape.groups
    best = height * width * math.ceil(shape.n / array.rows) * math.ceil(outputs / array.columns)
    for a in range(1, height + 1):
        for b in range(1, width + 1):
            try:
                windows = math.ceil(height / a) * math.ceil(width / b)
                tall = (a - 1) * shape.stride[0] + shape.kernel[0]
                wide = (b - 1) * shape.stride[1] + shape.kernel[1]
                row_tiles = math.ceil(channels / math.floor(array.rows / (tall * wide)))
                column_tiles = math.ceil(outputs / math.floor(array.columns / (a * b)))
                best = min(best, windows * row_tiles * column_tiles)
            except ZeroDivisionError:
                continue
    return best * shape.groups


def published() -> None:
    for shape, array in CASES:
        loop(shape, array)


def search(method: str) -> Callable[[], None]:
    def run() -> None:
        for shape, array in CASES:
            map_layer(shape, array, method)

    return run


def one_window() -> None:
    for shape, array in CASES:
        map_one_window(shape, array)


def sweep() -> None:
    for array in ARRAYS:
        for groups in (1, 2, 4, 8):
            for divisor in (2, 4, 8, 16):
                map_layer(RESNET50[0], array, "best")
                for shape in RESNET50[1:]:
                    _ = map_low_rank(shape, array, groups, shape.m // divisor, "sdk").cycles


def seconds(run: Callable[[], None], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        clear_cache()
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return statistics.median(found)


def command(rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "rankfold.cli.main", "map", "resnet50", "--array", "512x512"],
            check=True,
            capture_output=True,
        )
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for shape, array in dict.fromkeys((shape.anonymous, array) for shape, array in CASES):
        # Groups share arrays in the library, which the published scripts do not know.
        found = map_layer(shape, array, "vw-sdk").cycles
        plain = loop(shape, array)
        assert found == plain or (shape.groups > 1 and found < plain), (shape, array)
    plain = seconds(published, 1)
    vw_sdk, best, one = (
        seconds(run, options.rounds) for run in (search("vw-sdk"), search("best"), one_window)
    )
    distinct = {(shape.anonymous, array) for shape, array in CASES}
    tried = sum(len(Windows.every(Footprint(shape), array)) for shape, array in distinct)
    print(f"{len(CASES)} (layer, array) pairs, one core")
    print(f"loop    {plain:8.3f} s")
    print(f"vw-sdk  {vw_sdk:8.3f} s   {plain / vw_sdk:6.0f} times faster than the loop")
    print(f"best    {best:8.3f} s   {plain / best:6.1f} times faster than the loop")
    print(f"windows {tried / one:10,.0f} (windows x layers)/s")
    print(f"sweep   {seconds(sweep, options.rounds):8.3f} s   16 (g, r) x 5 arrays x {len(RESNET50)} layers")
    print(
        f"map     {command(max(options.rounds, 5)):8.3f} s   rankfold map resnet50 --array 512x512, wall time"
    )


if __name__ == "__main__":
    main()
