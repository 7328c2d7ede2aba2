"""Single layers of networks on a chip's arrays, against `zigzag-dse`: cycles, and energy by part.

ZigZag's macro is told, tile by tile, the rows and columns that a convolution takes (by hand below, from the
definition of im2col), and counts what its own model makes of it.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from common.zigzag_macro import zigzag_macro
from rankfold.cost import network_cycles
from rankfold.cost.energy import network_energy, zigzag_table
from rankfold.mapping import ArraySpec
from rankfold.plan import uniform_plan
from rankfold.workload import ConvShape, Network, zoo_network

WEIGHT_BITS, INPUT_BITS, ADC_BITS = 3, 4, 5
COLUMNS = 4  # of a weight of three bits: two one-bit cells for each sign
PARTS = {
    "adcs": "adc",
    "mults": "word_lines",
    "analog_bl_addition": "bit_lines",
    "adders_pv": "weight_shift_add",
}


def layers() -> list[ConvShape]:
    """Convolutions whose tiles are full and not, of one row tile and of many."""
    resnet20, resnet8 = zoo_network("resnet20"), zoo_network("resnet8")
    return [*resnet20.layers[0:20:4], *resnet8.layers[3:6]]


def tiles(shape: ConvShape, side: int) -> list[tuple[int, int]]:
    """(rows, columns of weights) of each tile of im2col."""
    rows, columns = shape.in_channels * shape.kernel[0] * shape.kernel[1], side // COLUMNS
    row_tiles = [min(side, rows - first) for first in range(0, rows, side)]
    column_tiles = [
        min(columns, shape.out_channels - first) for first in range(0, shape.out_channels, columns)
    ]
    return [(own, wide) for own in row_tiles for wide in column_tiles]


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("shape", layers(), ids=lambda shape: f"{shape.name} {shape.in_channels}")
def test_cycles_and_energy_of_a_layer_are_zigzags(shape: ConvShape, side: int) -> None:
    macro, columns, rows = zigzag_macro(side, ADC_BITS, COLUMNS, INPUT_BITS)
    from zigzag.datatypes import LayerDim, LayerOperand
    from zigzag.mapping.spatial_mapping import MappingSingleOADim

    weights, inputs = LayerOperand("W"), LayerOperand("I")
    windows = shape.output[0] * shape.output[1]
    theirs, activations = dict.fromkeys(PARTS, 0.0), 0.0
    for own, wide in tiles(shape, side):
        layer = SimpleNamespace(
            get_act_layer_op=lambda: inputs,
            get_weight_layer_op=lambda: weights,
            spatial_mapping={
                columns: MappingSingleOADim({LayerDim("K"): wide}),
                rows: MappingSingleOADim({LayerDim("C"): own}),
            },
            loop_relevancy_info=SimpleNamespace(ir_dims={weights: [LayerDim("OX"), LayerDim("OY")]}),
            total_mac_count=own * wide * windows,
        )
        found = macro.get_energy_for_a_layer(layer, None)
        for part in PARTS:
            theirs[part] += found[part]
        activations += macro.get_mapped_oa_dim(layer, columns, rows)[3]
    array = ArraySpec(side, side, 1, "differential", 1, converts="columns")
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    plan = uniform_plan(network, array, bits=(WEIGHT_BITS, INPUT_BITS), mapping="im2col")
    # A first layer would get eight bits.
    entries = [replace(layer, weight_bits=WEIGHT_BITS, input_bits=INPUT_BITS) for layer in plan.layers]
    plan = replace(plan, layers=tuple(entries))
    ours = network_energy(network, plan, zigzag_table(array, ADC_BITS), linear=True)
    for part, name in PARTS.items():
        assert ours.components[name] == pytest.approx(theirs[part])
    weights_a_row = ArraySpec(side, side // COLUMNS)
    counted = network_cycles(network, plan.on(weights_a_row), ())
    assert counted.chosen_cycles == activations
