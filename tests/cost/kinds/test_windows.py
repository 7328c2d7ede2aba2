"""What window layers and their low-rank pairs cost: formulae, and tiles that compute the module's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.strategies import ARRAYS, SEEDS, conv_shapes
from rankfold.cost import IM2COL, CostKey, network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import cost_of
from rankfold.cost.planned import planned_mapping
from rankfold.mapping import ArraySpec, execute, map_layer
from rankfold.mapping.window_matrix import window_shape
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_low_rank import WindowLowRankConv2d
from rankfold.plan import (
    LayerPlan,
    LowRank,
    WindowLayer,
    WindowLowRank,
    WindowLowRankLayer,
    support_to_text,
    uniform_plan,
)
from rankfold.plan.methods import Windows
from rankfold.workload import ConvShape, zoo_network


@st.composite
def windowed(
    draw: st.DrawFn, *, chosen: bool, groups: tuple[int, ...] = (1,)
) -> tuple[ConvShape, WindowLayer, int]:
    """A layer, the window layer that it becomes, all or some of whose inputs are driven, and a rank of it.

    Args:
        draw: of Hypothesis.
        chosen: whether it is known which inputs are driven.
        groups: to choose from.
    """
    shape = draw(conv_shapes(largest=8, channels=3, outputs=3, groups=groups))
    height, width = shape.output
    window = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    whole = window_shape(shape, window)
    rows = draw(st.integers(1, whole.n))
    rank = draw(st.integers(1, min(rows, whole.m // whole.groups)))
    if draw(st.booleans()):
        return shape, WindowLayer(window), rank
    if not chosen and draw(st.booleans()):
        return shape, WindowLayer(window, rows), rank
    order = np.random.default_rng(draw(SEEDS)).random((shape.groups, whole.n)).argsort(axis=1)
    support = (order < rows).reshape(shape.in_channels, -1)
    return shape, WindowLayer(window, rows, support_to_text(support)), rank


def pair(layer: WindowLayer, rank: int) -> WindowLowRankLayer:
    """The low-rank pair of its matrix."""
    return WindowLowRankLayer(layer.window, rank, layer.rows, layer.support)


@given(windowed(chosen=False), ARRAYS)
def test_cycles_conversions_and_weights(case: tuple[ConvShape, WindowLayer, int], array: ArraySpec) -> None:
    """Windows times tiles, of the matrix and of the two of a pair."""
    shape, kind, rank = case
    a, b = kind.window
    rows, columns = kind.rows or window_shape(shape, kind.window).n, shape.m * a * b
    windows = -(-shape.output[0] // a) * -(-shape.output[1] // b)
    row_tiles, value_tiles = -(-rows // array.rows), -(-rank // array.rows)
    for own, column_tiles, converted, weights in (
        (kind, row_tiles * -(-columns // array.columns), row_tiles * columns, rows * columns),
        (
            pair(kind, rank),
            row_tiles * -(-rank // array.columns) + value_tiles * -(-columns // array.columns),
            row_tiles * rank + value_tiles * columns,
            rank * (rows + columns),
        ),
    ):
        mapping = planned_mapping(shape, array, LayerPlan("layer", own, mapping="im2col"))
        assert mapping.cycles == windows * column_tiles
        assert mapping.conversions == windows * converted
        assert cost_of(own).parameters(shape, own, mapping) == weights


def test_a_network_of_windows_is_counted_with_the_mappings_of_its_other_layers() -> None:
    network = zoo_network("resnet8")
    array = ArraySpec(32, 32)
    for method in (Windows(row_tiles=1), WindowLowRank(rank="1/4")):
        for mapping in ("im2col", "sdk", "best"):
            plan = uniform_plan(network, array, method, mapping=mapping)
            costs = network_cycles(network, plan)
            assert costs.total[CostKey("windows", mapping)] == costs.chosen_cycles
            assert costs.total[IM2COL] > costs.chosen_cycles


def test_free_pairs_take_fewer_cycles_and_more_energy_than_tied_ones() -> None:
    network = zoo_network("resnet8")
    array = ArraySpec(64, 128, cell_bits=2, coding="differential", dac_bits=1)
    free = uniform_plan(network, array, WindowLowRank(rank="1/4", row_tiles=2), bits=4)
    tied = uniform_plan(network, array, LowRank(rank="1/4", force=True), bits=4)
    costs = [network_cycles(network, plan) for plan in (free, tied)]
    assert costs[0].chosen_cycles < costs[1].chosen_cycles
    energies = [network_energy(network, plan, load_table("rram-22nm")).energy for plan in (free, tied)]
    assert 0 < energies[0] < energies[1]


@given(conv_shapes(largest=8, channels=3, outputs=3, groups=(1, 2, 3)), ARRAYS)
def test_one_pixel_and_all_inputs_cost_what_im2col_costs(shape: ConvShape, array: ArraySpec) -> None:
    pixel = planned_mapping(shape, array, LayerPlan("layer", WindowLayer((1, 1)), mapping="im2col"))
    plain = map_layer(shape, array, "im2col")
    # With dilation, inputs between the taps are rows of the box too.
    if shape.dilation == (1, 1):
        assert (pixel.cycles, pixel.tile_count) == (plain.cycles, plain.tile_count)
    assert pixel.cycles >= plain.cycles


@pytest.mark.parametrize("paired", [False, True], ids=["window", "low-rank"])
@given(case=windowed(chosen=True, groups=(1, 2)), array=ARRAYS, seed=SEEDS)
def test_the_tiles_compute_what_the_module_computes(
    paired: bool, case: tuple[ConvShape, WindowLayer, int], array: ArraySpec, seed: int
) -> None:
    shape, kind, rank = case
    conv = nn.Conv2d(
        shape.in_channels,
        shape.m,
        shape.kernel,
        shape.stride,
        dilation=shape.dilation,
        groups=shape.groups,
        bias=False,
        dtype=torch.float64,
    )
    module: Any = WindowConv2d(conv, kind.window)
    entry, parts = LayerPlan("layer", kind, mapping="im2col"), [module.matrix]
    if paired:
        module = WindowLowRankConv2d(conv, kind.window, rank)
        entry, parts = LayerPlan("layer", pair(kind, rank), mapping="im2col"), [module.reduce, module.expand]
    stages = planned_mapping(shape, array, entry).stages
    random = np.random.default_rng(seed)
    weights = [random.integers(-9, 10, part.weight.shape) for part in parts]
    if stages[0].support is not None:
        kept = stages[0].support.reshape(shape.groups, 1, *weights[0].shape[1:])
        by_group = weights[0].reshape(shape.groups, -1, *weights[0].shape[1:])
        weights[0] = (by_group * kept).reshape(weights[0].shape)
    inputs = random.integers(-9, 10, (shape.in_channels, *shape.input))
    values = inputs
    for stage, weight in zip(stages, weights, strict=True):
        values = execute(stage, values, weight)
    top, bottom, left, right = shape.padding
    with torch.no_grad():
        for part, weight in zip(parts, weights, strict=True):
            part.weight.copy_(torch.from_numpy(weight))
        module.set_bias_(None)
        padded = np.pad(inputs, ((0, 0), (top, bottom), (left, right)))
        expected = module(torch.from_numpy(padded)[None].double())[0]
        outputs = torch.from_numpy(values)[None]
        assert torch.equal(module.placed(outputs, shape.output)[0].double(), expected)
