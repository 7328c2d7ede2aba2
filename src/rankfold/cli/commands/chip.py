"""`rankfold chip`: a network on a described chip, and descriptions of chips to list, show and copy."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rankfold.chip.best import INTERVAL, OBJECTIVES, run_as_planned, run_on_chip
from rankfold.chip.check import Check, check_schedule
from rankfold.chip.run import ChipRun
from rankfold.cli.arguments.arrays import add_bits
from rankfold.cli.arguments.chips import named_chip, naming_columns
from rankfold.cli.arguments.mappings import add_mapping
from rankfold.cli.arguments.methods import add_rules
from rankfold.cli.arguments.plans import add_planned_network, planned_network
from rankfold.cli.arguments.values import refuse_given
from rankfold.cli.words.chip_run import (
    check_in_words,
    chip_run_csv,
    chip_run_in_words,
    chip_run_table,
    chip_run_to_json,
)
from rankfold.cli.words.hardware import not_counted_in_words
from rankfold.cost.choice import AUTO
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.machine import ChipSpec, chip_names, chip_text, load_chip
from rankfold.models.pretrained import run_folder
from rankfold.progress import Progress
from rankfold.records.text_table import format_table
from rankfold.workload import Network

IMAGES = 8  # that a check sends through


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_planned_network(parser, optional=True)
    add_rules(parser)
    add_mapping(parser)
    add_bits(parser, None, "of weights and inputs, 1 to 8 (default 4; first and last 8)")
    parser.add_argument(
        "--chip",
        metavar="NAME",
        help=f"the chip: {', '.join(chip_names())}, or a .yaml file as --show prints it",
    )
    parser.add_argument(
        "--objective",
        choices=tuple(OBJECTIVES),
        metavar="NAME",
        help=f"what shall be small: {', '.join(OBJECTIVES)} (default interval, the time between two images; "
        "a plan that was made for this chip keeps its copies)",
    )
    parser.add_argument(
        "--choose-mappings",
        action="store_true",
        help="choose the mapping of every layer for this chip and the objective (the default where neither "
        "a plan nor --mapping says which)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="also execute the schedule event by event, with everything that waits for everything else",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="also write an HTML page: floor plan, timeline, traffic; of existing files it replaces only "
        "HTML pages",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--list", action="store_true", help="the chips that the package describes")
    form.add_argument("--show", metavar="NAME", help="print a description, to copy and edit")
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per layer or join")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print descriptions, or a network on a chip."""
    if options.page is not None and (options.list or options.show is not None):
        raise UnwantedArgumentError(
            "--page shows a network on a chip; name one, and omit --list and --show", "page"
        )
    if options.list:
        print(_table())
        return 0
    if options.show is not None:
        # Read before it is shown: a file that is no description is refused.
        load_chip(options.show)
        print(chip_text(options.show), end="")
        return 0
    if options.csv and options.check and options.page is None:
        raise UnwantedArgumentError(
            "--csv has no line for a check; omit --check, or use --json or --page", "check"
        )
    chip = _chip(options)
    if options.page is not None:
        from rankfold.report import check_page

        # Before anything is computed: a file that is no page is never written over.
        check_page(options.page)
    from rankfold.cli.words.progress import Bars

    network, found = _found(options, chip, Bars())
    checked = None
    if options.check:
        checked = check_schedule(found, IMAGES, Bars())
    if options.page is not None:
        from rankfold.report.chip_page.page import write_chip_page

        write_chip_page(options.page, found, checked)
    if options.json:
        print(json.dumps(chip_run_to_json(found, checked), indent=1))
        return 0
    if options.csv:
        print(chip_run_csv(found), end="")
        return 0
    print("\n".join(_in_words(options, found, checked, network)))
    return 0


def _found(options: argparse.Namespace, chip: ChipSpec, progress: Progress) -> tuple[Network, ChipRun]:
    """The network, and how it runs: as its plan says, or as is found to be best."""
    # The arrays are the chip's, with every figure that they have.
    options.hardware = chip.hardware
    with naming_columns(options.chip):
        network, plan, masks = planned_network(options)
    planned = options.plan is not None or run_folder(options.model).is_dir()
    chosen = options.choose_mappings or not (planned or options.mapping not in (None, AUTO))
    found = None
    if options.objective is None and not chosen:
        found = run_as_planned(network, plan, chip, masks or None)
    if found is None:
        found = run_on_chip(
            network,
            plan,
            chip,
            masks or None,
            objective=options.objective or INTERVAL,
            choose_mappings=chosen,
            progress=progress,
        )
    if options.plan is None and planned and not chosen:
        # What a simulation of these arrays found of the run; other mappings lay other sums on them.
        from rankfold.runs.on_arrays import energy_with_accuracy

        activity = energy_with_accuracy(found.activity, run_folder(options.model))
        found = replace(found, activity=activity)
    return network, found


def _in_words(
    options: argparse.Namespace, found: ChipRun, checked: Check | None, network: Network
) -> list[str]:
    lines = [chip_run_table(found), "", chip_run_in_words(found)]
    if checked is not None:
        lines.append(check_in_words(checked))
    lines += not_counted_in_words(network)
    if options.page is not None:
        lines.append(f"page: {options.page}")
    return lines


def _chip(options: argparse.Namespace) -> ChipSpec:
    if options.model is None:
        raise InputError("name a network, or give --list or --show NAME")
    if options.chip is None:
        raise InputError(f"give the chip: --chip {' or '.join(chip_names())}, or a .yaml file")
    refuse_given(
        options, ("array", "hardware"), "{flag}: the chip says what its arrays are; omit it, or edit the chip"
    )
    return named_chip(options.chip)


def _table() -> str:
    headers = [
        "chip",
        "cores",
        "arrays",
        "array",
        "cells",
        "buffer, KiB",
        "interconnect",
        "memory",
        "technology",
    ]
    rows = []
    for name in chip_names():
        chip = load_chip(name)
        memory = "none"
        if chip.memory is not None:
            memory = f"{chip.memory.rate / 8:g} GB/s"
        array = chip.hardware.array
        rows.append(
            [
                chip.name,
                str(chip.cores.count),
                f"{chip.arrays:,}",
                str(array),
                f"{array.cell_bits} bit, {array.coding}",
                f"{chip.buffer.size / 1024:g}",
                f"{chip.interconnect.kind}, {chip.interconnect.rate:g} bit/ns",
                memory,
                chip.hardware.technology,
            ]
        )
    return format_table(headers, rows, "<>><<><<<")
