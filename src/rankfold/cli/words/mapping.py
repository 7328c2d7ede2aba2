"""The mapping of a network in words: tables, totals, a chip, CSV."""

from __future__ import annotations

from typing import Any

from rankfold.cli.words.energy import ON_ARRAYS, accuracy_cells
from rankfold.cost import IM2COL, CostKey, NetworkCycles, planned_shape
from rankfold.cost.energy import NetworkEnergy, OnArrays
from rankfold.cost.keys import DENSE_FAMILY
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.mapping import Mapping
from rankfold.mapping.parts import PartsMapping
from rankfold.records.csv_table import csv_text
from rankfold.records.text_table import format_table, with_short_names
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

PLACE_COLUMNS = ("layer", "kernel", "input", "window", "tiles")
# On the arrays that energy is counted with; each activation is made with every slice of the inputs.
ARRAY_COLUMNS = ("arrays", "array_activations", "slices", "array_conversions", "latency_us", "energy_pj")


def mapping_table(costs: NetworkCycles, arrays: OnArrays | None, compare: bool) -> str:
    """Every layer and every mapping of a network.

    Args:
        costs: the network, mapped with a weight in a cell, as papers count.
        arrays: the same on the arrays that are priced; None: these hold no weight.
        compare: show the cycles of all mappings side by side, instead of the chosen one in full.
    """
    counted = _counted_in_words(costs)
    head = f"{costs.model} on {costs.array} arrays, cycles per image (array activations of all {counted})"
    # One machine in each row: the arrays as they are built where it is said how, else those of papers.
    built = None
    if costs.array.cell_bits is not None:
        built = arrays
    shown = costs
    if built is not None:
        shown = built.placed
    if compare:
        layers = _comparison(shown)
    elif built is not None:
        layers = _chosen_on_arrays(built)
    else:
        layers = _chosen(costs)
    parts = [head, layers, _legend(shown, compare), _mappings(costs, arrays)]
    if arrays is not None and arrays.shorter is not None:
        parts.append(_shorter(arrays, arrays.shorter))
    parts.append(_summary(costs, built))
    return "\n\n".join(parts)


def _comparison(costs: NetworkCycles) -> str:
    """Cycles and arrays of every layer under all mappings."""
    keys = list(costs.total)
    rows = []
    for layer in costs.layers:
        cells = []
        for key in keys:
            mapping = layer.mappings[key]
            tiles = sum(stage.tile_count for stage in mapping.stages)
            cells.append(f"{mapping.cycles:,} / {tiles:,}")
        rows.append([*_layer_words(layer), *cells])
    return format_table(
        ["layer", "kernel", "input", *map(str, keys)], with_short_names(rows), "<<<" + ">" * len(keys)
    )


def _chosen(costs: NetworkCycles) -> str:
    """Every layer under the mapping that the plan chose, with a weight in a cell."""
    headers = [*PLACE_COLUMNS, "cycles", "x bound", "utilisation", "conversions"]
    rows = []
    for layer in costs.layers:
        row = [
            *_place_words(layer),
            f"{layer.chosen_cycles:,}",
            f"{layer.chosen_cycles / layer.lower_bound:.2f}" if layer.lower_bound else "-",
            f"{layer.utilisation:.1%}",
            f"{layer.chosen.conversions:,}",
        ]
        rows.append(row)
    return format_table(headers, with_short_names(rows), "<<<" + ">" * (len(headers) - 3))


def _chosen_on_arrays(arrays: OnArrays) -> str:
    """Every layer under the mapping that the plan chose, on the arrays that it is priced on."""
    headers = [*PLACE_COLUMNS, "arrays", "cycles", "array cycles", "utilisation", "conversions", "energy, nJ"]
    rows = []
    for layer, spent in zip(arrays.placed.layers, arrays.energy.layers, strict=True):
        row = [
            *_place_words(layer),
            f"{layer.arrays:,}",
            f"{layer.chosen_cycles:,}",
            f"{layer.reads:,}",
            f"{spent.utilisation(arrays.energy.array):.1%}",
            f"{spent.conversions:,}",
            f"{1e-3 * spent.energy:,.1f}",
        ]
        rows.append(row)
    return format_table(headers, with_short_names(rows), "<<<" + ">" * (len(headers) - 3))


