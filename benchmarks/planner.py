"""How long planning takes: ResNet-20 for CIFAR-10, and ResNet-50's shapes at 224x224, calibration included.

Usage: python benchmarks/planner.py --data path/to/cifar10 [--threads 2] [--networks resnet20 resnet50
    resnet50-pointwise]
    python benchmarks/planner.py --tables 3

ResNet-20 has its shipped weights. ResNet-50 has random ones and scikit-learn's digits enlarged to 224x224:
time depends on shapes alone, the plan means nothing; its 1x1 convolutions stay dense but in
`resnet50-pointwise`. For each: the candidates that were left, wall and processor time until all candidates
have their losses, the most memory that this process took by then (where all layers are narrow, others beside
it take about 0.4 GiB each), and of the exact choice of three quarters of the cycles.

`--tables 3` times the exact choice alone instead, for 200 layers of 200 candidates that are drawn under three
seeds, with budgets of 15 % and 50 % of the way from the fewest cycles to the most. Losses are independent of
cycles (`random`), fall with them as those of layers do (`falling`), or are what is not spent, up to a little
(`correlated`), up to a constant that half the candidates pay (`strong`) or exactly (`equal`): the last three
are known to be hard (Pisinger 1995).
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from shipped_network import shipped_resnet20
from torch import Tensor, nn

from rankfold.cli.arguments.process import prepare_process
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan
from rankfold.planning import PlanningOptions, planning_problem, solve_problem
from rankfold.planning.exact import CYCLES, Budget, Candidate, solve, total
from rankfold.planning.layer_runners import LayerProcesses
from rankfold.training.data import ImageData, load_images
from rankfold.workload import trace

NETWORKS = ("resnet20", "resnet50", "resnet50-pointwise")
# ResNet-50 without its 1x1 convolutions gets no lower than 62 %.
BUDGETS = (Budget(CYCLES, 0.75, share=True),)
TABLES = ("random", "falling", "correlated", "strong", "equal")
LAYERS = CANDIDATES = 200
MOST = 10_000  # cycles of a candidate
SHARES = (0.15, 0.5)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (He et al. 2016), the stride in the 3x3 one."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        sizes = ((channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
        layers = [
            (nn.Conv2d(c, m, k, s, k // 2, bias=False), nn.BatchNorm2d(m), nn.ReLU(inplace=True))
            for c, m, k, s in sizes
        ]
        self.body = nn.Sequential(*[module for layer in layers for module in layer][:-1])
        plain = channels == 4 * width and stride == 1
        self.shortcut = (
            nn.Identity()
            if plain
            else nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 width, H', W')."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """ResNet-50 for ten classes and images of one channel, with random weights."""
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    channels = 64
    for width, number, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(number):
            if index > 0:
                stride = 1
            blocks.append(Bottleneck(channels, width, stride))
            channels = 4 * width
    stem = (
        nn.Conv2d(1, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    )
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 10))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--data")
    work.add_argument("--tables", type=int, help="seeds of tables to choose from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args()
    prepare_process(options.threads)
    if options.tables:
        print("| losses | choices | processor, s, on average | at most | largest gap |")
        print("| --- | --: | --: | --: | --: |")
        for kind in TABLES:
            print(f"| {' | '.join(timed_tables(kind, options.tables))} |", flush=True)
        return
    print("| network | candidates left | wall, s | processor, s | GiB | choice, s | of the cycles | gap |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for name in options.networks:
        if name == "resnet20":
            data = load_images(options.data)
            row = timed(name, data, shipped_resnet20(), ArraySpec(64, 64))
        else:
            row = timed(name, load_images("digits", (224, 224)), resnet50(), ArraySpec(128, 128))
        print(f"| {' | '.join(row)} |", flush=True)


def timed(name: str, data: ImageData, model: nn.Module, array: ArraySpec) -> list[str]:
    """One row of the table."""
    pointwise = name == "resnet50-pointwise"
    network = trace(model, data.input_size, name)
    runner = LayerProcesses(torch.get_num_threads())  # as the command line does
    wall, processor = time.perf_counter(), processor_time()
    options = PlanningOptions(pointwise=pointwise)
    problem = planning_problem(model, data, array, *BUDGETS, options=options, network=network, runner=runner)
    wall, processor = time.perf_counter() - wall, processor_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # from KiB
    start = time.perf_counter()
    solution = solve_problem(problem).solution
    chosen = time.perf_counter() - start
    share = solution.total(CYCLES) / total(problem.dense, CYCLES)
    left = sum(len(layer.candidates) for layer in problem.choices)
    return [
        name,
        f"{left:,}",
        f"{wall:.1f}",
        f"{processor:.0f}",
        f"{memory:.1f}",
        f"{chosen:.2f}",
        f"{share:.1%}",
        f"{solution.gap:.1g}",
    ]


def processor_time() -> float:
    """Seconds of this process, and of those that it began and that have ended."""
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def timed_tables(kind: str, seeds: int) -> list[str]:
    """One row for tables of a kind."""
    taken, gaps = [], []
    for seed in range(seeds):
        choices = table(kind, np.random.default_rng(seed))
        cycles = np.array([[candidate.cycles for candidate in layer] for layer in choices])
        least, most = cycles.min(axis=1).sum(), cycles.max(axis=1).sum()
        for share in SHARES:
            start = time.process_time()
            solution = solve(choices, {CYCLES: float(least + int(share * (most - least)))})
            taken.append(time.process_time() - start)
            gaps.append(solution.gap)
    return [kind, f"{len(taken)}", f"{np.mean(taken):.1f}", f"{max(taken):.1f}", f"{max(gaps):.1g}"]


def table(kind: str, draw: np.random.Generator) -> list[list[Candidate]]:
    """The candidates of 200 layers, 200 each."""
    choices = []
    for number in range(LAYERS):
        cycles = draw.integers(1, MOST, CANDIDATES)
        losses = losses_of(kind, cycles, draw)
        entry = LayerPlan(f"layer{number}")
        layer = zip(cycles.tolist(), losses.tolist(), strict=True)
        choices.append([Candidate(entry, cost, 1, None, 0, loss) for cost, loss in layer])
    return choices


def losses_of(kind: str, cycles: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Those of the candidates of one layer, by the kind of table."""
    count = len(cycles)
    unspent = (MOST - cycles).astype(float)
    if kind == "random":
        return draw.exponential(1.0, count)
    if kind == "falling":
        steepness, noise = draw.uniform(0.5, 2), draw.lognormal(0, 0.1, count)
        return draw.uniform(0.1, 3) * (MOST / cycles) ** steepness * noise
    if kind == "correlated":
        return unspent + draw.integers(0, MOST // 100, count)
    if kind == "strong":
        return unspent + MOST // 10 * (np.arange(count) % 2)
    return unspent


if __name__ == "__main__":
    main()
