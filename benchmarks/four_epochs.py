"""ResNet-20's networks after four epochs each, counted in every reading, and what plans and windows win.

Usage: python benchmarks/four_epochs.py [--out results/reproduction/resnet20-four-epochs]

The networks are those of `RUNS`: 4 bits, four epochs with the float network as teacher, seed 0 and some under
seeds 1 and 2, trained by `rankfold compress` and recorded in `results/windows` and `results/planned`. Nothing
is trained here. Each is counted under every mapping and in the published reading, as cells of `rankfold
reproduce` are: those that do not depend on the array on arrays of 32x32 to 256x256, windows and plans on the
arrays that they were made for. Patterns are made again of the shipped weights. Writes `cells.csv`, headlines
and `tables.md`.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev

from shipped_network import shipped_resnet20
from torch import nn

from rankfold import ArraySpec
from rankfold.cost import PUBLISHED, CostKey
from rankfold.files import write_json, write_text
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.plan import Plan
from rankfold.reproduce.headline import Point
from rankfold.reproduce.measure import Measurement, costs_on, steering_of, write_table
from rankfold.reproduce.summary import OURS, headline_tables, headlines, headlines_to_json
from rankfold.reproduce.words import table
from rankfold.surgery.by_weights import compress_by_weights_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.surgery.supports import filled_in
from rankfold.workload import Network, zoo_network

RESULTS = Path(__file__).resolve().parent.parent / "results"
PLANNED = RESULTS / "planned"  # has a folder of each run that is not one of windows
SIZES = (32, 64, 128, 256)
EPOCHS, BITS = 4, 4
TEACHER = 0.9  # weight of distillation
BASELINE = 0.9197  # of the shipped float weights


@dataclass(frozen=True)
class Trained:
    """A network that was trained, and where its record is.

    Attributes:
        name: of the run in `results/windows/runs.csv`, or of its folder in `results/planned`.
        method: how a grid calls it.
        settings: of the method, as a grid has them.
        sizes: of the arrays that it is counted for.
        again: the same plan trained under seeds 1, 2, ...: folders in `results/planned`.
    """

    name: str
    method: str
    settings: Mapping[str, int | str]
    sizes: tuple[int, ...] = SIZES
    again: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """What its layers became."""
        folder = PLANNED / self.name
        if folder.exists():
            return Plan.load(folder / "plan.json")
        return Plan.load(RESULTS / "windows" / "plans" / f"{self.name}.json")


def accuracies(name: str, seed: int) -> tuple[float, float]:
    """Of a run, of the test images: before training (0 where the record lacks it), after the last epoch."""
    folder = PLANNED / name
    if (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert (result["recipe"]["epochs"], result["recipe"]["seed"]) == (EPOCHS, seed)
        return result["accuracy"]["decomposed"], result["accuracy"]["final"]
    if folder.exists():
        last = _rows(folder / "history.csv")[-1]
        assert (int(last["epoch"]), seed) == (EPOCHS, 0)
        return 0.0, float(last["test_accuracy"])
    (row,) = [row for row in _rows(RESULTS / "windows" / "runs.csv") if row["name"] == name]
    assert (int(row["epochs"]), float(row["teacher"]), int(row["seed"])) == (EPOCHS, TEACHER, seed)
    return float(row["before"]), float(row["accuracy"])


def _plan(name: str, size: int, cycles: int, again: tuple[str, ...] = ()) -> Trained:
    return Trained(name, "planned", {"max_cycles": cycles}, (size,), again)


RUNS = (
    Trained("dense64-e4", "quantise", {}),
    Trained("lr4q-64-e4", "low-rank", {"groups": 4, "rank": "1/4"}),
    Trained("pairs2-64-e4", "pairs", {"entries": 2}),
    Trained("pairs1-64-e4", "pairs", {"entries": 1}),
    Trained("pairs2023-2-64-e4", "pairs-2023", {"entries": 2}),
    Trained("pairs2023-1-64-e4", "pairs-2023", {"entries": 1}),
    Trained("four-patdnn-channel-2", "patdnn-channel", {"entries": 2}),
    Trained("four-windows-k1", "window", {"row_tiles": 1}, (64,)),
    Trained(
        "four-windows-k2",
        "window",
        {"row_tiles": 2},
        (64,),
        again=("four-windows-k2-s1", "four-windows-k2-s2"),
    ),
    Trained("four-windows-k3", "window", {"row_tiles": 3}, (64,)),
    Trained("four-windows-k4", "window", {"row_tiles": 4}, (64,)),
    Trained("four-128-windows-k1", "window", {"row_tiles": 1}, (128,)),
    Trained("four-128-windows-k2", "window", {"row_tiles": 2}, (128,)),
    Trained("four-128-windows-k3", "window", {"row_tiles": 3}, (128,)),
    _plan("p32-17792-e4", 32, 17792),
    _plan("four-planned-9088", 64, 9088),
    _plan("p64-5440-e4", 64, 5440, again=("four-5440-s1", "four-5440-s2")),
    _plan("four-planner-5440", 64, 5440),
    _plan("four-skipped-2944", 64, 2944),
    _plan("four-trimmed-2944", 64, 2944),
    _plan("p128-2208-e4", 128, 2208),
    _plan("four-128-2144", 128, 2160),
    _plan("four-128-3200", 128, 3200),
    _plan("four-128-1472", 128, 1472),
    _plan("p256-938-e4", 256, 938),
)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measured(run: Trained, dense: nn.Module, network: Network) -> list[Measurement]:
    """A run's rows, one for each array and mapping."""
    model = copy.deepcopy(dense)
    plan = run.plan()
    compress_by_weights_(model, plan)
    plan = filled_in(plan, model)
    before, after = accuracies(run.name, 0)
    given = dict(run.settings)
    own = {name: given.pop(name, None) for name in ("groups", "rank", "entries")}
    rows = []
    for size in run.sizes:
        array = ArraySpec(size, size)
        costs = costs_on(array, network, plan, plan.masks, DEFAULT_HARDWARE)
        for text, (cycles, conversions, energy) in costs.items():
            key = CostKey.parse(text)
            row = Measurement(
                cell=run.name,
                method=run.method,
                **own,
                block=None,
                ratio=None,
                bits=BITS,
                seed=0,
                epochs=EPOCHS,
                baseline=BASELINE,
                before=before,
                accuracy=after,
                parameters=kept_parameters(model),
                array=str(array),
                mapping=key.mapping,
                steering=steering_of(key),
                cycles=cycles,
                conversions=conversions,
                energy=energy,
                distil=TEACHER,
                hardware=DEFAULT_HARDWARE.name,
                others=tuple(given.items()),
            )
            rows.append(row)
    return rows


