"""Accuracy against cycles with 512 unlabelled images and no training: windows beside what costs as much.

Usage: python benchmarks/windows.py --data path/to/cifar10 [--threads 1] [--arrays 32 64 128 256]
    [--test 10000] [--settings "windows, k = 1" ...] [--planned] [--sequential]
    [--rounding compensated] [--out FILE]

The shipped float ResNet-20. Every convolution but the first becomes what the setting says (see
window_settings.py); weights are made for 512 training images (`compress_` with data), batch norm is measured
again on 2,048 (`quantise_`), in float and with 4-bit weights and inputs. `--planned` adds the planner's plans
for the cycles of other settings, `--sequential` makes each layer for the inputs that the layers before it
give, `--rounding compensated` rounds weights so that errors make up for each other. Each row is written as
soon as it is done, and rows that the file holds are not measured again: array, setting, test images (the
first ones), cycles per image, weights stored, ADC conversions, top-1 in float and with 4 bits, standard error
of the latter, seconds of processor time, commit, device. Nothing but the choice of the training images is
drawn (seed 0).
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measured_rows import Rows, commit, standard_error
from shipped_network import Subject, add_options, subject
from torch import nn
from window_settings import (
    BY_STAGE,
    BY_STAGE_NAME,
    DENSE,
    UNIFORM,
    plan_of,
    without_bits,
)

from rankfold import ArraySpec, Plan, compress_, cycles, evaluate, quantise_
from rankfold.errors import InputError
from rankfold.lowrank import ROUNDINGS
from rankfold.planning import PlanningProblem, planning_problem, solve_problem
from rankfold.planning.exact import CYCLES
from rankfold.runs.record import device_name

HEADER = (
    "array",
    "setting",
    "images",
    "cycles",
    "weights",
    "conversions",
    "float",
    "four_bits",
    "error",
    "seconds",
    "commit",
    "device",
)
KEYS = 3
# The most telling ones first, as the work may be stopped.
SETTINGS = (BY_STAGE_NAME, DENSE, *UNIFORM)
# Settings whose cycles are budgets for the planner.
BUDGETS = (BY_STAGE_NAME, "windows, k = 1", "PAIRS, e = 2", "PAIRS, e = 4", "PAIRS, e = 6")


@dataclass
class Bench:
    """The network and its data, on arrays of one size."""

    subject: Subject
    array: ArraySpec
    decomposition: str
    rounding: str = "nearest"
    problem: PlanningProblem | None = None

    def planned(self, budget: int) -> Plan:
        """The planner's plan of 4 bits within a number of cycles."""
        if self.problem is None:
            self.problem = planning_problem(
                self.subject.dense, self.subject.data, self.array, network=self.subject.network
            )
        return solve_problem(replace(self.problem, budgets={CYCLES: float(budget)})).plan

    def measure(self, plan: Plan) -> tuple[Plan, list[object]]:
        """The plan with all that it left open, and the figures of a row, from cycles to the error."""
        data = self.subject.data
        model = copy.deepcopy(self.subject.dense)
        if plan.changed:
            compress_(model, plan, data, decomposition=self.decomposition)
        trial: nn.Module = copy.deepcopy(model)
        quantise_(trial, without_bits(plan), data)
        in_float = evaluate(trial, data)
        settled = quantise_(model, plan, data, rounding=self.rounding)
        four_bits = evaluate(model, data)
        counted = cycles(self.subject.network, settled)
        figures: list[object] = [
            counted.chosen_cycles,
            sum(layer.parameters for layer in counted.layers),
            counted.chosen_conversions,
            f"{in_float:.4f}",
            f"{four_bits:.4f}",
            f"{standard_error(four_bits, len(data.test)):.4f}",
        ]
        return settled, figures


def plans(bench: Bench, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Plan]]]:
    """Settings by name, each with what makes its plan."""
    for name in options.settings:
        if name != BY_STAGE_NAME or bench.array.rows in BY_STAGE:
            yield name, lambda name=name: plan_of(name, bench.subject.network, bench.array)
    if options.planned:
        budgets = set()
        for name in BUDGETS:
            plan = plan_of(name, bench.subject.network, bench.array)
            budgets.add(budget_of(bench, plan))
        for budget in sorted(budgets):
            yield f"planned, {budget:,} cycles", lambda budget=budget: bench.planned(budget)


def budget_of(bench: Bench, plan: Plan) -> int:
    """Cycles of a plan; of PAIRS with masks of its weights."""
    model = copy.deepcopy(bench.subject.dense)
    compress_(model, plan)
    counted = cycles(bench.subject.network, quantise_(model, plan, bench.subject.data, images=8))
    return counted.chosen_cycles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--arrays", type=int, nargs="+", default=[64, 128, 32, 256])
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--planned", action="store_true")
    parser.add_argument("--sequential", action="store_true")
    parser.add_argument("--rounding", choices=ROUNDINGS, default="nearest")
    parser.add_argument("--out", type=Path, default=Path("results/windows/calibrated.csv"))
    options = parser.parse_args()
    measured = subject(options)
    rows, made_by = Rows(options.out, HEADER, KEYS), [commit(), device_name(torch.device("cpu"))]
    for size in options.arrays:
        decomposition, ending = ("sequential", ", sequential") if options.sequential else ("data", "")
        if options.rounding != "nearest":
            ending += f", {options.rounding} rounding"
        bench = Bench(measured, ArraySpec(size, size), decomposition, options.rounding)
        for name, make in plans(bench, options):
            key = [f"{size}x{size}", name + ending, len(measured.data.test)]
            if key in rows:
                continue
            start = time.process_time()
            try:
                _, figures = bench.measure(make())
            except InputError as refused:
                print(f"{key}: {refused}", flush=True)
                continue
            rows.add([*key, *figures, f"{time.process_time() - start:.0f}", *made_by])
            print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
