"""Where window layers pay, and where they do not: by counting, and by the bound that no mapping can beat.

Usage: python benchmarks/window_bounds.py [--arrays 64 128 256 512] [--out results/windows/bounds.csv]

All convolutions of ResNet-20 and WRN16-4 (32x32 images), ResNet-50, MobileNetV2 and VGG-16 (224x224) by sort:
3x3 (and larger) with and without stride, 1x1, depthwise. No data, nothing drawn. A row has, for the
layers of one sort on one array:
  dense_best  cycles of the dense layers under the best mapping of each
  bound       ceil(OH OW m / C) of each, added up: every output is read from a column once
  window_k1, window_k2  cycles as window layers of 1 or 2 row tiles, each with its window of the fewest cycles
  margins_k1, margins_k2  the same where margins have matrices of their own if that needs fewer cycles
  parted_k1, parted_k2  layers of which it does
  fewer_k1, fewer_k2    layers that need fewer cycles so than dense
  several     layers of which a row of the array holds the outputs of two pixels or more, 2 m <= C
  all_rows    layers that, with all inputs of a window, need no more cycles than dense and have more weights
  weights     of these layers: weights, over those of their kernels
  double_rows depthwise only: cycles with the best windows of 1, 2, 4 or 7 by as many pixels, whatever N m is,
              of which each channel drives twice as many inputs as its kernel has (plan files can say that;
              row tiles count for each channel)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankfold import ArraySpec, zoo_network
from rankfold.mapping import map_layer
from rankfold.mapping.window_cover import cheapest_cover, cover_cycles
from rankfold.mapping.window_matrix import filling_window, window_cycles, window_shape
from rankfold.records.csv_table import write_csv
from rankfold.workload import ConvShape

NETWORKS = ("resnet20", "wrn16-4", "resnet50", "mobilenetv2", "vgg16")
EVERYTHING = 10**6  # row tiles, more than any window has
FIGURES = (
    "layers",
    "dense_best",
    "bound",
    "window_k1",
    "window_k2",
    "margins_k1",
    "margins_k2",
    "parted_k1",
    "parted_k2",
    "fewer_k1",
    "fewer_k2",
    "several",
    "all_rows",
    "weights",
    "double_rows",
)
DEPTHWISE = "depthwise"
SIDES = (1, 2, 4, 7)


@dataclass(frozen=True)
class Counts:
    """One layer on one array."""

    dense_best: int
    bound: int
    window_k1: int
    window_k2: int
    margins_k1: int
    margins_k2: int
    several: bool
    all_rows: bool
    weights: int
    kernel: int
    double_rows: int | None


def counts(shape: ConvShape, array: ArraySpec) -> Counts:
    dense = map_layer(shape, array, "best").cycles
    pixels = shape.output[0] * shape.output[1]
    each, margins = [], []
    for tiles in (1, 2):
        rows = tiles * array.rows
        window = filling_window([shape], array, tiles)
        each.append(window_cycles(shape, window, array, rows))
        places = cheapest_cover(shape, array, tiles)
        margins.append(cover_cycles(shape, places, array, [rows] * len(places)))
    whole = filling_window([shape], array, EVERYTHING)
    weights = window_shape(shape, whole).parameters
    return Counts(
        dense_best=dense,
        bound=-(-pixels * shape.m // array.columns),
        window_k1=each[0],
        window_k2=each[1],
        margins_k1=margins[0],
        margins_k2=margins[1],
        several=2 * shape.m <= array.columns and pixels > 1,
        all_rows=window_cycles(shape, whole, array) <= dense and weights > shape.parameters,
        weights=weights,
        kernel=shape.parameters,
        double_rows=double_rows(shape, array) if sort_of(shape) == DEPTHWISE else None,
    )


def double_rows(shape: ConvShape, array: ArraySpec) -> int:
    """Cycles of a depthwise convolution whose windows drive twice as many inputs as its kernel has."""
    rows = 2 * shape.kernel[0] * shape.kernel[1]
    height, width = shape.output
    windows = [(a, b) for a in SIDES if a <= height for b in SIDES if b <= width]
    return min(window_cycles(shape, window, array, rows) for window in windows)


def sort_of(shape: ConvShape) -> str:
    if shape.groups == shape.in_channels > 1:
        return DEPTHWISE
    if shape.kernel == (1, 1):
        return "1x1"
    return "strided" if shape.stride != (1, 1) else "3x3"


def row(each: Sequence[Counts]) -> list[object]:
    """The figures of some layers."""
    free = [layer for layer in each if layer.all_rows]
    more = ""
    if free:
        more = f"{sum(layer.weights for layer in free) / sum(layer.kernel for layer in free):.2f}"
    return [
        len(each),
        sum(layer.dense_best for layer in each),
        sum(layer.bound for layer in each),
        sum(layer.window_k1 for layer in each),
        sum(layer.window_k2 for layer in each),
        sum(layer.margins_k1 for layer in each),
        sum(layer.margins_k2 for layer in each),
        sum(layer.margins_k1 < layer.window_k1 for layer in each),
        sum(layer.margins_k2 < layer.window_k2 for layer in each),
        sum(layer.window_k1 < layer.dense_best for layer in each),
        sum(layer.window_k2 < layer.dense_best for layer in each),
        sum(layer.several for layer in each),
        len(free),
        more,
        sum(layer.double_rows for layer in each if layer.double_rows is not None) or "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--out", type=Path, default=Path("results/windows/bounds.csv"))
    options = parser.parse_args()
    rows: list[list[object]] = []
    for name in NETWORKS:
        layers = zoo_network(name).convolutions
        for size in options.arrays:
            found: dict[str, list[Counts]] = {}
            for shape in layers:
                found.setdefault(sort_of(shape), []).append(counts(shape, ArraySpec(size, size)))
            for sort, each in found.items():
                rows.append([name, f"{size}x{size}", sort, *row(each)])
    header = ("network", "array", "sort", *FIGURES)
    write_csv(options.out, header, rows)
    print(f"| {' | '.join(header)} |\n|{' --- |' * 3}{' --: |' * len(FIGURES)}")
    for cells in rows:
        print(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |")


if __name__ == "__main__":
    main()
