"""How long reconstruction without labels takes on a large network: ResNet-50's shapes at 224x224.

Usage: python benchmarks/reconstruction_resnet50.py [--images 256] [--steps 400] [--threads 2]

The network has random weights, as only its shapes count for time; the images are digits, scaled. All layers
that can be are low-rank (g = 4, r = m/4) at 4 bits, on 128x128 arrays. Prints one row in Markdown: wall and
processor time of making factors and quantisers, and of reconstruction, and the most memory that the process
had: all of it, and without the pages of files, which the system takes back when it needs them (Linux only).
"""

from __future__ import annotations

import argparse
import copy
import resource
import threading
import time
from itertools import pairwise
from pathlib import Path

from planner import resnet50

from rankfold import ArraySpec, LowRank, compress_, quantise_, reconstruct_, trace, uniform_plan
from rankfold.cli.arguments.process import prepare_process
from rankfold.cli.words.progress import Bars
from rankfold.training.data import load_images


class OwnMemory:
    """The most anonymous memory that this process had, in bytes, looked at ten times a second."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.most = max(self.most, int(line.split()[1]) * 1024)
            time.sleep(0.1)


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400, help="of each block")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    prepare_process(options.threads)
    own = OwnMemory()
    data, dense = load_images("digits", (224, 224)), resnet50()
    network = trace(dense, data.input_size, "resnet50")
    plan = uniform_plan(network, ArraySpec(128, 128), LowRank(groups=4, rank="1/4"), bits=4)
    model = copy.deepcopy(dense)
    times = [(time.perf_counter(), time.process_time())]
    compress_(model, plan, data, images=options.images)
    quantise_(model, plan, data, images=options.images)
    times.append((time.perf_counter(), time.process_time()))
    reconstruct_(model, dense, data, images=options.images, steps=options.steps, seed=0, progress=Bars())
    times.append((time.perf_counter(), time.process_time()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # from KiB
    cells = []
    for before, after in pairwise(times):
        cells += [f"{end - start:.0f}" for start, end in zip(before, after, strict=True)]
    cells += [f"{memory:.1f}", f"{own.most / 2**30:.1f}"]
    columns = ["images", "steps", "factors: wall, s", "processor, s"]
    columns += ["reconstruction: wall, s", "processor, s", "GiB", "of its own"]
    print(f"| {' | '.join(columns)} |")
    print(f"|{' --: |' * len(columns)}")
    print(f"| {options.images} | {options.steps} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
