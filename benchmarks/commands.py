"""How long commands take that should answer at once: whole processes, beside those of another commit.

    python benchmarks/commands.py [--rounds 10] [--against COMMIT]

Bytecode is cached. Commands of both trees take turns, so that both see the same machine; of each the least of
all rounds is printed, in seconds of wall time and of processor time: others that use the machine stretch the
first and hardly the second. Aims on an idle machine: `--help` in 0.15 s, `map` of a network of the zoo in
0.35 s.
"""

import argparse
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

COMMANDS = ("--help", "--version", "map resnet20", "map resnet50 --array 512x512")
ROOT = Path(__file__).parents[1]


def seconds(source, command):
    """Wall and processor seconds of a command whose package is in the folder `source`."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    # Python would write no bytecode, and compile everything anew each time.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rankfold", *command.split()],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--against", metavar="COMMIT", help="of this repository")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trees = {"here": ROOT / "src"}
        if options.against is not None:
            packed = subprocess.run(
                ["git", "archive", options.against, "src"], cwd=ROOT, capture_output=True, check=True
            )
            with tarfile.open(fileobj=BytesIO(packed.stdout)) as tree:
                tree.extractall(folder, filter="data")
            trees[options.against] = Path(folder) / "src"
        taken = {}
        for _ in range(options.rounds + 1):
            for command in COMMANDS:
                for name, source in trees.items():
                    taken.setdefault((command, name), []).append(seconds(source, command))
    for (command, name), rounds in taken.items():
        # The first one compiles.
        wall, processor = (min(times) for times in zip(*rounds[1:], strict=True))
        print(f"rankfold {command:32} {name:10} {wall:.3f} s, {processor:.3f} s of processor time")


if __name__ == "__main__":
    main()
