"""Our component tables against measured chips: peak TOPS/W of four published SRAM macros, 22 and 28 nm.

Usage: python benchmarks/published_macros.py [--out results/energy]

tests/data/published_macros.csv says what is known of each macro and where it comes from: the paper, and the
public validation scripts of ZigZag-IMC and CiMLoop, which restate its figures. Nothing is tuned to a chip:
its sizes, bits, supply and activity go in, the rest is the shipped table. A chip of 28 nm is priced by the
tables of both neighbouring nodes.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rankfold.cost.energy import ComponentTable, Macro, load_table, macro_energy
from rankfold.files import write_text

SOURCE = Path(__file__).parents[1] / "tests" / "data" / "published_macros.csv"
SIZES = (
    "rows",
    "columns",
    "columns_per_weight",
    "weight_bits",
    "input_bits",
    "dac_bits",
    "rows_per_weight",
    "driven",
    "converted",
)


def tables(row: dict[str, str]) -> Iterator[ComponentTable]:
    """The tables for a chip: its node, or those around it, under each kind of ADC, with the chip's supply and
    activity.
    """
    nodes = [int(row["node_nm"])]
    if nodes == [28]:
        nodes = [22, 32]
    for node in nodes:
        for adc in ("flash", "sar", "zigzag"):
            yield replace(
                load_table(f"sram-{node}nm").with_adc(adc, int(row["adc_bits"])),
                vdd=float(row["vdd"]),
                mux=1,
                active_rows=float(row["active_rows"]),
                active_cells=float(row["active_cells"]),
            )


def compared() -> Iterator[tuple[dict[str, str], ComponentTable, float]]:
    """(chip, table, our TOPS/W)."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            macro = Macro(**{key: int(row[key]) for key in SIZES})
            for table in tables(row):
                yield row, table, macro.operations / macro_energy(table, macro).total


def main() -> None:
    parser = argparse.ArgumentParser(description="Component tables against published macros.")
    parser.add_argument("--out", type=Path, default=Path("results/energy"))
    options = parser.parse_args()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["macro", "paper", "figures_from", "measured_tops_per_watt", "technology", "adc", "ours", "error"]
    )
    for row, table, ours in compared():
        measured = float(row["tops_per_watt"])
        writer.writerow(
            [
                row["name"],
                row["paper"],
                row["figures_from"],
                measured,
                table.name,
                f"{table.adc_bits}-bit {table.adc}",
                f"{ours:.4g}",
                f"{ours / measured - 1:+.3f}",
            ]
        )
    write_text(options.out / "published_macros.csv", text.getvalue())
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
