"""What training left of ResNet-20's planned networks, beside the loss that was predicted for their plans.

Usage: python benchmarks/trained_plans.py --data path/to/cifar10 [--threads 1]
    [--out src/rankfold/planning/forecast/outcomes.csv] [--settings FILE]

Collects the trained networks in `results` that started from the shipped float ResNet-20, have 4-bit weights
and inputs (8 in the first convolution and the classifier) and were trained for at least an epoch: runs of
`rankfold compress` with their plans (results/windows/runs.csv, results/planned). Plans of the planner say
what they are predicted to lose, and are taken at their word (older ones by two digits of each layer); the
dense network loses nothing; of windows set by hand, whose rows data choose as in the planner's, the loss
is computed (`planning.plan_loss`, 256 training images, seed 0). The table is what `rankfold plan` learns
accuracies after training from.

`--settings` computes the predicted loss of all others as well, settings by hand and the cells of the
reproductions, and writes them to another table: what was learnt from plans can be held against them.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipped_network import Subject, add_options, subject

from rankfold import ArraySpec, Plan
from rankfold.plan.kinds import WindowLayer
from rankfold.plan.prediction import decisions
from rankfold.planning.forecast.outcome import Outcome, bits_of, kinds_of, write_outcomes
from rankfold.planning.plan_loss import PlanLosses
from rankfold.reproduce.grid import Cell
from rankfold.reproduce.measure import Measurement, read_table
from rankfold.runs.baseline import weights_digest
from rankfold.runs.result import Result
from rankfold.surgery.methods import plan_of

RESULTS = Path(__file__).resolve().parent.parent / "results"
WINDOWS = RESULTS / "windows"
TABLES = ("reproduction/resnet20-cifar10-cpu", "planned/h200", "planned/seed1")
RUNS = (
    "planned/64-*",
    "planned/128-*",
    "planned/four-*",
    "planned/h200/*-*",
    "planned/seed1/*-*",
    "cifar10-resnet20/g4-r*-data",
)
BITS, IMAGES = "4/4 8/8", 256
BASELINE = 0.9197  # of the shipped float weights, as every run measures it again
ARRAY = ArraySpec(64, 64)  # of the cells; what layers become does not depend on it


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        run: its name.
        plan: what it is.
        baseline, before, accuracy: of the dense network, before and after training, 0 to 1.
        epochs: of training.
        taught: whether the dense network taught.
    """

    run: str
    plan: Plan
    baseline: float
    before: float
    accuracy: float
    epochs: int
    taught: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=None)
    parser.add_argument("--out", type=Path, default=Path("src/rankfold/planning/forecast/outcomes.csv"))
    parser.add_argument(
        "--settings", type=Path, help="table of networks that others than the planner planned"
    )
    options = parser.parse_args()
    measured = subject(options)
    networks = [one for one in of_runs() if bits_of(one.plan.layers) == BITS]
    learnt = [one for one in networks if stated_loss(one.plan) is not None or is_of_windows(one.plan)]
    others = []
    if options.settings is not None:
        others = [one for one in networks if one not in learnt]
        for table in TABLES:
            cells = of_cells(RESULTS / table / "cells.csv", measured)
            others += [one for one in cells if is_of_interest(one)]
    unknown = [one.plan for one in (*learnt, *others) if stated_loss(one.plan) is None]
    losses = PlanLosses.on(measured.dense, measured.data, unknown, images=IMAGES)

    def loss(plan: Plan) -> float:
        stated = stated_loss(plan)
        if stated is not None:
            return stated
        return losses.of(plan)

    write(options.out, learnt, loss, measured)
    if options.settings is not None:
        write(options.settings, others, loss, measured)


def is_of_windows(plan: Plan) -> bool:
    """Whether all layers that changed became windows, whose rows data choose."""
    return kinds_of(plan.layers) == WindowLayer.name


def is_of_interest(one: Trained) -> bool:
    """Whether a network has the bits of those that are learnt from, and layers that changed."""
    return bits_of(one.plan.layers) == BITS and bool(one.plan.changed)


