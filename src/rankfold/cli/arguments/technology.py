"""Arguments that say what the arrays are made of."""

from __future__ import annotations

import argparse

from rankfold.cost.energy import DEFAULT_TABLE, TABLES, ComponentTable, find_table
from rankfold.mapping import ArraySpec


def add_technology(parser: argparse.ArgumentParser, resolution: bool = True) -> None:
    """Add `--technology`, `--adc` and, unless the command has one for its simulated arrays, `--adc-bits`."""
    parser.add_argument(
        "--technology",
        metavar="NAME",
        help=f"component table for energy and area: {', '.join(TABLES)}, zigzag, or a .yaml file (default "
        f"{DEFAULT_TABLE})",
    )
    parser.add_argument(
        "--adc",
        metavar="KIND",
        help="ADC of the table: flash, sar, zigzag or your own (default: the table's)",
    )
    # Commands with simulated arrays have an option of that name for their converters.
    if resolution:
        parser.add_argument(
            "--adc-bits", type=int, metavar="N", help="resolution of the ADCs (default: the table's)"
        )


def asks_for_energy(options: argparse.Namespace) -> bool:
    """Whether the user named a technology, an ADC or cells, so that an array without room for a weight is an
    error.
    """
    # Otherwise cycles are wanted, and an array that holds no weight only leaves energy out.
    return bool(options.technology or options.adc or options.adc_bits or getattr(options, "cell_bits", None))


def component_table(options: argparse.Namespace, array: ArraySpec) -> ComponentTable:
    """The table that `--technology`, `--adc` and `--adc-bits` ask for.

    Raises:
        InputError: there is no such table or ADC, or the resolution is out of range.
        MissingDependencyError: `zigzag` without its package.
    """
    return find_table(options.technology, array, options.adc, options.adc_bits)
