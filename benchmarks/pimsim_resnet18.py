"""ResNet-18 on the chip of pimsim-nn's published example, against the time that its page gives.

Usage: python benchmarks/pimsim_resnet18.py

pimsim-nn (Wang et al., DATE 2024 late breaking results) with instructions of PIMCOMP: 64 cores of 64 arrays
of 128x128, 25 ms an image and 40 images a second (README of github.com/wangxy-2000/pimsim-nn). Neither is
run here: its figures are taken, and the chip of its configuration is described in pimsim-64.yaml. Weights of
4 bits in a cell stand for its 8 bits in a cell, inputs have 8 bits. Prints the time with and without copies.
"""

from __future__ import annotations

from pathlib import Path

from rankfold.chip.best import run_on_chip
from rankfold.chip.run import ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.machine import load_chip
from rankfold.plan import uniform_plan
from rankfold.workload import zoo_network

PUBLISHED = 25e3  # us


def main() -> None:
    network = zoo_network("resnet18")
    chip = load_chip(Path(__file__).with_name("pimsim-64.yaml"))
    plan = uniform_plan(network, chip.hardware.array, bits=(4, 8), mapping="im2col")
    study = ChipStudy(network, plan, chip)
    _tell("one copy of each tile", study.staying(study.mappings.fewest))
    _tell("all arrays hold copies", run_on_chip(network, plan, chip, objective="latency"))
    _tell("the same, mappings chosen", run_on_chip(network, plan, chip, choose_mappings=True))


def _tell(what: str, run: ChipRun) -> None:
    alone = 0.0
    assert run.pipeline is not None  # its weights stay
    for times in run.pipeline.timing.work:
        if times.part == "arrays":
            alone = 1e-3 * times.time
    print(
        f"{what}: {run.arrays_used:,} arrays, an image every {run.interval / 1e3:.2f} ms, "
        f"{run.latency / 1e3:.2f} ms from in to out ({run.latency / PUBLISHED:.2f} times the published "
        f"25 ms); busiest layer {alone / 1e3:.2f} ms; what limits: {run.limit}"
    )


if __name__ == "__main__":
    main()
