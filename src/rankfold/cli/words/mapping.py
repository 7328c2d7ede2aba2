"""The mapping of a network in words: tables, totals, a chip, CSV."""

from __future__ import annotations

from typing import Any

from rankfold.cost import IM2COL, ChipSchedule, CostKey, NetworkCycles, planned_shape
from rankfold.cost.cycles import LayerCycles
from rankfold.cost.energy import NetworkEnergy
from rankfold.mapping import Mapping
from rankfold.records.csv_table import csv_text
from rankfold.records.text_table import format_table
from rankfold.workload import ConvShape

SHAPE_COLUMNS = (
    "name",
    "in_channels",
    "out_channels",
    "kernel",
    "input",
    "stride",
    "padding",
    "dilation",
    "groups",
    "macs",
)


def mapping_table(costs: NetworkCycles, energy: NetworkEnergy | None, compare: bool) -> str:
    """Every layer and every mapping of a network.

    Args:
        costs: the network, mapped.
        energy: its energy, one layer for each of `costs`; None: not counted.
        compare: show the cycles of all mappings side by side, instead of the chosen one in full.
    """
    head = f"{costs.model} on {costs.array} arrays, cycles per image (array activations of all convolutions)"
    # Either every mapping by its cycles or the chosen one in full: both would not fit a line.
    layers = _chosen(costs, energy)
    if compare:
        layers = _comparison(costs)
    return "\n\n".join((head, layers, _legend(costs), _mappings(costs), _summary(costs)))


def _comparison(costs: NetworkCycles) -> str:
    """Cycles of every layer under all mappings."""
    keys = list(costs.total)
    rows = []
    for layer in costs.layers:
        cycles = layer.cycles
        rows.append([*_layer_words(layer), *(f"{cycles[key]:,}" for key in keys)])
    return format_table(["layer", "kernel", "input", *map(str, keys)], rows, "<<<" + ">" * len(keys))


def _chosen(costs: NetworkCycles, energy: NetworkEnergy | None) -> str:
    """Every layer under the mapping that the plan chose."""
    headers = [
        "layer",
        "kernel",
        "input",
        "window",
        "tiles",
        "cycles",
        "x bound",
        "utilisation",
        "conversions",
    ]
    if energy is not None:
        headers.append("energy, nJ")
    rows = []
    for index, layer in enumerate(costs.layers):
        row = [
            *_layer_words(layer),
            # Stage 1 + stage 2 of a low-rank pair; others have one.
            " + ".join(_windows(stage) for stage in layer.stages),
            " + ".join(f"{stage.row_tiles}x{stage.column_tiles}" for stage in layer.stages),
            f"{layer.chosen_cycles:,}",
            f"{layer.chosen_cycles / layer.lower_bound:.2f}",
            f"{layer.utilisation:.1%}",
            f"{layer.chosen.conversions:,}",
        ]
        if energy is not None:
            row.append(f"{1e-3 * energy.layers[index].energy:,.1f}")
        rows.append(row)
    return format_table(headers, rows, "<<<" + ">" * (len(headers) - 3))


def _layer_words(layer: LayerCycles) -> tuple[str, str, str]:
    """Name, kernel and input of a layer as it is left."""
    # With the channels that pruning left, as these are what is mapped.
    shape = planned_shape(layer.shape, layer.entry)
    kernel = f"{size_in_words(shape.kernel)} {shape.in_channels}->{shape.out_channels}"
    if shape.stride != (1, 1):
        kernel += f" /{size_in_words(shape.stride)}"
    if shape.groups > 1:
        kernel += f" g{shape.groups}"
    return shape.name, kernel, size_in_words(shape.input)


def size_in_words(values: tuple[int, ...]) -> str:
    """`3x3`."""
    return "x".join(str(value) for value in values)


def _windows(stage: Mapping) -> str:
    """The main window, and how many more regions of the plane or blocks of channels have windows of their
    own.
    """
    window = size_in_words(stage.window)
    more = len(stage.regions) - 1
    if more:
        return f"{window} (+{more})"
    return window


def _mappings(costs: NetworkCycles) -> str:
    """The sums of the whole network under each mapping."""
    reference, converted = costs.total[IM2COL], costs.conversions
    rows = []
    for key, cycles in costs.total.items():
        fewer = converted[IM2COL] / converted[key]
        rows.append(
            [str(key), f"{cycles:,}", f"{reference / cycles:.2f}x", f"{converted[key]:,}", f"{fewer:.2f}x"]
        )
    return format_table(
        ["mapping", "cycles", "fewer than im2col", "ADC conversions", "fewer than im2col"], rows
    )


