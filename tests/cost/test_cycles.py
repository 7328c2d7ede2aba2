"""Cycles of planned networks: each layer counts as it is compressed, beside what it is compared with."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.random_plans import supported_layers
from common.strategies import conv_shapes
from rankfold.cost import CostKey, array_mapping, network_cycles, planned_mapping, planned_shape
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import cost_of
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer, map_low_rank, map_pruned, map_steered
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    LayerPlan,
    LowRank,
    LowRankLayer,
    PatDNNLayer,
    Plan,
    SharedSupport,
    SupportLayer,
    check_plan,
    support_to_mask,
    support_to_text,
    uniform_plan,
)
from rankfold.plan.kinds import kinds
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(32, 32)


def alone(shape, kind, array=ARRAY, **settings):
    """The network of one layer, and its plan."""
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    plan = Plan("one", network.input, array, (LayerPlan(shape.name, kind, **settings),))
    check_plan(plan, network)
    return network, plan


SOME_MAPPINGS = st.sampled_from(["im2col", "sdk", "best"])


@given(supported_layers(), SOME_MAPPINGS, st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_cycles_of_a_row_sparse_pair_are_those_of_its_support(case, method, groups):
    shape, support, entries = case
    kind = LowRankLayer(groups, 1, entries, support_to_text(support))
    costs = network_cycles(*alone(shape, kind, mapping=method))
    expected = map_low_rank(shape, ARRAY, groups, 1, method, support)
    assert costs.chosen_cycles == expected.cycles == costs.total[CostKey("low-rank", method)]
    shared = map_low_rank(shape, ARRAY, groups, 1, "sdk", support).shared
    assert costs.total[CostKey("low-rank", "shared")] == shared.cycles
    assert costs.layers[0].parameters == int(support.sum()) + shape.m * groups
    assert costs.layers[0].to_json()["low_rank"]["entries"] == entries


@given(supported_layers(), SOME_MAPPINGS)
@settings(max_examples=40)
def test_cycles_of_a_layer_with_a_support_are_those_of_its_mask(case, method):
    shape, support, entries = case
    kind = SupportLayer(entries, support=support_to_text(support))
    network, plan = alone(shape, kind, mapping=method)
    mask = support_to_mask(support, shape.m, shape.groups, shape.kernel)
    costs = network_cycles(network, plan)
    assert costs.chosen_cycles == map_pruned(shape, ARRAY, mask, method).cycles
    assert costs.chosen_cycles == costs.total[CostKey("pruned", method)]
    assert costs.layers[0].parameters == mask.sum()
    # Positions that the plan leaves open are read from the mask.
    _, unsettled = alone(shape, SupportLayer(entries), mapping=method)
    assert network_cycles(network, unsettled, masks={"body": mask}).total == costs.total


@given(supported_layers(), SOME_MAPPINGS, st.integers(0, 99), st.sampled_from(["plain", "ideal"]))
@settings(max_examples=20)
def test_cycles_of_a_pattern_pruned_layer_are_those_of_its_mask(case, method, seed, steering):
    shape, _, _ = case
    mask = (
        np.random.default_rng(seed).random((shape.m, shape.in_channels // shape.groups, *shape.kernel)) < 0.5
    )
    mask[0, 0, 0, 0] = True
    network, plan = alone(shape, PatDNNLayer(1, steering), mapping=method)
    costs = network_cycles(network, plan, masks={"body": mask})
    layer = costs.layers[0]
    assert layer.chosen.cycles == costs.total[CostKey("pruned", method)]
    assert layer.parameters == mask.sum()
    if steering == "plain":
        assert layer.steered is None and costs.chosen_cycles == layer.chosen.cycles
    else:
        assert costs.chosen_cycles == layer.steered.cycles <= layer.chosen.cycles
    with pytest.raises(InputError, match="layer body is pattern-pruned: counting its cycles needs its mask"):
        network_cycles(network, plan)


def test_a_channel_pruned_layer_is_a_smaller_dense_one():
    shape = ConvShape("body", 8, 12, (3, 3), (9, 9))
    costs = network_cycles(*alone(shape, ChannelLayer(6, 5), mapping="vw-sdk"))
    smaller = replace(shape, in_channels=6, out_channels=5)
    assert costs.layers[0].chosen == map_layer(smaller, ARRAY, "vw-sdk")
    assert costs.total[CostKey("channel", "vw-sdk")] == costs.chosen_cycles
    assert costs.layers[0].parameters == smaller.parameters
    depthwise = ConvShape("body", 8, 8, (3, 3), (9, 9), groups=8)
    entry = LayerPlan("body", ChannelLayer(6, 6))
    assert planned_shape(depthwise, entry) == replace(depthwise, in_channels=6, out_channels=6, groups=6)


def test_a_mixed_plan_counts_each_layer_as_it_is_compressed():
    shapes = [ConvShape(name, 8, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1)) for name in ("one", "two", "three")]
    network = Network("mixed", (8, 8, 8), tuple(shapes))
    text = " ".join(["1b"] * 8)
    layers = (
        LayerPlan("one"),
        LayerPlan("two", LowRankLayer(2, 2, 4, text)),
        LayerPlan("three", SupportLayer(4, support=text)),
    )
    costs = network_cycles(network, Plan("mixed", (8, 8, 8), ArraySpec(32, 16), layers))
    assert (
        costs.chosen_cycles
        == costs.total[CostKey("low-rank", "sdk")]
        == costs.total[CostKey("pruned", "sdk")]
    )
    assert costs.chosen_cycles < costs.total[CostKey.dense("sdk")]
    assert costs.chosen_cycles == sum(layer.chosen_cycles for layer in costs.layers)


def test_a_dense_plan_is_compared_with_nothing_of_other_families():
    network = zoo_network("resnet8")
    costs = network_cycles(network, uniform_plan(network, ARRAY), MAPPINGS)
    assert list(costs.total) == [CostKey.dense(method) for method in MAPPINGS]
    assert list(costs.to_json()["total"]["cycles"]) == list(MAPPINGS)


def test_keys_are_read_from_what_they_are_written_as():
    families = {cost_of(kind).family for kind in kinds()} | {"ideal", "of-ones-own"}
    for family in families - {""}:
        for mapping in (*MAPPINGS, "shared"):
            key = CostKey(family, mapping)
            assert str(key) == f"{family}-{mapping}" and CostKey.parse(str(key)) == key
    for mapping in MAPPINGS:
        assert str(CostKey.dense(mapping)) == mapping and CostKey.parse(mapping) == CostKey.dense(mapping)


def row_sparse_plan(network, bits=4):
    """Two groups of a quarter of the outputs; every channel keeps the same four positions."""
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank="1/4", entries=4, force=True), bits=bits)
    channels = {shape.weight: shape.in_channels for shape in network.layers}
    texts = {}
    for layer in plan.layers:
        if layer.kind.shares_support:
            texts[layer.name] = " ".join(["1b"] * channels[layer.name])
    return plan.with_supports(texts)


def test_energy_is_that_of_the_rows_that_are_left():
    network, table = zoo_network("resnet8"), load_table("rram-22nm")
    sparse = row_sparse_plan(network)
    whole = uniform_plan(network, ARRAY, LowRank(groups=2, rank="1/4", force=True), bits=4)
    paid = network_energy(network, sparse, table)
    assert paid.energy < network_energy(network, whole, table).energy
    free = network_energy(network, sparse, table, circuits=False)
    assert free.energy < paid.energy  # a multiplexer at each row of the first stages


@pytest.mark.parametrize("method", [LowRank(groups=4, rank="1/8", entries=4, force=True), SharedSupport(4)])
def test_cycles_wait_for_the_positions(method):
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ARRAY, method)
    shape = network.convolutions[1]
    message = (
        r"layer layer1\.0\.conv1 keeps 4 of 9 kernel positions, which are chosen on data: "
        "its cycles are known for a finished run"
    )
    with pytest.raises(InputError, match=message):
        planned_mapping(shape, ARRAY, plan.layer(shape.weight))
    with pytest.raises(InputError, match=message):
        network_cycles(network, plan)


def test_linear_layers_are_counted_where_asked_for_or_low_rank():
    conv = ConvShape("conv", 3, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    hidden = ConvShape("hidden", 256, 24, (1, 1), (1, 1), kind="linear")
    head = ConvShape("fc", 24, 5, (1, 1), (1, 1), kind="linear")
    network = Network("net", (3, 8, 8), (conv, hidden, head))
    dense = uniform_plan(network, ARRAY)
    assert [layer.shape.name for layer in network_cycles(network, dense).layers] == ["conv"]
    both = network_cycles(network, dense, linear=True)
    assert both.layers[1].chosen == map_layer(hidden, ARRAY, "sdk")
    assert (
        both.layers[1].cycles[CostKey.dense("im2col")] == 256 // 32
    )  # 8 row tiles, one column tile, one pixel
    plan = uniform_plan(network, ARRAY, LowRank(groups=2, rank=4, linear=True, force=True))
    assert [layer.kind for layer in plan.layers] == [DenseLayer(), LowRankLayer(2, 4), DenseLayer()]
    counted = network_cycles(network, plan)
    assert counted.layers[1].chosen == map_low_rank(hidden, ARRAY, 2, 4, "sdk")
    assert [layer.shape.name for layer in counted.layers] == ["conv", "hidden", "fc"]
    assert [layer.shape.name for layer in network_cycles(network, plan, linear=False).layers] == ["conv"]


def test_a_network_of_linear_layers_alone():
    layers = (
        ConvShape("1", 48, 8, (1, 1), (1, 1), kind="linear"),
        ConvShape("2", 8, 2, (1, 1), (1, 1), kind="linear"),
    )
    only = Network("only", (3, 4, 4), layers)
    plan = uniform_plan(only, ARRAY)
    assert network_cycles(only, plan).layers == network_cycles(only, plan, linear=True).layers
    assert network_cycles(only, plan).layers[0].cycles[CostKey.dense("im2col")] == 2
    with pytest.raises(
        InputError,
        match=r"only has no two-dimensional convolution; count its fully connected layers \(linear=True\)",
    ):
        network_cycles(only, plan, linear=False)


def test_activations_of_arrays_with_cells_and_dacs():
    """Weights spread over columns, inputs over cycles; what neither plan nor array says is not guessed."""
    shape = ConvShape("body", 8, 12, (3, 3), (9, 9))
    cells = ArraySpec(32, 32, cell_bits=2, coding="differential", dac_bits=1)
    network, plan = alone(shape, DenseLayer(), cells, weight_bits=4, input_bits=3)
    layer = network_cycles(network, plan).layers[0]
    in_weights = cells.in_weights(4)
    assert layer.array_cycles == 3 * map_layer(shape, in_weights, "sdk").cycles
    assert array_mapping(shape, cells, plan.layers[0]) == map_layer(shape, in_weights, "sdk")
    bare = alone(shape, DenseLayer())
    assert network_cycles(*bare).array_cycles is None
    assert array_mapping(shape, ARRAY, bare[1].layers[0]) == map_layer(shape, ARRAY, "sdk")
    network, plan = alone(shape, DenseLayer(), cells)
    with pytest.raises(
        InputError, match=r"layer body: an array with bits per cell or DAC needs the bits .*bits=4"
    ):
        network_cycles(network, plan)


@settings(max_examples=40)
@given(
    conv_shapes(largest=8, channels=5),
    st.integers(1, 40),
    st.sampled_from([None, 2]),
    st.sampled_from([DenseLayer(), LowRankLayer(1, 1)]),
    st.data(),
)
def test_fewer_rows_driven_take_an_activation_for_each_turn(shape, rows, cell_bits, kind, data):
    """Every tile, each time that it is activated, drives its rows as many at a time as the array does."""
    driven = data.draw(st.integers(1, rows))
    array = ArraySpec(rows, 24, cell_bits, rows_driven=driven)
    network, plan = alone(shape, kind, array, weight_bits=4, input_bits=4)
    activations = 0
    for stage in array_mapping(shape, array, plan.layers[0]).stages:
        for region, tile in stage.tiles():
            activations += region.activations * len(range(0, tile.rows, driven))
    costs = network_cycles(network, plan)
    assert costs.array_cycles == activations
    whole = replace(plan, array=replace(array, rows_driven=None))
    assert costs.total == network_cycles(network, whole).total


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_steered_rows_are_driven_in_turns_too(rows, driven, seed):
    driven = min(rows, driven)
    shape = ConvShape("body", 4, 3, (3, 3), (5, 5))
    mask = np.random.default_rng(seed).random((3, 4, 3, 3)) < 0.4
    mask[0, 0, 0, 0] = True
    array = ArraySpec(rows, 24, rows_driven=driven)
    network, plan = alone(shape, PatDNNLayer(4, "ideal"), array)
    activations = 0
    for region, tile in map_steered(shape, array, mask, "sdk").tiles():
        activations += region.activations * len(range(0, tile.rows, driven))
    assert network_cycles(network, plan, masks={"body": mask}).array_cycles == activations
