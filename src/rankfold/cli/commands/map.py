"""`rankfold map`: cycles of a network on an array, without data and, for a zoo network, without torch."""

from __future__ import annotations

import argparse
import json
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
from rankfold.cost import (
    ChipSchedule,
    Masks,
    NetworkCycles,
    counts_linear,
    network_cycles,
    planned_shape,
    schedule,
)
from rankfold.cost.energy import NetworkEnergy, dense_plan, network_energy
from rankfold.errors import InputError
from rankfold.mapping import METHODS, Mapping
from rankfold.plan import Plan, coverage
from rankfold.report.coverage import coverage_summary, coverage_table
from rankfold.report.table import format_table
from rankfold.workload import Network


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("map", help="cycles, tiles, ADC conversions and energy of every convolution on an array")
    parser.add_argument("model", help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="follow this plan instead of one (g, r) for all layers")
    add_array(parser)
    parser.add_argument("--input", type=checked(image_input), metavar="CxHxW", help="image size (default: the network's own)")
    add_low_rank(parser)
    add_entries(parser, "kernel positions that low-rank layers keep: chosen on data, so give the folder of a run, or a --plan")
    add_rules(parser)
    parser.add_argument("--method", choices=METHODS, help="mapping to show (default sdk)")
    parser.add_argument("--padding", choices=("0",), help="count every layer without padding, as published tables do")
    add_precision(parser)
    add_technology(parser)
    parser.add_argument("--arrays", type=int, metavar="P", help="also run the network on a chip of P arrays")
    parser.add_argument("--coverage", action="store_true", help="first show every layer: its shares, what becomes of it, and why")
    parser.add_argument("--compare", action="store_true", help="show cycles and ADC conversions of all mappings side by side")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per convolution")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the mapping of a network."""
    network, plan, masks = planned_network(options)
    covered = coverage(network, plan, options.linear)
    costs = network_cycles(network, plan, METHODS, masks, options.linear or None)
    chip = None if options.arrays is None else schedule(costs, options.arrays)
    energy, dense, why_not = _energy(network, plan, masks, options)
    if options.json:
        content = {**costs.to_json(), "coverage": covered.to_json()} | ({} if chip is None else {"chip": chip.to_json()})
        content["energy"] = {"not_counted": why_not} if energy is None else energy.to_json()
        print(json.dumps(content, indent=2))
    elif options.csv:
        print(_csv(costs, energy), end="")
    else:
        print((coverage_table if options.coverage else coverage_summary)(covered), end="\n\n")
        print(_table(costs, energy, options.compare))
        print(f"energy not counted: {why_not}" if energy is None else energy_summary(energy, dense))
        if chip is not None:
            print(_chip(chip))
        for other in network.untouched:
            print(f"not counted: {other.name}: {other.what}")
    return 0


def _energy(
    network: Network, plan: Plan, masks: Masks, options: argparse.Namespace
) -> tuple[NetworkEnergy | None, NetworkEnergy | None, str]:
    """The energy and that of dense im2col, or why there is none.

    Not every array holds a weight as usual cells spread it, which is wrong only where the user asked for energy or cells.
    """
    table = component_table(options, plan.array)
    try:
        linear = options.linear or counts_linear(network, plan)
        found = network_energy(network, plan, table, masks, linear=linear)
        return found, network_energy(network, dense_plan(plan), table, linear=linear), ""
    except InputError as error:
        if options.technology or options.adc or options.adc_bits or options.cell_bits:
            raise
        return None, None, str(error)


def _size(values: tuple[int, ...]) -> str:
    return "x".join(str(value) for value in values)


def _table(costs: NetworkCycles, energy: NetworkEnergy | None, compare: bool) -> str:
    keys = list(costs.total)
    headers = ["layer", "kernel", "input", "window", "tiles", "cycles", "x bound", "utilisation", "conversions"]
    headers += [] if energy is None else ["energy, nJ"]
    if compare:
        headers = ["layer", "kernel", "input", *keys]
    rows = []
    for index, layer in enumerate(costs.layers):
        shape = layer.shape if layer.entry is None else planned_shape(layer.shape, layer.entry)
        kernel = f"{_size(shape.kernel)} {shape.in_channels}->{shape.out_channels}"
        kernel += f" /{_size(shape.stride)}" if shape.stride != (1, 1) else ""
        kernel += f" g{shape.groups}" if shape.groups > 1 else ""
        row = [shape.name, kernel, _size(shape.input)]
        if compare:
            row += [f"{layer.cycles[key]:,}" for key in keys]
        else:
            row += [
                " + ".join(_windows(stage) for stage in layer.stages),
                " + ".join(f"{stage.row_tiles}x{stage.column_tiles}" for stage in layer.stages),
                f"{layer.chosen_cycles:,}",
                f"{layer.chosen_cycles / layer.lower_bound:.2f}",
                f"{layer.utilisation:.1%}",
                f"{layer.chosen.conversions:,}",
            ]
            row += [] if energy is None else [f"{1e-3 * energy.layers[index].energy:,.1f}"]
        rows.append(row)
    reference, converted = costs.total["im2col"], costs.conversions
    totals = [
        [key, f"{cycles:,}", f"{reference / cycles:.2f}x", f"{converted[key]:,}", f"{converted['im2col'] / converted[key]:.2f}x"]
        for key, cycles in costs.total.items()
    ]
    return "\n\n".join(
        (
            f"{costs.model} on {costs.array} arrays, cycles per image (array activations of all convolutions)",
            format_table(headers, rows, "<<<" + ">" * (len(headers) - 3)),
            _legend(costs),
            format_table(["mapping", "cycles", "fewer than im2col", "ADC conversions", "fewer than im2col"], totals),
            _summary(costs),
        )
    )


