"""How far the predicted interval and latency of a chip are from a schedule that is executed event by event.

Usage: python benchmarks/chip_events.py [--draws 120] [--images 12]

Networks and chips are drawn as in tests/chip (Hypothesis, seed 0). Prints the largest ratios, executed over
predicted: of the time of all images to latency + (images - 1) intervals, and of the latency of one; and the
smallest, which are at least 1 as both predictions are bounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from common.chips import chips, networks
from rankfold.chip.events import execute
from rankfold.chip.study import ChipStudy
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import uniform_plan
from rankfold.workload import Network


def main() -> None:
    """Draw, execute, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--draws", type=int, default=120)
    parser.add_argument("--images", type=int, default=12)
    options = parser.parse_args()
    found: list[tuple[float, float, str]] = []

    @seed(0)
    @given(networks(), chips())
    @settings(
        max_examples=options.draws,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def compare(network: Network, described: ChipSpec) -> None:
        plan = uniform_plan(network, described.hardware.array, bits=4)
        try:
            run = ChipStudy(network, plan, described, choose_mappings=True).staying(described.arrays)
        except InputError:
            return
        many, one = execute(run, options.images), execute(run, 1)
        interval, latency = 1e3 * run.interval, 1e3 * run.latency
        whole = latency + (options.images - 1) * interval
        found.append((many.whole / whole, one.latency / latency, run.limit))

    compare()
    for place, what in enumerate(("all images", "latency")):
        found.sort(key=lambda row: row[place])
        (least, most) = found[0], found[-1]
        print(
            f"{what}: {least[place]:.3f} to {most[place]:.3f} times as predicted ({len(found)} runs; the "
            f"largest limited by {most[2]})"
        )


if __name__ == "__main__":
    main()