def _legend(costs: NetworkCycles) -> str:
    lines = ["Window: output pixels per cycle, rows x columns. Tiles: row tiles x column tiles."]
    # Only what the table above shows is explained.
    if any(len(layer.stages) > 1 for layer in costs.layers):
        lines.append(
            "Low-rank layers: window and tiles of stage 1 (R_) + stage 2 (L); shared: both with one window."
        )
    if any(len(stage.regions) > 1 for layer in costs.layers for stage in layer.stages):
        lines.append("(+k): k more regions of the plane, or blocks of channels, with windows of their own.")
    if CostKey("ideal", "sdk") in costs.total:
        lines.append(
            "pruned-...: rows skipped where nothing in a tile needs them; ideal-...: as if each column had "
            "its own inputs."
        )
    lines.append("x bound: cycles over multiply-accumulates / (R*C), which no mapping can beat.")
    lines.append(
        "Conversions: columns that ADCs convert, one for a weight's column and a whole input vector, as "
        "cycles count."
    )
    return "\n".join(lines)


def _summary(costs: NetworkCycles) -> str:
    macs = sum(layer.shape.macs for layer in costs.layers)
    # Of what is executed: a compressed network has a lower bound of its own.
    bound = costs.chosen_cycles / costs.lower_bound
    lines = [
        f"utilisation {costs.utilisation:.1%}, {bound:.2f} times the lower bound, {macs:,} "
        "multiply-accumulates"
    ]
    # Where the array names cells or DACs, its activations are more than the papers' cycles.
    if costs.array_cycles is not None:
        array = costs.array
        cells, inputs = "whole weights", "whole inputs"
        if array.cell_bits is not None:
            cells = f"{array.cell_bits}-bit cells, {array.coding} coding"
        if array.dac_bits is not None:
            inputs = f"{array.dac_bits}-bit DACs"
        if array.rows_driven is not None:
            inputs += f", {array.rows_driven} rows at once"
        lines.append(
            f"array cycles with {cells} and {inputs}: {costs.array_cycles:,} (the counts above: one per "
            "vector)"
        )
    return "\n".join(lines)


def chip_in_words(chip: ChipSchedule) -> str:
    """What a chip of several arrays makes of the network."""
    packing = chip.packing
    # The packing is a heuristic: its bound says how far it may be from the best.
    proof = f"at least {packing.lower_bound:,}"
    if packing.gap == 0:
        proof = "no fewer hold them"
    # Energy, in the lines above, spreads weights over cells and so has more tiles.
    held = f"{chip.tiles:,} tiles with a cell for each weight, which {packing.arrays:,} arrays hold ({proof})"
    lines = [f"chip of {chip.chip.arrays:,} arrays: {held}"]
    # None where not all tiles fit at once: arrays must then be rewritten for each image.
    if chip.interval is None:
        lines.append(
            f"  too small for the weights to stay: {chip.rewrites:,} tiles are written for each image or "
            "batch"
        )
    else:
        how = "tiles that share an array take turns"
        # With an array for each tile the rest hold copies; with fewer, tiles share arrays.
        if chip.case == "copies":
            how = "spare arrays hold copies"
        lines.append(
            f"  weights stay, {how}: an image every {chip.interval:,} cycles, {chip.latency:,} cycles from "
            "in to out"
        )
    lines.append(
        f"  all arrays on one layer after another, rewritten in between: {chip.rewriting_latency:,} cycles "
        "an image"
    )
    return "\n".join(lines)


def mapping_csv(costs: NetworkCycles, energy: NetworkEnergy | None) -> str:
    """One line for each convolution."""
    keys = list(costs.total)
    header = [*SHAPE_COLUMNS, *map(str, keys), "lower_bound", "utilisation", "conversions"]
    parts: list[str] = []
    if energy is not None:
        parts = list(energy.components)
        header += ["array_conversions", "latency_us", "energy_pj", *(f"{part}_pj" for part in parts)]
    rows = []
    for index, layer in enumerate(costs.layers):
        cycles = layer.cycles
        row: list[Any] = [*_shape_cells(layer.shape), *(cycles[key] for key in keys)]
        row += [layer.lower_bound, f"{layer.utilisation:.6f}", layer.chosen.conversions]
        if energy is not None:
            spent = energy.layers[index]
            amounts = [spent.latency, spent.energy, *(spent.components[part] for part in parts)]
            row += [spent.conversions, *(f"{amount:.6g}" for amount in amounts)]
        rows.append(row)
    return csv_text(header, rows)


def _shape_cells(shape: ConvShape) -> list[Any]:
    """The cells of `SHAPE_COLUMNS`."""
    sizes = (shape.kernel, shape.input, shape.stride, shape.padding, shape.dilation)
    return [
        shape.name,
        shape.in_channels,
        shape.out_channels,
        *map(size_in_words, sizes),
        shape.groups,
        shape.macs,
    ]
