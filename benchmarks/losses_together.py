"""What plans lose together, and their blocks each alone, beside what is predicted.

Usage: python benchmarks/losses_together.py --data ../shared/data/cifar10 [--plans NAME ...]
           [--test 2000] [--threads 1] [--out results/planned/losses_together.csv]

The plans are those of `results/planned`. Each network is made of the shipped float weights, without bits and
without training, with batch norm as it was: the whole plan, and each block of two layers with all others
dense. What it loses is the mean divergence of its scores from those of the dense network, KL(dense || it), on
the first test images, which nothing was made on. Two minutes of processor time for each plan.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import torch
from shipped_network import Subject, add_options, subject
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold import Plan
from rankfold.plan import DenseLayer
from rankfold.planning import PlanLosses
from rankfold.records.csv_table import write_csv

PLANNED = Path(__file__).resolve().parent.parent / "results" / "planned"
PLANS = (
    "four-128-1472",
    "four-128-windows-k1",
    "four-trimmed-2944",
    "four-skipped-2944",
    "four-planner-5440",
)
WHOLE = "all"


@dataclass(frozen=True)
class Lost:
    """What a plan loses, or one block of it alone, before training.

    Attributes:
        plan: its name.
        layers: the block, or `WHOLE`.
        kinds: what its layers became.
        predicted: nats for each image.
        measured: the same, of the test images.
        accuracy: of these.
    """

    plan: str
    layers: str
    kinds: str
    predicted: float
    measured: float
    accuracy: float


def log_probabilities(model: nn.Module, images: list[Tensor]) -> Tensor:
    """(images, classes), in float."""
    with torch.no_grad():
        scores = torch.cat([model.eval()(batch) for batch in images])
    return F.log_softmax(scores.float(), dim=1)


def alone(plan: Plan, names: set[str]) -> Plan:
    """The plan with all layers but these dense."""
    layers = []
    for layer in plan.layers:
        layers.append(layer if layer.name in names else replace(layer, kind=DenseLayer()))
    return replace(plan, layers=tuple(layers), prediction=None)


def parts(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """The plan, and each of its blocks alone."""
    yield WHOLE, plan
    blocks: dict[str, set[str]] = {}
    for layer in plan.changed:
        blocks.setdefault(layer.name.rsplit(".", 1)[0], set()).add(layer.name)
    for block, names in blocks.items():
        yield block, alone(plan, names)


@dataclass(frozen=True)
class Tested:
    """The test images that a script's options leave.

    Attributes:
        images: in batches.
        labels: (N,) their classes.
        dense: (N, classes) logarithms of the dense network's probabilities.
    """

    images: list[Tensor]
    labels: Tensor
    dense: Tensor

    @classmethod
    def of(cls, measured: Subject) -> Tested:
        """With what the dense network makes of them."""
        batches = list(measured.data.test_batches(torch.device("cpu")))
        images = [inputs for inputs, _ in batches]
        labels = torch.cat([classes for _, classes in batches])
        return cls(images, labels, log_probabilities(measured.dense, images))


def lost(name: str, plan: Plan, losses: PlanLosses, tested: Tested) -> Iterator[Lost]:
    """Of the plan, then of each of its blocks alone."""
    for layers, part in parts(plan):
        found = log_probabilities(losses.network(part), tested.images)
        divergence = F.kl_div(found, tested.dense, log_target=True, reduction="batchmean")
        accuracy = (found.argmax(1) == tested.labels).float().mean()
        kinds = " ".join(sorted({layer.kind.name for layer in part.changed}))
        yield Lost(name, layers, kinds, losses.of(part), float(divergence), float(accuracy))


def rounded(cell: str | float) -> str | float:
    """A cell with four places, which say more than so many images do."""
    return cell if isinstance(cell, str) else round(cell, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=2000)
    parser.add_argument("--plans", nargs="+", default=PLANS, metavar="NAME")
    parser.add_argument("--out", type=Path, default=PLANNED / "losses_together.csv")
    options = parser.parse_args()
    measured = subject(options)
    plans = {name: Plan.load(PLANNED / name / "plan.json") for name in options.plans}
    losses = PlanLosses.on(measured.dense, measured.data, list(plans.values()))
    tested = Tested.of(measured)
    table = []
    for name, plan in plans.items():
        whole, *blocks = lost(name, plan, losses, tested)
        table += [whole, *blocks]
        print(
            f"{name}: predicted {whole.predicted:.3f}, measured {whole.measured:.3f}, blocks alone "
            f"{sum(block.measured for block in blocks):.3f} in all; {whole.accuracy:.2%} right",
            flush=True,
        )
    header = [field.name for field in fields(Lost)]
    write_csv(options.out, header, [[rounded(cell) for cell in astuple(row)] for row in table])


if __name__ == "__main__":
    main()
