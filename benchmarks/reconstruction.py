"""What training without labels is worth: a shipped float network under plans, before and after it.

Usage: python benchmarks/reconstruction.py --data path/to/cifar10 --plans FILE ... [--network wrn16-4]
    [--images 512] [--steps 400] [--test 10000] [--threads 1] [--seed 0]
    [--out results/unlabelled/reconstruction.csv]

For each plan: accuracy on the first test images of the dense float network, of the network that is compressed
and quantised on `--images` training images, and of that network after `reconstruct_` on the same images,
whose labels nobody reads; and the processor time that reconstruction took, with the most memory that the
process had so far. What the table holds is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
from pathlib import Path

import torch
from measured_rows import Rows, commit
from shipped_network import NETWORKS, add_options, subject

from rankfold import Plan, compress_, evaluate, quantise_, reconstruct_
from rankfold.cli.words.progress import Bars
from rankfold.cost import network_cycles
from rankfold.runs.record import device_name

KEYS = ("plan", "images", "steps", "seed")
FIGURES = ("array", "cycles", "test_images", "dense", "before", "after", "seconds", "peak_gib")
HEADER = (*KEYS, *FIGURES, "commit", "device")


def main() -> None:
    """Measure all plans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet20")
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="files of plans for the network")
    parser.add_argument("--images", type=int, default=512, help="training images, whose labels are not read")
    parser.add_argument("--steps", type=int, default=400, help="of each block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/unlabelled/reconstruction.csv"))
    options = parser.parse_args()
    rows = Rows(options.out, HEADER, len(KEYS))
    of = subject(options)
    made_by = [commit(), device_name(torch.device("cpu"))]
    dense = evaluate(of.dense, of.data)
    for path in options.plans:
        asked = [path.stem, options.images, options.steps, options.seed]
        if asked in rows:
            continue
        plan = Plan.load(path)
        model = copy.deepcopy(of.dense)
        # Images in the order of the seed, as for a run: `reconstruct_` sees those that weights are made on.
        compress_(model, plan, of.data, images=options.images)
        # With the masks of pruned layers, by which their cycles are counted.
        plan = quantise_(model, plan, of.data, images=options.images)
        before = evaluate(model, of.data)
        start = time.process_time()
        training = {"images": options.images, "steps": options.steps, "seed": options.seed}
        reconstruct_(model, of.dense, of.data, **training, progress=Bars())
        seconds = time.process_time() - start
        after = evaluate(model, of.data)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cycles = network_cycles(of.network, plan).chosen_cycles
        shares = [f"{share:.4f}" for share in (dense, before, after)]
        figures = [str(plan.array), cycles, len(of.data.test), *shares, f"{seconds:.0f}", f"{peak:.1f}"]
        rows.add([*asked, *figures, *made_by])
        print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
