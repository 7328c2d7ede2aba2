"""`rankfold map`: cycles of a network on an array, without data and, for a zoo network, without torch."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rankfold.cli.arguments.arrays import add_precision
from rankfold.cli.arguments.mappings import add_mapping, add_most_arrays, within_arrays
from rankfold.cli.arguments.methods import add_rules
from rankfold.cli.arguments.plans import add_planned_network, arrays_with_accuracy, planned_network
from rankfold.cli.arguments.technology import add_technology, asks_for_energy
from rankfold.cli.arguments.values import refuse_given
from rankfold.cli.words.chip import chip_in_words, priced_chip_in_words
from rankfold.cli.words.energy import energy_summary
from rankfold.cli.words.hardware import hardware_in_words, not_counted_in_words
from rankfold.cli.words.mapping import mapping_csv, mapping_table
from rankfold.cli.words.products import products_in_words, products_on
from rankfold.cli.words.published import published_table
from rankfold.cost import (
    PUBLISHED,
    ChipSchedule,
    Masks,
    NetworkCycles,
    PublishedCycles,
    network_cycles,
    published_cycles,
    schedule,
)
from rankfold.cost.energy import OnArrays, PricedChip, hardware_table, on_arrays, priced_chip
from rankfold.errors import InputError
from rankfold.machine import hardware_to_json
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import Plan, coverage
from rankfold.plan.counted import counts_linear
from rankfold.workload import Network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_planned_network(parser)
    add_rules(parser)
    add_mapping(parser, once_method=True)
    add_most_arrays(parser)
    parser.add_argument(
        "--padding", choices=("0",), help="count every layer without padding, as published tables do"
    )
    parser.add_argument(
        "--reading",
        metavar="published[:RxC]",
        help="also count as the code published with PAIRS and GAROS does, with windows found for arrays of "
        "R x C (default: 8 rows and 4 columns for each channel of the widest layer, as there)",
    )
    add_precision(parser)
    add_technology(parser)
    parser.add_argument("--arrays", type=int, metavar="N", help="also run the network on a chip of N arrays")
    parser.add_argument(
        "--coverage",
        action="store_true",
        help="first show every layer: its shares, what becomes of it, and why",
    )
    parser.add_argument(
        "--compare", action="store_true", help="show cycles and arrays of all mappings side by side"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per convolution")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the mapping of a network."""
    _check_csv(options)
    network, plan, masks = planned_network(options)
    plan = within_arrays(options, network, plan, masks, options.linear or None)
    covered = coverage(network, plan, options.linear)
    costs = network_cycles(network, plan, MAPPINGS, masks, options.linear or None)
    # Cycles are known for arrays that have no energy; then it is said why.
    arrays, why_not = _on_arrays(network, plan, masks, options)
    chip = _chip(options.arrays, costs, arrays)
    published = _published(options, network, plan, masks)
    products = products_on(network, arrays)
    if options.json:
        content: dict[str, Any] = {
            **costs.to_json(),
            "hardware": hardware_to_json(plan.machine),
            "coverage": covered.to_json(),
            **_more_json(published, chip, arrays, why_not),
            "products": products,
        }
        print(json.dumps(content, indent=2))
        return 0
    if options.csv:
        print(mapping_csv(costs, arrays, plan.machine.name), end="")
        return 0
    told = covered.summary()
    if options.coverage:
        told = covered.table()
    print(told, end="\n\n")
    print(mapping_table(costs, arrays, options.compare))
    if published is not None:
        print(published_table(published), end="\n\n")
    _print_energy(arrays, why_not, chip)
    if options.hardware is not None:
        print(hardware_in_words(plan))
    for line in not_counted_in_words(network):
        print(line)
    if products is not None:
        print(products_in_words(products))
    return 0


def _chip(
    count: int | None, costs: NetworkCycles, arrays: OnArrays | None
) -> PricedChip | ChipSchedule | None:
    """The network on a chip of `count` arrays, if one was asked for."""
    if count is None:
        return None
    if arrays is None:
        # A weight in a cell, as nothing says what the cells of this array hold.
        return schedule(costs, count)
    return priced_chip(arrays, count)


def _print_energy(arrays: OnArrays | None, why_not: str, chip: PricedChip | ChipSchedule | None) -> None:
    """Print the energy, or why there is none, and what a chip takes."""
    if arrays is None:
        print(f"energy not counted: {why_not}")
    else:
        print(energy_summary(arrays.energy, arrays))
    if arrays is not None and isinstance(chip, PricedChip):
        print(priced_chip_in_words(chip, arrays.fewest, arrays.energy.accuracy))
    elif isinstance(chip, ChipSchedule):
        print(chip_in_words(chip))


def _check_csv(options: argparse.Namespace) -> None:
    """Refuse what has no column in `--csv`."""
    if not options.csv:
        return
    refuse_given(
        options,
        ["compare"],
        "--csv has one mapping of each layer; omit {flag}, or print all with --json or as a table",
    )
    refuse_given(
        options,
        ["arrays", "coverage"],
        "--csv has the layers alone; omit {flag}, or use --json or the table",
    )
    refuse_given(
        options,
        ["reading"],
        "--csv counts as it says in its head; omit {flag}, or use --json or the table",
    )


def _more_json(
    published: PublishedCycles | None,
    chip: PricedChip | ChipSchedule | None,
    arrays: OnArrays | None,
    why_not: str,
) -> dict[str, Any]:
    """What is counted beside cycles of the mappings."""
    content: dict[str, Any] = {}
    if published is not None:
        content["published"] = published.to_json()
    if chip is not None:
        content["chip"] = chip.to_json()
    # A reason in the place of the figures, so that programs find one or the other.
    content["energy"] = {"not_counted": why_not}
    if arrays is not None:
        content["energy"] = arrays.energy.to_json()
        content["on_arrays"] = arrays.to_json()
    return content


def _published(
    options: argparse.Namespace, network: Network, plan: Plan, masks: Masks
) -> PublishedCycles | None:
    """The published reading, if it was asked for.

    Raises:
        InputError: another one was, or it counts no layer of the network.
    """
    if options.reading is None:
        return None
    name, colon, size = options.reading.partition(":")
    if name != PUBLISHED:
        raise InputError(
            f"reading (={options.reading}) must be {PUBLISHED}, or with the arrays of its windows "
            f"{PUBLISHED}:512x256"
        )
    large = None
    if colon:
        large = ArraySpec.parse(size)
    return published_cycles(network, plan, masks, large)


def _on_arrays(
    network: Network, plan: Plan, masks: Masks, options: argparse.Namespace
) -> tuple[OnArrays | None, str]:
    """The network on the arrays that are priced, or why there is none.

    Not every array holds a weight as usual cells spread it, which is wrong only where the user asked for
    energy or cells.
    """
    table = hardware_table(plan.machine)
    try:
        linear = options.linear or counts_linear(network, plan)
        found = on_arrays(network, plan, table, masks, linear)
        return arrays_with_accuracy(options, found), ""
    except InputError as error:
        if asks_for_energy(options):
            raise
        return None, str(error)