def _place_words(layer: LayerCycles) -> list[str]:
    """The cells of `PLACE_COLUMNS`."""
    # Stage 1 + stage 2 of a low-rank pair, or the parts of a plane; others have one.
    windows = " + ".join(_windows(stage) for stage in layer.stages)
    tiles = " + ".join(f"{stage.row_tiles}x{stage.column_tiles}" for stage in layer.stages)
    return [*_layer_words(layer), windows, tiles]


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


def _mappings(costs: NetworkCycles, arrays: OnArrays | None) -> str:
    """The sums of the whole network under each mapping, and as planned."""
    totals = costs.total
    best = min(cycles for key, cycles in totals.items() if key.family == DENSE_FAMILY)
    headers = ["mapping", "cycles", "dense best / it", "im2col / it"]
    if arrays is None:
        headers.append("ADC conversions")
    else:
        headers += ["array cycles", "arrays", "mm2", "interval, us", "energy, nJ", "ADC conversions"]
    rows = []
    for key, cycles in totals.items():
        row = [str(key), *_ratios(cycles, best, totals[IM2COL])]
        if arrays is None:
            row.append(f"{costs.conversions[key]:,}")
        else:
            row += _priced(arrays.by_mapping.get(key))
        rows.append(row)
    row = ["as planned", *_ratios(costs.chosen_cycles, best, totals[IM2COL])]
    if arrays is None:
        row.append(f"{costs.chosen_conversions:,}")
    else:
        row += _priced(arrays.energy)
    rows.append(row)
    return format_table(headers, rows)


def _ratios(cycles: int, best: int, im2col: int) -> list[str]:
    # Of a network of which nothing is stored there is nothing to compare.
    if not cycles:
        return ["0", "-", "-"]
    return [f"{cycles:,}", f"{best / cycles:.2f}x", f"{im2col / cycles:.2f}x"]


def _priced(energy: NetworkEnergy | None) -> list[str]:
    """What a mapping needs of the arrays that are priced."""
    # Ideal steering: no array does it for nothing.
    if energy is None:
        return ["-"] * 6
    return [
        f"{energy.reads:,}",
        f"{energy.arrays:,}",
        f"{energy.area:.2f}",
        f"{energy.interval:,.1f}",
        f"{1e-3 * energy.energy:,.1f}",
        f"{energy.conversions:,}",
    ]


def _shorter(arrays: OnArrays, key: CostKey) -> str:
    """That another mapping of no more arrays is faster."""
    other, planned = arrays.by_mapping[key], arrays.energy
    return (
        f"note: {key} needs {other.arrays:,} arrays instead of {planned.arrays:,}, and images come every "
        f"{other.interval:,.1f} us instead of {planned.interval:,.1f} us with layers pipelined"
    )


def _legend(costs: NetworkCycles, compare: bool) -> str:
    """What the tables above and below show: of what is executed, or with all mappings side by side."""
    # Only what is shown is explained.
    if compare:
        lines = ["Cycles / arrays of each mapping, one array for each tile."]
    else:
        lines = ["Window: output pixels per cycle, rows x columns. Tiles: row tiles x column tiles."]
        lines += _legend_of_stages(costs)
    if CostKey("ideal", "sdk") in costs.total:
        lines.append(
            "pruned-...: rows skipped where nothing in a tile needs them; ideal-...: as if each column had "
            "its own inputs."
        )
    if _as_built(costs):
        lines.append(
            "Cycles: activations with a whole input vector; array cycles: with each of its slices, and turns "
            "of rows. Both, and energy, are of the mapping shown."
        )
    else:
        lines.append(
            "Cycles: activations with a whole input vector, on arrays whose cells hold whole weights."
        )
        if not compare:
            lines.append("x bound: cycles over multiply-accumulates / (R*C), which no mapping can beat.")
            lines.append(
                "Conversions: columns that ADCs convert, one for a weight's column and a whole vector."
            )
    lines.append(
        "Dense best: the fewest cycles of the dense network; array cycles to conversions: on the arrays that "
        "energy is counted with, one for each tile."
    )
    return "\n".join(lines)


def _as_built(costs: NetworkCycles) -> bool:
    """Whether weights are spread over cells and inputs over slices."""
    return any(layer.placed for layer in costs.layers)


