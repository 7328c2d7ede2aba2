"""How long planning takes: ResNet-20 for CIFAR-10, and ResNet-50's shapes at 224x224, calibration included.

Usage: python benchmarks/planner.py --data path/to/cifar10 [--threads 2] [--networks resnet20 resnet50
    resnet50-pointwise]

ResNet-20 has its shipped weights. ResNet-50 has random ones and scikit-learn's digits enlarged to 224x224:
time depends on shapes alone, the plan means nothing; its 1x1 convolutions stay dense but in
`resnet50-pointwise`. For each: the candidates that were left, wall and processor time until all candidates
have their losses, and of the exact choice of three quarters of the cycles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from rankfold.cli.arguments.options import prepare_process
from torch import Tensor, nn

from rankfold.mapping import ArraySpec
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.budget import Budget
from rankfold.planning.problem import PlanSettings, best_plan, planning_problem
from rankfold.surgery.save import save_weights

NETWORKS = ("resnet20", "resnet50", "resnet50-pointwise")
BUDGETS = (
    Budget(CYCLES, 0.75, share=True),
)  # ResNet-50 without its 1x1 convolutions gets no lower than 62 %


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
            blocks.append(Bottleneck(channels, width, stride if index == 0 else 1))
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
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args()
    prepare_process(options.threads)
    print("| network | candidates left | wall, s | processor, s | choice, s | of the cycles | gap |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            print(f"| {' | '.join(timed(name, options.data, Path(folder)))} |", flush=True)


def timed(name: str, data: str, folder: Path) -> list[str]:
    """One row of the table."""
    settings = PlanSettings(name, data, ArraySpec(64, 64), BUDGETS)
    if name != "resnet20":
        weights = folder / f"{name}.safetensors"
        save_weights(weights, resnet50())
        settings = PlanSettings(
            "planner:resnet50",
            "digits",
            ArraySpec(128, 128),
            BUDGETS,
            pointwise=name == "resnet50-pointwise",
            checkpoint=weights,
            image_size=(224, 224),
            measured_images=64,
        )
    wall, processor = time.perf_counter(), time.process_time()
    problem = planning_problem(settings)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    start = time.perf_counter()
    found = best_plan(problem)
    chosen = time.perf_counter() - start
    share = found.solution.total(CYCLES) / sum(layer.dense.cycles for layer in problem.choices)
    left = sum(len(layer.candidates) for layer in problem.choices)
    return [
        name,
        f"{left:,}",
        f"{wall:.0f}",
        f"{processor:.0f}",
        f"{chosen:.2f}",
        f"{share:.1%}",
        f"{found.solution.gap:.1g}",
    ]


if __name__ == "__main__":
    main()