def trained_again(run: Trained, rows: Sequence[Measurement]) -> list[list[Measurement]]:
    """The rows of its other seeds: only accuracies differ."""
    others = []
    for seed, name in enumerate(run.again, start=1):
        assert Plan.load(PLANNED / name / "plan.json").layers == run.plan().layers
        before, after = accuracies(name, seed)
        others.append([replace(row, cell=name, seed=seed, before=before, accuracy=after) for row in rows])
    return others


def mean_over(seeds: Sequence[Measurement]) -> Point:
    """The point of one network on one array under one mapping; its seeds cost the same."""
    first, found = seeds[0], [row.accuracy for row in seeds]
    spread = stdev(found) if len(found) > 1 else None
    return Point(first, fmean(found), first.cycles, len(found), spread, first.energy)


def overview(points: Sequence[Point]) -> str:
    """A line for each network: its accuracy, and on each array its cycles by the best mapping / as published.

    By name: two plans for one budget are two networks.
    """
    cycles = {(point.of.cell, point.of.array, point.of.mapping): point.cycles for point in points}
    arrays = [f"{size}x{size}" for size in SIZES]
    rows = []
    for run in RUNS:
        (own, *_) = [point for point in points if point.of.cell == run.name]
        counts = []
        for array in arrays:
            if (run.name, array, "best") in cycles:
                best, published = cycles[run.name, array, "best"], cycles[run.name, array, PUBLISHED]
                counts.append(f"{best:,.0f} / {published:,.0f}")
            else:
                counts.append("–")
        accuracy = f"{100 * own.accuracy:.2f} %"
        if own.spread is not None:
            accuracy += f" +- {100 * own.spread:.2f} ({own.seeds} seeds)"
        rows.append([f"`{run.name}`", own.label, accuracy, *counts])
    return table(["run", "setting", "accuracy", *arrays], rows, "<<" + ">" * (1 + len(arrays)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "reproduction" / "resnet20-four-epochs")
    options = parser.parse_args()
    dense, network = shipped_resnet20(), zoo_network("resnet20")
    rows, points = [], []
    for run in RUNS:
        first = measured(run, dense, network)
        seeds = [first, *trained_again(run, first)]
        rows += chain.from_iterable(seeds)
        # Run by run: two plans for one budget are two networks, not two seeds.
        points += [mean_over(own) for own in zip(*seeds, strict=True)]
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(options.out / "cells.csv", rows)
    parts = [
        "# ResNet-20 after four epochs",
        "Cycles by the best mapping of each layer / in the published reading.",
        overview(points),
    ]
    for method, name in OURS.items():
        found = headlines(points, method)
        if found:
            write_json(options.out / name, headlines_to_json(found))
            parts.append(f"## Headlines: {method}\n\n{headline_tables(found, method)}")
    write_text(options.out / "tables.md", "\n\n".join(part.strip() for part in parts) + "\n")


if __name__ == "__main__":
    main()
