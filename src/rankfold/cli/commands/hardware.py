"""`rankfold hardware`: descriptions of hardware, to list, show, copy and check."""

from __future__ import annotations

import argparse

from rankfold.machine import Hardware, hardware_names, hardware_text, load_hardware
from rankfold.records.text_table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--list", action="store_true", help="the descriptions that the package has (the default)"
    )
    form.add_argument(
        "--show",
        metavar="NAME",
        help="print a description, with units and sources, to copy and edit; a file of one's own is checked",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print all descriptions, or one of them."""
    if options.show is None:
        print(_table())
        return 0
    # Read before it is shown: a file that is no description is refused.
    load_hardware(options.show)
    print(hardware_text(options.show), end="")
    return 0


def _table() -> str:
    headers = ["hardware", "array", "cells", "DAC", "ADC", "columns an ADC", "technology"]
    rows = []
    for name in hardware_names():
        rows.append(_row(load_hardware(name)))
    return format_table(headers, rows, "<" * len(headers))


def _row(hardware: Hardware) -> list[str]:
    array = hardware.array
    cells = "of the table"
    if array.cell_bits is not None:
        cells = f"{array.cell_bits} bit, {array.coding}"
    adc = hardware.adc or "of the table"
    if hardware.adc_bits is not None:
        adc += f", {hardware.adc_bits} bit"
    return [
        hardware.name,
        str(array),
        cells,
        _bits(array.dac_bits),
        adc,
        str(hardware.mux or "of the table"),
        hardware.technology,
    ]


def _bits(bits: int | None) -> str:
    if bits is None:
        return "1 bit in energy"
    return f"{bits} bit"