def write(path: Path, networks: Sequence[Trained], loss: Callable[[Plan], float], measured: Subject) -> None:
    """Write a table of networks with the losses of their plans, each of which is asked for once."""
    predicted: dict[str, float] = {}
    weights = weights_digest(measured.dense)
    outcomes = []
    for one in networks:
        digest = decisions(one.plan.layers)
        if digest not in predicted:
            predicted[digest] = loss(one.plan)
            print(f"{one.run}: {predicted[digest]:.4f} nats", flush=True)
        outcomes.append(outcome(one, predicted[digest], measured, weights))
    write_outcomes(path, outcomes)
    print(f"{path}: {len(outcomes)} networks, {len(predicted)} plans")


def stated_loss(plan: Plan) -> float | None:
    """What the planner predicted when it made a plan, as the plan or, of older ones, its reasons say; None:
    others made it.
    """
    if plan.predicted_loss is not None:
        return plan.predicted_loss
    found = 0.0
    for layer in plan.changed:
        words = re.search(r"predicted loss \+([0-9.e-]+) nats", layer.reason)
        if words is None:
            return None
        found += float(words[1])
    return found


def outcome(one: Trained, loss: float, measured: Subject, weights: str) -> Outcome:
    """The row of a network."""
    return Outcome(
        run=one.run,
        network="resnet20",
        data=measured.data.digest,
        weights=weights,
        bits=BITS,
        kinds=kinds_of(one.plan.layers),
        plan=decisions(one.plan.layers),
        loss=loss,
        baseline=one.baseline,
        before=one.before,
        epochs=one.epochs,
        taught=one.taught,
        accuracy=one.accuracy,
    )


def of_runs() -> Iterator[Trained]:
    """All runs on record."""
    yield from of_windows()
    for pattern in RUNS:
        for folder in sorted(RESULTS.glob(pattern)):
            # Of a run whose folder was lost nobody knows what it had before training.
            if (folder / "result.json").exists():
                yield of_folder(folder, folder.relative_to(RESULTS).as_posix())


def of_windows() -> Iterator[Trained]:
    """The rows of the windows' table; the dense network's accuracy is that of the shipped weights."""
    with (WINDOWS / "runs.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            places = (
                WINDOWS / "plans" / f"{row['name']}.json",
                RESULTS / "planned" / row["name"] / "plan.json",
                RESULTS / "cifar10-resnet20" / row["name"] / "plan.json",
            )
            found = [path for path in places if path.exists()]
            if found:
                yield Trained(
                    row["name"],
                    Plan.load(found[0]),
                    BASELINE,
                    float(row["before"]),
                    float(row["accuracy"]),
                    int(row["epochs"]),
                    float(row["teacher"]) > 0,
                )


def of_folder(folder: Path, name: str) -> Trained:
    """A finished run."""
    result = Result.load(folder / "result.json")
    accuracies = result.accuracy
    return Trained(
        name,
        Plan.load(folder / "plan.json"),
        accuracies.baseline,
        accuracies.decomposed,
        accuracies.final,
        result.recipe["epochs"],
        bool(result.recipe.get("distillation_weight", 0)),
    )


def of_cells(path: Path, measured: Subject) -> Iterator[Trained]:
    """The cells of a reproduction, each once; their plans are made again from their settings."""
    seen: dict[str, Measurement] = {}
    for row in read_table(path):
        seen.setdefault(row.cell, row)
    for name, row in seen.items():
        cell = Cell(row.method, row.seed, row.bits, distil=row.distil, **row.settings)
        plan = plan_of(cell.setting(), measured.dense, measured.network, ARRAY, bits=row.bits)
        yield Trained(
            f"{path.parent.relative_to(RESULTS).as_posix()}/{name}",
            plan,
            row.baseline,
            row.before,
            row.accuracy,
            row.epochs,
            bool(row.distil),
        )


if __name__ == "__main__":
    main()
