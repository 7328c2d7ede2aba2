"""The settings that window layers are compared with, as plans for ResNet-20, for the scripts beside it.

Usage: python benchmarks/window_settings.py FOLDER [--arrays 32 64 128 256]

Writes 4-bit plans of window layers to FOLDER, for `rankfold compress --plan`, named after array and cycles.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from rankfold import ArraySpec, LowRank, Plan, cycles, uniform_plan, zoo_network
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan.kinds import WindowLayer
from rankfold.plan.methods import Method, Pairs, Quantise, SharedSupport, WindowLowRank, Windows
from rankfold.workload import Network
from rankfold.workload.shape import Pair

DENSE = "dense, best windows"
EVERYTHING = 99  # row tiles, more than any window of ResNet-20 has
UNIFORM: dict[str, tuple[Method, str]] = {
    DENSE: (Quantise(), "best"),
    "windows, all rows": (Windows(row_tiles=EVERYTHING), "best"),
    "windows, k = 6": (Windows(row_tiles=6), "best"),
    "windows, k = 3": (Windows(row_tiles=3), "best"),
    "windows, k = 2": (Windows(row_tiles=2), "best"),
    "windows, k = 1": (Windows(row_tiles=1), "best"),
    "support, e = 6": (SharedSupport(6), "best"),
    "support, e = 4": (SharedSupport(4), "best"),
    "support, e = 2": (SharedSupport(2), "best"),
    "PAIRS, e = 6": (Pairs(6), "best"),
    "PAIRS, e = 4": (Pairs(4), "best"),
    "PAIRS, e = 2": (Pairs(2), "best"),
    "PAIRS, e = 1": (Pairs(1), "best"),
    "low-rank, g = 4, r = m/4": (LowRank(groups=4, rank="1/4"), "best"),
    "low-rank, g = 4, r = m/8": (LowRank(groups=4, rank="1/8"), "best"),
    "pairs of windows, r = m/4": (WindowLowRank(rank="1/4"), "best"),
    "pairs of windows, r = m/8": (WindowLowRank(rank="1/8"), "best"),
}


@dataclass(frozen=True)
class Stages:
    """A window and row tiles for each of ResNet-20's three stages.

    Attributes:
        windows: (a, b) of each stage.
        tiles: k of its convolutions.
        strided: k of its first convolution, where that has a stride; None: all rows.
    """

    windows: tuple[Pair, Pair, Pair]
    tiles: tuple[int, int, int]
    strided: tuple[int | None, int | None, int | None]


# About a quarter, a third and two thirds of the rows, by stage: the later layers are the more sensitive ones.
BY_STAGE = {
    32: Stages(((1, 2), (1, 1), (1, 1)), (2, 3, 12), (None, 3, 6)),
    64: Stages(((2, 2), (1, 2), (1, 1)), (1, 2, 6), (None, 2, 3)),
    128: Stages(((2, 4), (2, 2), (1, 2)), (1, 2, 3), (None, 2, 2)),
    256: Stages(((4, 4), (2, 4), (2, 2)), (1, 1, 2), (None, 1, 1)),
}
BY_STAGE_NAME = "windows, k by stage"


def plan_of(name: str, network: Network, array: ArraySpec, bits: int | None = 4) -> Plan:
    """The plan of a setting: one of `UNIFORM`, or `BY_STAGE_NAME`."""
    if name == BY_STAGE_NAME:
        return staged_plan(network, array, BY_STAGE[array.rows], bits)
    method, mapping = UNIFORM[name]
    return uniform_plan(network, array, method, bits=bits, mapping=mapping)


def staged_plan(network: Network, array: ArraySpec, stages: Stages, bits: int | None = 4) -> Plan:
    """Windows and row tiles by stage in ResNet-20; the first, 1x1 and linear layers stay dense."""
    base = uniform_plan(network, array, Quantise(), bits=bits, mapping="best")
    layers = []
    for layer in base.layers:
        shape = next(shape for shape in network.layers if shape.name == layer.name)
        if layer.name.startswith("layer") and shape.kernel != (1, 1):
            stage = int(layer.name[len("layer")]) - 1
            window = stages.windows[stage]
            tiles = stages.tiles[stage] if shape.stride == (1, 1) else stages.strided[stage]
            assert tiles is not None
            rows: int | None = tiles * array.rows
            if rows >= window_shape(shape, window).n:
                rows = None
            layer = replace(
                layer, kind=WindowLayer(window, rows), mapping="im2col", reason="window of its stage"
            )
        layers.append(layer)
    return replace(base, layers=tuple(layers))


def without_bits(plan: Plan) -> Plan:
    """The plan of the same network in float."""
    layers = []
    for layer in plan.layers:
        layers.append(replace(layer, weight_bits=None, input_bits=None, input_signed=None))
    return replace(plan, layers=tuple(layers))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the plans of window layers.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arrays", type=int, nargs="+", default=sorted(BY_STAGE), choices=sorted(BY_STAGE))
    options = parser.parse_args()
    network = zoo_network("resnet20")
    for size in options.arrays:
        for name in (BY_STAGE_NAME, *(name for name in UNIFORM if name.startswith("windows"))):
            plan = plan_of(name, network, ArraySpec(size, size))
            counted = cycles(network, plan).chosen_cycles
            path = options.folder / f"w{size}-{counted}.json"
            plan.save(path)
            print(f"{path}: {name}, {counted:,} cycles")


if __name__ == "__main__":
    main()
