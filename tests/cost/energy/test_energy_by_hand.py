"""One layer for each mapping, counted and priced by hand.

`_price` writes out rram-22nm with its 5-bit flash ADC. All arrays have 2-bit cells, offset coding (one
reference column) and 1-bit DACs; weights and inputs have 4 bits. So a weight takes 4/2 = 2 columns, an input
4/1 = 4 slices, and a sum has 5 (ADC) + 1*2 (columns) + 3*1 (slices) = 10 bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rankfold.cost.energy import load_table, network_energy, stage_activity, stage_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, Plan
from rankfold.workload import ConvShape, Network

VV = 0.85**2  # V^2


def _energy(shape, array, kind, mapping):
    entry = LayerPlan(shape.name, kind, mapping=mapping, weight_bits=4, input_bits=4)
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    return network_energy(
        network, Plan("one", network.input, array, (entry,)), load_table("rram-22nm")
    ).layers[0]


def _price(array_rows, array_columns, tile_reads, *, rows, columns, inputs, outputs, sums, additions):
    """pJ by component.

    `rows` and `columns` (physical) are added up over all reads, `tile_reads` counts them.
    """
    weights = array_columns // 2
    femto = {
        # 31 comparisons of 2.27 fJ + 0.0008 fJ * 2^7.5 each: 74.86 fJ a conversion
        "adc": columns * 31 * (2.27 + 0.0008 * 181.01933598),
        # 8 steps a read; half of the driven rows rise, each along all physical columns of 0.075 fF
        "word_lines": rows * 8 * 0.5 * 0.075 * array_columns * VV,
        "row_drivers": rows * 8 * 0.5 * 7.3 * VV,
        "row_latches": tile_reads * 8 * array_rows * 1.41,
        "dac": 0.0,
        "cells": 0.0,
        "column_mux": columns * 0.024 * array_rows * VV,
        # one shift-add joins the two columns of each weight in the width, one adds the slice to those before
        "weight_shift_add": tile_reads * weights * 1 * 14.6,
        "input_shift_add": tile_reads * weights * 28.7,
        "accumulators": additions * 10 * (3.3 * VV + 1.41),
        "input_buffer": inputs * 4 * 1.41,
        "output_buffer": outputs * 4 * 1.41,
        "bus": (inputs * 4 + sums * 10) * 5.6,
        "steering": 0.0,
        "subtractor": 0.0,
        "input_counter": 0.0,
    }
    return {name: energy / 1000 for name, energy in femto.items()}


def test_im2col():
    """2 -> 2 channels, 3x3, 6x6 -> 4x4, on 32x17 arrays: 8 weights wide.

    16 windows of one tile: 2*9 = 18 rows, 2 weights = 4 columns, and the reference: 5. 16 * 4 slices = 64
    reads.
    """
    layer = _energy(
        ConvShape("conv", 2, 2, (3, 3), (6, 6)),
        ArraySpec(32, 17, 2, "offset", 1, converts="columns"),
        DenseLayer(),
        mapping="im2col",
    )
    assert layer.conversions == 320
    expected = _price(
        32, 17, 64, rows=64 * 18, columns=64 * 5, inputs=16 * 18, outputs=32, sums=16 * 2, additions=0
    )
    assert layer.components == pytest.approx(expected)
    assert layer.latency == pytest.approx(16 * 4 * 8 * 1.4 * 1.236 / 1000)


def test_sdk():
    """The layer in 2x2 windows: 2*4*4 = 32 rows, 4*2 = 8 weights, 16 columns + 1; 4 windows, 16 reads."""
    layer = _energy(
        ConvShape("conv", 2, 2, (3, 3), (6, 6)),
        ArraySpec(32, 17, 2, "offset", 1, converts="columns"),
        DenseLayer(),
        mapping="sdk",
    )
    assert layer.conversions == 272
    expected = _price(
        32, 17, 16, rows=16 * 32, columns=16 * 17, inputs=4 * 32, outputs=32, sums=4 * 8, additions=0
    )
    assert layer.components == pytest.approx(expected)


def test_vw_sdk():
    """2 -> 2 channels, 3x3, 6x3 -> 4x1, on 36x17.

    One 4x1 window reads 6*3 = 18 inputs a channel, 36 rows; 8 weights, 4 reads.
    """
    layer = _energy(
        ConvShape("conv", 2, 2, (3, 3), (6, 3)),
        ArraySpec(36, 17, 2, "offset", 1, converts="columns"),
        DenseLayer(),
        mapping="vw-sdk",
    )
    assert layer.conversions == 68
    expected = _price(36, 17, 4, rows=4 * 36, columns=4 * 17, inputs=36, outputs=8, sums=8, additions=0)
    assert layer.components == pytest.approx(expected)


def test_best():
    """5 -> 2 channels, 3x3, 6x3 -> 4x1, on 45x17.

    The 4x1 window's 5*18 = 90 rows fill two tiles of 45, cut within a channel. VW-SDK, which puts only whole
    channels in a tile, needs three. Two sums for each of 8 outputs: 8 additions.
    """
    layer = _energy(
        ConvShape("conv", 5, 2, (3, 3), (6, 3)),
        ArraySpec(45, 17, 2, "offset", 1, converts="columns"),
        DenseLayer(),
        mapping="best",
    )
    assert layer.conversions == 136
    expected = _price(45, 17, 8, rows=4 * 90, columns=8 * 17, inputs=90, outputs=8, sums=16, additions=8)
    assert layer.components == pytest.approx(expected)


def test_low_rank():
    """2 -> 2 channels, 3x3, 6x6 -> 4x4, g = 1, r = 1, on 72x33: 16 weights wide.

    R_: the whole plane is one window, 2*6*6 = 72 rows, 16 weights, 33 columns, 4 reads. L, a 1x1 convolution
    1 -> 2: 8 pixels of a window take 8 rows and 16 weights, so that two activations yield all 32 outputs: 8
    reads of 8 rows and 33 columns.
    """
    layer = _energy(
        ConvShape("conv", 2, 2, (3, 3), (6, 6)),
        ArraySpec(72, 33, 2, "offset", 1, converts="columns"),
        LowRankLayer(1, 1),
        mapping="sdk",
    )
    first = _price(72, 33, 4, rows=4 * 72, columns=4 * 33, inputs=72, outputs=16, sums=16, additions=0)
    second = _price(72, 33, 8, rows=8 * 8, columns=8 * 33, inputs=16, outputs=32, sums=32, additions=0)
    assert [stage.energy for stage in layer.stages] == [pytest.approx(first), pytest.approx(second)]
    assert layer.conversions == 4 * 33 + 8 * 33


@pytest.mark.parametrize("coding", ["offset", "differential"])
def test_differences(coding):
    """The layer of `test_im2col`, with a reference column and without.

    Offset: 2 weights of 2 columns, 4 conversions a read instead of 5, and 18 inputs counted. Differential: 2
    weights of 2 pairs, as 3 bits of magnitude take 2 cells; 4 conversions again, of 17 columns in 9 pairs.
    """
    array = ArraySpec(32, 17, 2, coding, 1, converts="differences")
    layer = _energy(ConvShape("conv", 2, 2, (3, 3), (6, 6)), array, DenseLayer(), mapping="im2col")
    assert layer.conversions == 64 * 4
    found = layer.components
    assert found["subtractor"] == pytest.approx(64 * 4 * 2 * 10 * VV / 1000)
    counted = {"offset": 64 * 18, "differential": 0}[coding]
    assert found["input_counter"] == pytest.approx(counted * (3.3 * VV + 1.41) / 1000)
    columns = {"offset": 17, "differential": 9}[coding]
    adcs = -(-columns // 8)
    (stage,) = layer.stages
    assert stage.area["subtractor"] == adcs * 2 * 10 / 2
    assert stage.area["adc"] == pytest.approx(adcs * 0.6173 * 10 ** (1.206 - 0.0369 * 5) * 2**5)


def test_tables_that_price_no_subtraction_are_refused():
    table = load_table("rram-22nm")
    parts = tuple(part for part in table.components if part.name != "subtractor")
    shape = ConvShape("conv", 2, 2, (3, 3), (6, 6))
    network = Network("one", (2, 6, 6), (shape,))
    array = ArraySpec(32, 17, 2, "offset", converts="differences")
    plan = Plan("one", (2, 6, 6), array, (LayerPlan("conv", DenseLayer()),))
    with pytest.raises(InputError, match="says nothing of what a subtraction before the ADC costs"):
        network_energy(network, plan, replace(table, components=parts))


def test_steering_of_a_pruned_layer():
    """A multiplexer for each driven row: (9 - 1) selectors of 1.65 fF, and ceil(log2 9) = 4 clocked bits."""
    array, shape = (
        ArraySpec(32, 17, 2, "offset", 1, converts="columns"),
        ConvShape("conv", 2, 2, (3, 3), (6, 6)),
    )
    support = np.zeros((2, 9), bool)
    support[:, :4] = True  # 2*4 = 8 rows of 18 are left
    mapping = map_layer(shape, array.in_weights(4), "im2col", support)
    table = load_table("rram-22nm")
    stages = {}
    for how in ("none", "rows", "kernels"):
        stages[how] = stage_energy(table, array, stage_activity(mapping, array, 4, 4, steering=how))
    one = 1.65 * 8 * VV + 4 * 1.41
    assert stages["none"].energy["steering"] == 0
    assert stages["rows"].energy["steering"] == pytest.approx(64 * 8 * one / 1000)
    assert stages["kernels"].energy["steering"] == pytest.approx(64 * 8 * 2 * one / 1000)
    others = [
        {name: value for name, value in stage.energy.items() if name != "steering"}
        for stage in stages.values()
    ]
    assert others[0] == others[1] == others[2]
    assert stages["rows"].area["steering"] == pytest.approx(8 * 0.379 * (3 * 8 + 6 * 4))
