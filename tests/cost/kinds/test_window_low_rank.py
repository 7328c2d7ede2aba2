"""What low-rank pairs of windows cost: the formula, and tiles that compute the module's outputs."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.strategies import ARRAYS, SEEDS, conv_shapes
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import cost_of
from rankfold.cost.planned import planned_mapping
from rankfold.mapping import ArraySpec, execute
from rankfold.mapping.window_matrix import window_shape
from rankfold.nn.window_low_rank import WindowLowRankConv2d
from rankfold.plan import LayerPlan, LowRank, WindowLowRank, WindowLowRankLayer, support_to_text, uniform_plan
from rankfold.workload import ConvShape, zoo_network


@st.composite
def layers(draw: st.DrawFn, groups: tuple[int, ...] = (1, 2)) -> tuple[ConvShape, WindowLowRankLayer]:
    """A layer and what it becomes, with its rows chosen, or all of them."""
    shape = draw(conv_shapes(largest=8, channels=3, outputs=3, groups=groups))
    height, width = shape.output
    window = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    whole = window_shape(shape, window)
    rows = draw(st.integers(1, whole.n))
    rank = draw(st.integers(1, min(rows, whole.m // whole.groups)))
    if draw(st.booleans()):
        return shape, WindowLowRankLayer(window, rank)
    random = np.random.default_rng(draw(SEEDS))
    order = random.random((shape.groups, whole.n)).argsort(axis=1)
    support = (order < rows).reshape(shape.in_channels, -1)
    return shape, WindowLowRankLayer(window, rank, rows, support_to_text(support))


@given(layers(groups=(1,)), ARRAYS)
def test_cycles_conversions_and_weights(case: tuple[ConvShape, WindowLowRankLayer], array: ArraySpec) -> None:
    shape, kind = case
    a, b = kind.window
    rows, rank = kind.rows or window_shape(shape, kind.window).n, kind.rank
    windows = -(-shape.output[0] // a) * -(-shape.output[1] // b)
    mapping = planned_mapping(shape, array, LayerPlan("layer", kind, mapping="im2col"))
    row_tiles, value_tiles = -(-rows // array.rows), -(-rank // array.rows)
    columns = shape.m * a * b
    column_tiles = -(-rank // array.columns), -(-columns // array.columns)
    assert mapping.cycles == windows * (row_tiles * column_tiles[0] + value_tiles * column_tiles[1])
    assert mapping.conversions == windows * (row_tiles * rank + value_tiles * columns)
    assert cost_of(kind).parameters(shape, kind, mapping) == rank * (rows + columns)


@given(layers(), ARRAYS, SEEDS)
def test_the_tiles_compute_what_the_module_computes(
    case: tuple[ConvShape, WindowLowRankLayer], array: ArraySpec, seed: int
) -> None:
    shape, kind = case
    random = np.random.default_rng(seed)
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
    module = WindowLowRankConv2d(conv, kind.window, kind.rank)
    first, second = planned_mapping(shape, array, LayerPlan("layer", kind, mapping="im2col")).stages
    weights = [random.integers(-9, 10, part.weight.shape) for part in (module.reduce, module.expand)]
    if first.support is not None:
        kept = first.support.reshape(shape.groups, 1, *weights[0].shape[1:])
        by_group = weights[0].reshape(shape.groups, -1, *weights[0].shape[1:])
        weights[0] = (by_group * kept).reshape(weights[0].shape)
    inputs = random.integers(-9, 10, (shape.in_channels, *shape.input))
    top, bottom, left, right = shape.padding
    with torch.no_grad():
        module.reduce.weight.copy_(torch.from_numpy(weights[0]))
        module.expand.weight.copy_(torch.from_numpy(weights[1]))
        module.set_bias_(None)
        padded = np.pad(inputs, ((0, 0), (top, bottom), (left, right)))
        expected = module(torch.from_numpy(padded)[None].double())[0]
        outputs = torch.from_numpy(execute(second, execute(first, inputs, weights[0]), weights[1]))[None]
        assert torch.equal(module.placed(outputs, shape.output)[0].double(), expected)


def test_a_network_of_them_is_counted_and_priced() -> None:
    network = zoo_network("resnet8")
    array = ArraySpec(64, 128, cell_bits=2, coding="differential", dac_bits=1)
    free = uniform_plan(network, array, WindowLowRank(rank="1/4", row_tiles=2), bits=4)
    tied = uniform_plan(network, array, LowRank(rank="1/4", force=True), bits=4)
    costs = [network_cycles(network, plan) for plan in (free, tied)]
    assert costs[0].chosen_cycles < costs[1].chosen_cycles
    energies = [network_energy(network, plan, load_table("rram-22nm")).energy for plan in (free, tied)]
    assert 0 < energies[0] < energies[1]
