"""`rankfold energy`: what a network costs in silicon, layer by layer and part by part; component tables to
copy.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rankfold.cli.arguments.arrays import add_array, add_precision
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.methods import add_entries, add_low_rank, add_rules
from rankfold.cli.arguments.models import add_factory
from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.plans import planned_network
from rankfold.cli.arguments.technology import add_technology
from rankfold.cli.arguments.values import checked, input_sizes
from rankfold.cli.words.energy import component_table_in_words, energy_csv, energy_summary, energy_table
from rankfold.cli.words.hardware import hardware_in_words
from rankfold.cost import counts_linear
from rankfold.cost.energy import Comparison, cheapest_mappings, hardware_table, on_arrays, table_text
from rankfold.errors import InputError
from rankfold.machine import hardware_to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "model",
        nargs="?",
        help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run or of save",
    )
    add_factory(parser)
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="follow this plan instead of one (g, r) for all layers"
    )
    add_array(parser)
    parser.add_argument(
        "--input",
        type=checked(input_sizes),
        metavar="CxHxW",
        help="image size (default: the network's own)",
    )
    add_low_rank(parser)
    add_entries(
        parser,
        "kernel positions that low-rank layers keep: chosen on data, so give the folder of a run, or a "
        "--plan",
    )
    add_rules(parser)
    add_mapping(parser)
    parser.add_argument(
        "--cheapest",
        action="store_true",
        help="lay every layer out as costs the least energy; what it computes stays the same",
    )
    add_precision(parser)
    add_technology(parser)
    parser.add_argument(
        "--show-table",
        metavar="NAME",
        help="print a component table, to copy and edit, and do nothing else",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--csv", action="store_true", help="print CSV, one line per stored convolution and component"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the energy of a network, or a component table."""
    if options.show_table is not None:
        # With its comments and sources, to be copied into a file.
        print(table_text(options.show_table), end="")
        return 0
    # Optional to argparse, as `--show-table` does without.
    if options.model is None:
        raise InputError("name a model, such as resnet20; or --show-table rram-22nm for a component table")
    network, plan, masks = planned_network(options)
    table = hardware_table(plan.machine)
    if options.cheapest:
        # Its own choice would be overruled layer by layer without a word.
        if named_mapping(options.method):
            raise InputError(f"--cheapest chooses the mappings itself; omit --method {options.method}")
        plan = cheapest_mappings(network, plan, table, masks)
    # Settled once for both networks, so that they have the same layers.
    linear = options.linear or counts_linear(network, plan)
    arrays = on_arrays(network, plan, table, masks, linear)
    energy = arrays.energy
    if options.json:
        compared = Comparison.of(energy, arrays.dense)
        against = {
            **asdict(compared),
            "saving": compared.saving,
            "band": list(compared.band),
            "flip": compared.flip,
        }
        best = arrays.by_mapping[arrays.dense_best]
        against_best = {
            "mapping": str(arrays.dense_best),
            "energy_pj": best.energy,
            "saving": 1 - energy.energy / best.energy,
        }
        content = {
            "model": network.name,
            "hardware": hardware_to_json(plan.machine),
            **energy.to_json(),
            "against_dense_im2col": against,
            "against_dense_best": against_best,
        }
        print(json.dumps(content, indent=2))
        return 0
    if options.csv:
        print(energy_csv(energy, plan.machine.name), end="")
        return 0
    print(f"{energy_table(energy)}\n\n{component_table_in_words(energy)}\n\n{energy_summary(energy, arrays)}")
    if options.hardware is not None:
        print(hardware_in_words(plan))
    for other in network.untouched:
        print(f"not counted: {other.name}: {other.what}")
    return 0
