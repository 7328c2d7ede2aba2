"""Arguments that say what the arrays are made of."""

from __future__ import annotations

import argparse

from rankfold.cost.energy import DEFAULT_TABLE, TABLES

ASKED = ("hardware", "technology", "adc", "adc_bits", "mux", "cell_bits")


def add_technology(parser: argparse.ArgumentParser, resolution: bool = True) -> None:
    """Add `--technology`, `--adc`, `--mux` and, unless it is there among other options, `--adc-bits`."""
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
    if resolution:
        parser.add_argument(
            "--adc-bits", type=int, metavar="N", help="resolution of the ADCs (default: the table's)"
        )
    parser.add_argument(
        "--mux", type=int, metavar="N", help="columns that share an ADC (default: the table's)"
    )


def asks_for_energy(options: argparse.Namespace) -> bool:
    """Whether the user named hardware, a technology, an ADC or cells, so that an array without room for a
    weight is an error.
    """
    # Otherwise cycles are wanted, and an array that holds no weight only leaves energy out.
    return any(getattr(options, name, None) is not None for name in ASKED)