def _windows(stage: Mapping) -> str:
    """The main window, and how many more regions of the plane or blocks of channels have windows of their own."""
    more = len(stage.regions) - 1
    return _size(stage.window) + (f" (+{more})" if more else "")


def _legend(costs: NetworkCycles) -> str:
    lines = ["Window: output pixels per cycle, rows x columns. Tiles: row tiles x column tiles."]
    if any(layer.groups is not None for layer in costs.layers):
        lines.append("Low-rank layers: window and tiles of stage 1 (R_) + stage 2 (L); shared: both with one window.")
    if any(len(stage.regions) > 1 for layer in costs.layers for stage in layer.stages):
        lines.append("(+k): k more regions of the plane, or blocks of channels, with windows of their own.")
    if "ideal-sdk" in costs.total:
        lines.append(
            "pruned-...: rows skipped where nothing in a tile needs them; ideal-...: as if each column had its own inputs."
        )
    lines.append("x bound: cycles over multiply-accumulates / (R*C), which no mapping can beat.")
    lines.append("Conversions: columns that ADCs convert, one for a weight's column and a whole input vector, as cycles count.")
    return "\n".join(lines)


def _summary(costs: NetworkCycles) -> str:
    macs = sum(layer.shape.macs for layer in costs.layers)
    bound = costs.chosen_cycles / costs.lower_bound
    lines = [f"utilisation {costs.utilisation:.1%}, {bound:.2f} times the lower bound, {macs:,} multiply-accumulates"]
    if costs.array_cycles is not None:
        array = costs.array
        cells = "whole weights" if array.cell_bits is None else f"{array.cell_bits}-bit cells, {array.coding} coding"
        inputs = "whole inputs" if array.dac_bits is None else f"{array.dac_bits}-bit DACs"
        lines.append(f"array cycles with {cells} and {inputs}: {costs.array_cycles:,} (the counts above: one per vector)")
    return "\n".join(lines)


def _chip(chip: ChipSchedule) -> str:
    packing = chip.packing
    proof = "no fewer hold them" if packing.gap == 0 else f"at least {packing.lower_bound:,}"
    # Energy, in the lines above, spreads weights over cells and so has more tiles.
    held = f"{chip.tiles:,} tiles with a cell for each weight, which {packing.arrays:,} arrays hold ({proof})"
    lines = [f"chip of {chip.chip.arrays:,} arrays: {held}"]
    if chip.interval is None:
        lines.append(f"  too small for the weights to stay: {chip.rewrites:,} tiles are written for each image or batch")
    else:
        how = "spare arrays hold copies" if chip.case == "copies" else "tiles that share an array take turns"
        lines.append(f"  weights stay, {how}: an image every {chip.interval:,} cycles, {chip.latency:,} cycles from in to out")
    lines.append(f"  all arrays on one layer after another, rewritten in between: {chip.rewriting_latency:,} cycles an image")
    return "\n".join(lines)


def _csv(costs: NetworkCycles, energy: NetworkEnergy | None) -> str:
    import csv
    import io

    text = io.StringIO()
    keys = list(costs.total)
    writer = csv.writer(text, lineterminator="\n")
    columns = ("name", "in_channels", "out_channels", "kernel", "input", "stride", "padding", "dilation", "groups", "macs")
    parts = [] if energy is None else list(energy.components)
    silicon = [] if energy is None else ["array_conversions", "latency_us", "energy_pj", *(f"{part}_pj" for part in parts)]
    writer.writerow([*columns, *keys, "lower_bound", "utilisation", "conversions", *silicon])
    for index, layer in enumerate(costs.layers):
        s = layer.shape
        costs_of: list[Any] = []
        if energy is not None:
            found = energy.layers[index]
            each = [f"{value:.6g}" for value in (found.latency, found.energy, *(found.components[part] for part in parts))]
            costs_of = [found.conversions, *each]
        writer.writerow(
            [s.name, s.in_channels, s.out_channels, _size(s.kernel), _size(s.input), _size(s.stride), _size(s.padding),
             _size(s.dilation), s.groups, s.macs, *(layer.cycles[key] for key in keys),
             layer.lower_bound, f"{layer.utilisation:.6f}", layer.chosen.conversions, *costs_of]
        )  # fmt: skip
    return text.getvalue()
