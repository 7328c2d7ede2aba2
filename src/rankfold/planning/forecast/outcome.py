"""`Outcome`: what training left of one planned network, as a row to learn from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rankfold.files import package_data
from rankfold.plan import LayerPlan
from rankfold.records.csv_table import write_csv

SHIPPED = "outcomes.csv"  # beside this file


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A planned network, fine-tuned.

    Attributes:
        run: a name of the run.
        network: name of the network.
        data: digest of the data set.
        weights: digest of the dense network's weights.
        bits: of its layers, see `bits_of`.
        kinds: what layers became beside dense, see `kinds_of`.
        plan: digest of what the layers became (`plan.prediction.decisions`).
        loss: predicted for the plan, in nats per image, before any training and without rounding.
        baseline: accuracy of the dense float network on the test split, 0 to 1.
        before: accuracy before fine-tuning, quantised.
        epochs: of fine-tuning.
        taught: whether the dense network taught.
        accuracy: after fine-tuning.
    """

    run: str
    network: str
    data: str
    weights: str
    bits: str
    kinds: str
    plan: str
    loss: float
    baseline: float
    before: float
    epochs: int
    taught: bool
    accuracy: float


def bits_of(layers: Sequence[LayerPlan]) -> str:
    """The widths of weights/inputs that layers have, each once: `4/4 8/8`."""
    widths = {f"{layer.weight_bits or 'float'}/{layer.input_bits or 'float'}" for layer in layers}
    return " ".join(sorted(widths))


def kinds_of(layers: Sequence[LayerPlan]) -> str:
    """What layers became beside dense, each once: `low-rank window`."""
    kinds = {layer.kind.variant or layer.kind.name for layer in layers if layer.kind.changes_weight}
    return " ".join(sorted(kinds))


def shipped_outcomes() -> tuple[Outcome, ...]:
    """Those that come with the package: ResNet-20 on CIFAR-10 at 4 bits (`benchmarks/trained_plans.py`)."""
    return read_outcomes(package_data("rankfold.planning.forecast") / SHIPPED)


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """The rows of a table that `write_outcomes` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(_from_cells(row) for row in csv.DictReader(file))


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a table, one outcome a row."""
    names = [field.name for field in fields(Outcome)]
    rows = []
    for outcome in outcomes:
        cells = {**vars(outcome), "loss": f"{outcome.loss:.6g}", "taught": int(outcome.taught)}
        rows.append([str(cells[name]) for name in names])
    write_csv(path, names, rows)


def _from_cells(row: dict[str, str]) -> Outcome:
    return Outcome(
        run=row["run"],
        network=row["network"],
        data=row["data"],
        weights=row["weights"],
        bits=row["bits"],
        kinds=row["kinds"],
        plan=row["plan"],
        loss=float(row["loss"]),
        baseline=float(row["baseline"]),
        before=float(row["before"]),
        epochs=int(row["epochs"]),
        taught=row["taught"] == "1",
        accuracy=float(row["accuracy"]),
    )
