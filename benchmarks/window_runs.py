"""Finished runs as rows of one table: accuracy against cycles, with all that makes runs comparable.

Usage: python benchmarks/window_runs.py RUN ... --commit COMMIT [--out results/windows/runs.csv]
    [--plans results/windows/plans]

RUN is the folder of a run of `rankfold compress`; those that are not finished are left out. A run that the
table holds already (by its name) is not read again. Its `plan.json` is kept beside the table, so that
`rankfold compress --plan` can repeat it. COMMIT is that of the code which trained, as runs do not know it;
leave it empty where it is not known.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
from pathlib import Path

from measured_rows import Rows

from rankfold import zoo_network
from rankfold.cost.energy import load_table, network_energy
from rankfold.mapping import map_layer
from rankfold.plan import Plan, masks_for
from rankfold.plan.kinds import WindowLayer, WindowLowRankLayer
from rankfold.runs.result import Result

HEADER = (
    "name",
    "method",
    "array",
    "bits",
    "cycles",
    "accuracy",
    "before",
    "train_accuracy",
    "epochs",
    "rate",
    "teacher",
    "seed",
    "parameters",
    "conversions",
    "energy_nj",
    "dense_best",
    "im2col",
    "plan",
    "run",
    "precision",
    "device",
    "seconds",
    "commit",
)
RESULTS = Path(__file__).resolve().parent.parent / "results"
DENSE, MIXED = "dense", "planned"
CELLS = "cells"  # after the size of an array


def method_of(plan: Plan) -> str:
    """What a plan is called in tables: by the kinds of its changed layers, or `planned`.

    The planner says of every layer that it changes what loss it predicts; by hand nobody does.
    """
    changed = [layer for layer in plan.layers if layer.kind.changes_weight]
    if not changed:
        return DENSE
    windows = any(isinstance(layer.kind, WindowLayer) for layer in changed)
    if any("predicted loss" in layer.reason for layer in changed):
        # By planners that knew pairs of windows or did not, two plans of equal cycles are two settings.
        pairs = any(isinstance(layer.kind, WindowLowRankLayer) for layer in changed)
        if windows and pairs:
            return f"{MIXED}, windows and their pairs among them"
        return f"{MIXED}, windows among them" if windows else MIXED
    return " and ".join(sorted({layer.kind.variant or layer.kind.name for layer in changed}))


def array_of(plan: Plan) -> str:
    """The array's size in weights; in cells where the plan knows them, as a weight takes several."""
    if plan.array.cell_bits is None:
        return str(plan.array)
    return f"{plan.array} {CELLS}"


def dense_best(result: Result, plan: Plan) -> int:
    """Cycles of the dense network under its best mapping, which results of version 0.1 do not say."""
    shapes = zoo_network(result.model).convolutions
    return sum(map_layer(shape, plan.array, "best").cycles for shape in shapes)


def energy(folder: Path, result: Result, plan: Plan) -> str | None:
    """nJ on the arrays of the default table, None where masks that it depends on are not kept.

    Not from the result: those of version 0.1 have the energy of arrays on which networks are lost.
    """
    weights = folder / "model.safetensors"
    masks = plan.masks  # those that plan files name
    if weights.exists():
        masks = masks_for(plan, weights)
    elif any(layer.kind.masked and layer.kind.known_support is None for layer in plan.layers):
        return None
    priced = network_energy(zoo_network(result.model), plan, load_table("rram-22nm"), masks)
    return f"{priced.energy / 1e3:.0f}"


def row(folder: Path, commit: str) -> list[object]:
    """The row of a finished run."""
    result, plan = Result.load(folder / "result.json"), Plan.load(folder / "plan.json")
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    bits = {layer.weight_bits for layer in plan.layers[1:-1]}
    figures = {
        "name": folder.name,
        "method": method_of(plan),
        "array": array_of(plan),
        "bits": " ".join(str(one or "float") for one in sorted(bits, key=str)),
        "cycles": result.planned_cycles,
        "accuracy": result.accuracy.final,
        "before": result.accuracy.decomposed,
        "train_accuracy": f"{float(epochs[-1]['train_accuracy']):.4f}" if epochs else None,
        "epochs": result.recipe["epochs"],
        "rate": result.recipe["peak_rate"],
        "teacher": result.recipe.get("distillation_weight", 0),
        "seed": result.recipe["seed"],
        "parameters": result.parameters_after,
        "conversions": result.planned_conversions,
        "energy_nj": energy(folder, result, plan),
        "dense_best": dense_best(result, plan),
        "im2col": result.cycles["im2col"],
        "plan": hashlib.sha256((folder / "plan.json").read_bytes()).hexdigest()[:12],
        "run": result.run,
        "precision": result.precision,
        "device": result.device,
        "seconds": f"{result.seconds:.0f}",
        "commit": commit,
    }
    return [figures[name] for name in HEADER]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--commit", default="")
    parser.add_argument("--out", type=Path, default=Path("results/windows/runs.csv"))
    parser.add_argument("--plans", type=Path, default=Path("results/windows/plans"))
    options = parser.parse_args()
    rows = Rows(options.out, HEADER, 1)
    for folder in options.runs:
        if [folder.name] in rows:
            continue
        if not (folder / "result.json").exists():
            print(f"{folder}: not finished")
            continue
        rows.add(row(folder, options.commit))
        # Runs whose records are kept beside this table have their plan there.
        if RESULTS not in folder.resolve().parents:
            options.plans.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "plan.json", options.plans / f"{folder.name}.json")
        print(f"{folder}: {rows.rows[-1][1]}, {rows.rows[-1][4]} cycles, {rows.rows[-1][5]}")


if __name__ == "__main__":
    main()