def _legend_of_stages(costs: NetworkCycles) -> list[str]:
    lines = []
    parted = [isinstance(layer.chosen, PartsMapping) for layer in costs.layers]
    several = [len(layer.stages) > 1 for layer in costs.layers]
    if any(stages and not parts for stages, parts in zip(several, parted, strict=True)):
        lines.append(
            "Low-rank layers: window and tiles of stage 1 (R_) + stage 2 (L); shared: both with one window."
        )
    if any(parted):
        lines.append("Planes in parts: window and tiles of one part + another.")
    if any(len(stage.regions) > 1 for layer in costs.layers for stage in layer.stages):
        lines.append("(+k): k more regions of the plane, or blocks of channels, with windows of their own.")
    unused = {layer.shape.stored: layer.shape.zeros for layer in costs.layers if layer.shape.zeros}
    if unused:
        lines.append(
            "Transposed convolutions lie as the sub-pixel ones that they equal, of whose weights "
            f"{sum(unused.values()):,} are zeros: cells of no use."
        )
    return lines


def _summary(costs: NetworkCycles, arrays: OnArrays | None) -> str:
    """Utilisation and lower bound of what is executed, on the arrays that the table shows.

    Args:
        costs: the network with a weight in a cell.
        arrays: on the arrays that the table shows, where these are the ones that are priced.
    """
    shown, utilisation = costs, costs.utilisation
    if arrays is not None:
        shown, utilisation = arrays.placed, arrays.energy.utilisation
    # Of the weights that are stored, which utilisation and bound count too.
    macs = sum(stage.macs for layer in shown.layers for stage in layer.stages)
    work = f"{macs:,} multiply-accumulates"
    dense = sum(layer.shape.macs for layer in shown.layers)
    if macs != dense:
        work += f" ({dense:,} of the dense network)"
    # Of what is executed: a compressed network has a lower bound of its own.
    if not shown.lower_bound:
        return f"nothing is stored, {work}"
    bound = shown.chosen_cycles / shown.lower_bound
    words = f"utilisation {utilisation:.1%}, {bound:.2f} times the lower bound, {work}"
    # Where the array names cells or DACs, its activations are more than the papers' cycles.
    array, cycles = costs.array, costs.array_cycles
    if arrays is not None:
        array, cycles = arrays.energy.array, arrays.energy.reads
    if cycles is None:
        return words
    cells = "whole weights"
    if array.cell_bits is not None:
        cells = f"{array.cell_bits}-bit cells, {array.coding_in_words}"
    return f"{words}\narray cycles with {cells} and {array.inputs_in_words}: {cycles:,}"


def _counted_in_words(costs: NetworkCycles) -> str:
    """The layers whose cycles are summed."""
    linear = [layer.shape.is_linear for layer in costs.layers]
    if all(linear):
        return "fully connected layers"
    if any(linear):
        return "convolutions and fully connected layers"
    return "convolutions"


def mapping_csv(costs: NetworkCycles, arrays: OnArrays | None, hardware: str) -> str:
    """One line for each convolution; each says on which hardware."""
    keys = list(costs.total)
    header = [*SHAPE_COLUMNS, *map(str, keys), "lower_bound", "utilisation", "conversions"]
    parts: list[str] = []
    if arrays is not None:
        parts = list(arrays.energy.components)
        header += [*ARRAY_COLUMNS, *(f"{part}_pj" for part in parts), *ON_ARRAYS]
    header.append("hardware")
    rows = []
    for index, layer in enumerate(costs.layers):
        cycles = layer.cycles
        row: list[Any] = [*_shape_cells(layer.shape), *(cycles[key] for key in keys)]
        row += [layer.lower_bound, f"{layer.utilisation:.6f}", layer.chosen.conversions]
        if arrays is not None:
            placed, spent = arrays.placed.layers[index], arrays.energy.layers[index]
            amounts = [spent.latency, spent.energy, *(spent.components[part] for part in parts)]
            row += [placed.arrays, placed.chosen_cycles, placed.most_slices, spent.conversions]
            row += [f"{amount:.6g}" for amount in amounts]
            row += accuracy_cells(arrays.energy)
        rows.append([*row, hardware])
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
