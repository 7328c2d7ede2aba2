"""Accuracy of the shipped 4-bit ResNet-20 on the arrays that each component table assumes, and on others.

    python benchmarks/default_arrays.py --data ../shared/data/cifar10 [--images 1000] [--threads 1]

Writes results/energy/default_arrays.csv, one row for each machine, as soon as it is done; rows that it holds
are not computed again. 1,000 CIFAR-10 test images drawn under seed 0, 64x64 arrays, one-bit DACs, ADC
ranges calibrated on 512 training images, all 20 layers on arrays. Nothing is drawn at random but the images.
Machines of several tables are simulated once. Minutes for each machine on one core.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rankfold.cli.arguments.process import prepare_process
from rankfold.cost.energy import TABLES, find_table
from rankfold.errors import MissingDependencyError
from rankfold.files import write_text
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.runs.evaluate import evaluate, load_run
from rankfold.simulator import NonIdealities, simulate
from rankfold.training.data import load_images

HEADER = ["cell_bits", "coding", "converts", "adc_bits", "tables", "images", "seed", "ideal", "accuracy"]
SIZE = ArraySpec(64, 64, dac_bits=1)
SEED = 0


@dataclass(frozen=True)
class Machine:
    """Arrays and the resolution of their converters."""

    array: ArraySpec
    adc_bits: int

    @property
    def key(self) -> list[str]:
        """Its figures, the first columns of a row."""
        array = self.array
        return [str(array.cell_bits), array.coding, array.converts, str(self.adc_bits)]


def machines() -> Iterator[tuple[Machine, str]]:
    """Each machine once, with the tables that assume it; those of the tables first."""
    named: dict[Machine, list[str]] = {}
    for name in (*TABLES, "zigzag"):
        try:
            table = find_table(name, SIZE)
        except MissingDependencyError:
            continue
        array = replace(SIZE, cell_bits=table.cell_bits, coding=table.coding, converts=table.converts)
        named.setdefault(Machine(array, table.adc_bits), []).append(name)
    for cell_bits in (2, 1):
        for coding, converts, adc_bits in (
            ("offset", "columns", 5),
            ("differential", "columns", 5),
            ("offset", "differences", 5),
            ("offset", "differences", 7),
            ("differential", "differences", 4),
            ("offset", "columns", 7),
        ):
            array = replace(SIZE, cell_bits=cell_bits, coding=coding, converts=converts)
            named.setdefault(Machine(array, adc_bits), [])
    for machine, tables in named.items():
        yield machine, " ".join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("results/energy/default_arrays.csv"))
    options = parser.parse_args()
    prepare_process(options.threads)
    data = load_images(options.data)
    test = replace(data, test=data.test.sample(options.images, SEED))
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    rows: list[list[str]] = []
    if options.out.exists():
        rows = list(csv.reader(options.out.open()))[1:]
    ideal = float(evaluate(model, test))
    for machine, tables in machines():
        if machine.key in [row[:4] for row in rows]:
            continue
        chosen = NonIdealities(adc_bits=machine.adc_bits)
        on_arrays = simulate(model, replace(plan, array=machine.array), chosen, calibration=data)
        found = float(evaluate(on_arrays, test))
        rows.append([*machine.key, tables, str(options.images), str(SEED), f"{ideal:.4f}", f"{found:.4f}"])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
        write_text(options.out, text.getvalue())
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
