"""What window layers cost: the formula of a window's matrix, and tiles that compute the module's outputs."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.strategies import ARRAYS, SEEDS, conv_shapes
from rankfold.cost import IM2COL, CostKey, network_cycles
from rankfold.cost.kinds import cost_of
from rankfold.cost.planned import planned_mapping
from rankfold.mapping import ArraySpec, execute, map_layer
from rankfold.mapping.window_matrix import window_shape
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LayerPlan, WindowLayer, support_to_text, uniform_plan
from rankfold.plan.methods import WindowLowRank, Windows
from rankfold.workload import ConvShape, zoo_network


@st.composite
def window_layers(draw: st.DrawFn, groups: tuple[int, ...] = (1,)) -> tuple[ConvShape, WindowLayer]:
    """A layer and what it becomes, with its rows chosen, open, or all of them."""
    shape = draw(conv_shapes(largest=8, channels=3, outputs=3, groups=groups))
    height, width = shape.output
    window = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    whole = window_shape(shape, window)
    if draw(st.booleans()):
        return shape, WindowLayer(window)
    rows = draw(st.integers(1, whole.n))
    if draw(st.booleans()):
        return shape, WindowLayer(window, rows)
    random = np.random.default_rng(draw(SEEDS))
    order = random.random((shape.groups, whole.n)).argsort(axis=1)
    support = (order < rows).reshape(shape.in_channels, -1)
    return shape, WindowLayer(window, rows, support_to_text(support))


@given(window_layers(), ARRAYS)
def test_cycles_are_windows_times_tiles(case: tuple[ConvShape, WindowLayer], array: ArraySpec) -> None:
    shape, kind = case
    a, b = kind.window
    whole = window_shape(shape, kind.window)
    rows = kind.rows or whole.n
    windows = -(-shape.output[0] // a) * -(-shape.output[1] // b)
    entry = LayerPlan("layer", kind, mapping="im2col")
    mapping = planned_mapping(shape, array, entry)
    columns = shape.m * a * b
    assert mapping.cycles == windows * -(-rows // array.rows) * -(-columns // array.columns)
    assert mapping.conversions == windows * -(-rows // array.rows) * columns
    assert cost_of(kind).parameters(shape, kind, mapping) == rows * columns


def test_a_network_of_windows_is_counted_with_the_mappings_of_its_other_layers() -> None:
    network = zoo_network("resnet8")
    array = ArraySpec(32, 32)
    for method in (Windows(row_tiles=1), WindowLowRank(rank="1/4")):
        for mapping in ("im2col", "sdk", "best"):
            plan = uniform_plan(network, array, method, mapping=mapping)
            costs = network_cycles(network, plan)
            assert costs.total[CostKey("windows", mapping)] == costs.chosen_cycles
            assert costs.total[IM2COL] > costs.chosen_cycles


@given(window_layers(groups=(1, 2, 3)), ARRAYS)
def test_one_pixel_and_all_inputs_cost_what_im2col_costs(
    case: tuple[ConvShape, WindowLayer], array: ArraySpec
) -> None:
    shape, _ = case
    pixel = planned_mapping(shape, array, LayerPlan("layer", WindowLayer((1, 1)), mapping="im2col"))
    plain = map_layer(shape, array, "im2col")
    # With dilation, inputs between the taps are rows of the box too.
    if shape.dilation == (1, 1):
        assert (pixel.cycles, pixel.tile_count) == (plain.cycles, plain.tile_count)
    assert pixel.cycles >= plain.cycles


@given(window_layers(groups=(1, 2)), ARRAYS, SEEDS)
def test_the_tiles_compute_what_the_module_computes(
    case: tuple[ConvShape, WindowLayer], array: ArraySpec, seed: int
) -> None:
    shape, kind = case
    if kind.rows is not None and kind.support is None:
        return  # which rows its tiles hold is not known yet
    random = np.random.default_rng(seed)
    top, bottom, left, right = shape.padding
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
    module = WindowConv2d(conv, kind.window)
    mapping = planned_mapping(shape, array, LayerPlan("layer", kind, mapping="im2col"))
    weight = random.integers(-9, 10, module.weight.shape)
    support = mapping.stages[0].support
    if support is not None:
        kept = support.reshape(shape.groups, 1, *weight.shape[1:])
        weight = (weight.reshape(shape.groups, -1, *weight.shape[1:]) * kept).reshape(weight.shape)
    inputs = random.integers(-9, 10, (shape.in_channels, *shape.input))
    with torch.no_grad():
        module.matrix.weight.copy_(torch.from_numpy(weight))
        module.set_bias_(None)
        padded = np.pad(inputs, ((0, 0), (top, bottom), (left, right)))
        expected = module(torch.from_numpy(padded)[None].double())[0]
        outputs = torch.from_numpy(execute(mapping, inputs, weight))[None]
        assert torch.equal(module.placed(outputs, shape.output)[0].double(), expected)
