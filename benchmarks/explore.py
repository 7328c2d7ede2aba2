"""How long `rankfold explore` takes for ten thousand points of ResNet-20.

Usage: python benchmarks/explore.py [--space FILE] [--workers 2] [--out FOLDER] [--network resnet20]

Evaluates every point of the space (examples/space.yaml, whose plans say what they are predicted to lose) in a
new folder, and prints some of the front of energy, latency, area and loss, how many points there are, and the
time: by the clock, and of processors, in all processes together.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from rankfold.explore import LocalPool, explore, load_space
from rankfold.report.exploration.rows import front_table
from rankfold.report.exploration.write import write_exploration
from rankfold.workload import zoo_network

SPACE = Path(__file__).resolve().parent.parent / "examples" / "space.yaml"


def main() -> None:
    """Explore, and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="explored-"))
    space = load_space(options.space)
    begun = time.perf_counter()
    found = explore([zoo_network(options.network)], space, out, runner=LocalPool(options.workers))
    evaluated = time.perf_counter() - begun
    write_exploration(out, found)
    whole = time.perf_counter() - begun
    processors = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        processors += used.ru_utime + used.ru_stime
    points = len(found.outcomes)
    print(front_table(found))
    print(f"{points:,} points, {found.runs:,} run, {len(found.front):,} on the front")
    print(f"{evaluated:.0f} s to evaluate, {whole:.0f} s with files, by {options.workers} processes")
    print(f"{processors:.0f} s of processor time, {1e3 * processors / points:.1f} ms a point")


if __name__ == "__main__":
    main()
