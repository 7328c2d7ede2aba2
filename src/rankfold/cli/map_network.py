"""`rankfold map`: cycles of a network on an array, without data and, for a zoo network, without torch."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankfold.cli.network import MODEL_HELP, find_network
from rankfold.cli.options import add_array, add_low_rank, add_precision, add_rules, checked, image_input
from rankfold.cost import ChipSchedule, Masks, NetworkCycles, network_cycles, planned_shape, schedule
from rankfold.errors import InputError
from rankfold.mapping import DEFAULT_ARRAY, METHODS, ArraySpec, Mapping
from rankfold.plan import PRUNED, Plan, check_plan, coverage, load_masks, uniform_plan
from rankfold.report.coverage import coverage_summary, coverage_table
from rankfold.report.table import format_table
from rankfold.workload import Network


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("map", help="cycles, tiles and utilisation of every convolution on an array")
    parser.add_argument("model", help=f"{MODEL_HELP}, a table of layers (.csv, .yaml), or the folder of a finished run")
    add_array(parser)
    parser.add_argument("--input", type=checked(image_input), metavar="CxHxW", help="image size (default: the network's own)")
    add_low_rank(parser)
    add_rules(parser)
    parser.add_argument("--method", choices=METHODS, help="mapping to show (default sdk)")
    parser.add_argument("--padding", choices=("0",), help="count every layer without padding, as published tables do")
    add_precision(parser)
    parser.add_argument("--arrays", type=int, metavar="P", help="also run the network on a chip of P arrays")
    parser.add_argument("--coverage", action="store_true", help="first show every layer: its shares, what becomes of it, and why")
    parser.add_argument("--compare", action="store_true", help="show the cycles of all mappings side by side")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line per convolution")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the mapping of a network."""
    network, plan, masks = _finished_run(options) if Path(options.model).is_dir() else _planned(options)
    covered = coverage(network, plan, options.linear)
    costs = network_cycles(network, plan, METHODS, masks, options.linear or None)
    chip = None if options.arrays is None else schedule(costs, options.arrays)
    if options.json:
        content = {**costs.to_json(), "coverage": covered.to_json()} | ({} if chip is None else {"chip": chip.to_json()})
        print(json.dumps(content, indent=2))
    elif options.csv:
        print(_csv(costs), end="")
    else:
        print((coverage_table if options.coverage else coverage_summary)(covered), end="\n\n")
        print(_table(costs, options.compare))
        if chip is not None:
            print(_chip(chip))
        for other in network.untouched:
            print(f"not counted: {other.name}: {other.what}")
    return 0


def _planned(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """The network that the user named, and the uniform plan that the options ask for."""
    network = find_network(options.model, options.input)
    if options.padding is not None:
        network = replace(network, layers=tuple(layer.without_padding() for layer in network.layers))
    plan = uniform_plan(
        network, _array(options, DEFAULT_ARRAY), options.groups, options.rank, options.bits,
        mapping=options.method or "sdk", pointwise=options.pointwise, linear=options.linear, rules=options.rules, fit=options.fit,
    )  # fmt: skip
    return network, plan, {}


def _finished_run(options: argparse.Namespace) -> tuple[Network, Plan, Masks]:
    """What a finished run made of its network, for the array of its plan or another."""
    for flag in ("groups", "rank", "pointwise", "method", "bits", "padding", "input", "fit", "rules"):
        if getattr(options, flag) not in (None, False, ()):
            flag = "include and --exclude" if flag == "rules" else flag
            raise InputError(f"--{flag} does not go with the folder of a run, whose plan says it; leave it away")
    folder = Path(options.model)
    plan = Plan.load(folder / "plan.json")
    network = find_network(plan.model, plan.input)
    check_plan(plan, network)
    masks = load_masks(folder / "model.safetensors") if any(layer.kind == PRUNED for layer in plan.layers) else {}
    return network, replace(plan, array=_array(options, plan.array)), masks


def _array(options: argparse.Namespace, default: ArraySpec) -> ArraySpec:
    cells = {"cell_bits": options.cell_bits, "coding": options.coding, "dac_bits": options.dac_bits}
    given = {name: value for name, value in cells.items() if value is not None}
    return replace(options.array or default, **given)


def _size(values: tuple[int, ...]) -> str:
    return "x".join(str(value) for value in values)


def _table(costs: NetworkCycles, compare: bool) -> str:
    keys = list(costs.total)
    headers = ["layer", "kernel", "input", "window", "tiles", "cycles", "x bound", "utilisation"]
    if compare:
        headers = ["layer", "kernel", "input", *keys]
    rows = []
    for layer in costs.layers:
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
            ]
        rows.append(row)
    reference = costs.total["im2col"]
    totals = [[key, f"{cycles:,}", f"{reference / cycles:.2f}x"] for key, cycles in costs.total.items()]
    return "\n\n".join(
        (
            f"{costs.model} on {costs.array} arrays, cycles per image (array activations of all convolutions)",
            format_table(headers, rows, "<<<" + ">" * (len(headers) - 3)),
            _legend(costs),
            format_table(["mapping", "cycles", "speed-up vs im2col"], totals, "<>>"),
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
    lines = [f"chip of {chip.chip.arrays:,} arrays: {chip.tiles:,} tiles, which {packing.arrays:,} arrays hold ({proof})"]
    if chip.interval is None:
        lines.append(f"  too small for the weights to stay: {chip.rewrites:,} tiles are written for each image or batch")
    else:
        how = "spare arrays hold copies" if chip.case == "copies" else "tiles that share an array take turns"
        lines.append(f"  weights stay, {how}: an image every {chip.interval:,} cycles, {chip.latency:,} cycles from in to out")
    lines.append(f"  all arrays on one layer after another, rewritten in between: {chip.rewriting_latency:,} cycles an image")
    return "\n".join(lines)


def _csv(costs: NetworkCycles) -> str:
    import csv
    import io

    text = io.StringIO()
    keys = list(costs.total)
    writer = csv.writer(text, lineterminator="\n")
    columns = ("name", "in_channels", "out_channels", "kernel", "input", "stride", "padding", "dilation", "groups", "macs")
    writer.writerow([*columns, *keys, "lower_bound", "utilisation"])
    for layer in costs.layers:
        s = layer.shape
        writer.writerow(
            [s.name, s.in_channels, s.out_channels, _size(s.kernel), _size(s.input), _size(s.stride), _size(s.padding),
             _size(s.dilation), s.groups, s.macs, *(layer.cycles[key] for key in keys),
             layer.lower_bound, f"{layer.utilisation:.6f}"]
        )  # fmt: skip
    return text.getvalue()
