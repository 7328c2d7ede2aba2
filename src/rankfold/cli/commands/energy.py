"""`rankfold energy`: what a network costs in silicon, layer by layer and part by part; component tables to copy."""

from __future__ import annotations

import argparse
import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.options import (
    add_array,
    add_entries,
    add_low_rank,
    add_precision,
    add_rules,
    add_technology,
    checked,
    component_table,
    image_input,
)
from rankfold.cli.arguments.plans import planned_network
from rankfold.cli.words.energy import energy_summary
from rankfold.cost import counts_linear
from rankfold.cost.energy import (
    Comparison,
    NetworkEnergy,
    cheapest_mappings,
    dense_plan,
    network_energy,
    table_text,
)
from rankfold.errors import InputError
from rankfold.mapping import METHODS
from rankfold.report.table import format_table


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("energy", help="energy, latency and area of a plan, by layer and component")
    parser.add_argument(
        "model", nargs="?", help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="follow this plan instead of one (g, r) for all layers")
    add_array(parser)
    parser.add_argument("--input", type=checked(image_input), metavar="CxHxW", help="image size (default: the network's own)")
    add_low_rank(parser)
    add_entries(parser, "kernel positions that low-rank layers keep: chosen on data, so give the folder of a run, or a --plan")
    add_rules(parser)
    parser.add_argument("--method", choices=METHODS, help="mapping (default sdk)")
    parser.add_argument(
        "--cheapest", action="store_true", help="lay every layer out as costs the least energy; what it computes stays the same"
    )
    add_precision(parser)
    add_technology(parser)
    parser.add_argument("--show-table", metavar="NAME", help="print a component table, to copy and edit, and do nothing else")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per stored convolution and component")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the energy of a network, or a component table."""
    if options.show_table is not None:
        print(table_text(options.show_table), end="")
        return 0
    if options.model is None:
        raise InputError("name a model, such as resnet20; or --show-table rram-22nm for a component table")
    network, plan, masks = planned_network(options)
    table = component_table(options, plan.array)
    if options.cheapest:
        if options.method:
            raise InputError(f"--cheapest chooses the mappings itself; leave --method {options.method} away")
        plan = cheapest_mappings(network, plan, table, masks)
    linear = options.linear or counts_linear(network, plan)
    energy = network_energy(network, plan, table, masks, linear=linear)
    reference = network_energy(network, dense_plan(plan), table, linear=linear)
    if options.json:
        found = Comparison.of(energy, reference)
        against = {**asdict(found), "saving": found.saving, "band": list(found.band), "flip": found.flip}
        print(json.dumps({"model": network.name, **energy.to_json(), "against_dense_im2col": against}, indent=2))
    elif options.csv:
        print(_csv(energy), end="")
    else:
        print(f"{_table(energy)}\n\n{_parts(energy)}\n\n{energy_summary(energy, reference)}")
        for other in network.untouched:
            print(f"not counted: {other.name}: {other.what}")
    return 0


def _table(energy: NetworkEnergy) -> str:
    rows = [
        [
            layer.shape.name,
            " + ".join(f"{stage.activity.tiles:,}" for stage in layer.stages),
            f"{layer.conversions:,}",
            f"{1e-3 * layer.energy:,.2f}",
            " + ".join(f"{1e-3 * stage.total:,.2f}" for stage in layer.stages) if len(layer.stages) > 1 else "",
            f"{layer.components['adc'] / layer.energy:.0%}",
            f"{layer.latency:,.2f}",
        ]
        for layer in energy.layers
    ]
    headers = ["layer", "arrays", "ADC conversions", "energy, nJ", "by stage", "ADCs", "latency, us"]
    return f"{energy.model} on {energy.array} arrays, per image\n\n{format_table(headers, rows)}"


def _parts(energy: NetworkEnergy) -> str:
    sources = {component.name: component.source for component in energy.table.components}
    rows = [
        [name, f"{1e-3 * value:,.2f}", f"{value / energy.energy:.1%}", sources.get(name, energy.table.chosen_adc.source)]
        for name, value in energy.components.items()
    ]
    return format_table(["component", "energy, nJ", "share", "source"], rows, "<>><")


def _csv(energy: NetworkEnergy) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    counts = ("tiles", "reads", "rows", "conversions", "cells", "additions")
    writer.writerow(["layer", "stage", "component", "energy_pj", "area_um2", "latency_us", *counts])
    for layer in energy.layers:
        for number, stage in enumerate(layer.stages, 1):
            for name in dict.fromkeys((*stage.energy, *stage.area)):
                writer.writerow(
                    [layer.shape.name, number, name, f"{stage.energy.get(name, 0):.6g}", f"{stage.area.get(name, 0):.6g}",
                     f"{stage.latency:.6g}", *(getattr(stage.activity, count) for count in counts)]
                )  # fmt: skip
    return text.getvalue()
