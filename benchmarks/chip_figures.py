"""The pictures of docs/chips.md: the floor plan and the timeline of a network on a described chip.

Usage: python benchmarks/chip_figures.py [--network resnet8] [--chip rram-22nm] [--out docs/images]

Writes chip-floor-plan.svg and chip-timeline.svg, as `rankfold chip NETWORK --chip NAME --page FILE` has them:
4 bits, mappings chosen for the chip. No data, no seed; nothing is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rankfold.chip.best import run_on_chip
from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.machine import load_chip
from rankfold.plan import uniform_plan
from rankfold.report.charts.drawing import svg_file
from rankfold.report.chip_page.floor import Floor
from rankfold.report.chip_page.floor_plan import floor_plan
from rankfold.report.chip_page.timeline import timeline
from rankfold.workload import zoo_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", default="resnet8")
    parser.add_argument("--chip", default="rram-22nm")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    network, chip = zoo_network(options.network), load_chip(options.chip)
    plan = uniform_plan(network, chip.hardware.array, bits=4)
    run = run_on_chip(network, plan, chip, choose_mappings=True)
    if run.pipeline is None:
        raise InputError(f"{network.name} does not stay on {chip.name}: {run.why_not_pipelined}")
    floor = Floor.of(run, run.pipeline)
    drawn = {
        "chip-floor-plan.svg": floor_plan(floor),
        "chip-timeline.svg": timeline(run, run.pipeline, floor.there),
    }
    for name, chart in drawn.items():
        if chart is not None:
            write_text(options.out / name, svg_file(chart.svg))
    print(
        f"{network.name} on {chip.name}: an image every {run.interval:.2f} us, latency {run.latency:.2f} us"
    )


if __name__ == "__main__":
    main()
