"""The mapping of a layer where nobody names one: against the definition, on random layers and arrays."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.stored_cells import arrays_by_cells
from common.strategies import conv_shapes
from rankfold.cost import MOST_ARRAYS, array_mapping, choose_mapping, mapping_options
from rankfold.cost.choice import window_options
from rankfold.cost.energy import choose_mappings, counted_plan, load_table
from rankfold.cost.planned import busiest, planned_mapping
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer
from rankfold.mapping.footprint import Footprint
from rankfold.plan import LayerPlan, LowRank, PatDNN, uniform_plan
from rankfold.workload import ConvShape, Network, zoo_network

TABLE = load_table("rram-22nm")


@settings(max_examples=20)
@given(
    conv_shapes(),
    st.builds(ArraySpec, st.integers(4, 40), st.integers(8, 40)),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 8),
)
def test_no_mapping_within_the_arrays_is_faster(shape, array, cell_bits, bits):
    array = replace(array, cell_bits=cell_bits, dac_bits=cell_bits)
    entry = LayerPlan(shape.name, weight_bits=bits, input_bits=bits)
    try:
        chosen = choose_mapping((shape,), array, entry)
    except InputError:
        assert array.columns < 1 + array.columns_per_weight(bits)
        return

    def amounts(mapping):
        found = array_mapping(shape, array, replace(entry, mapping=mapping))
        whole = map_layer(shape, ArraySpec(array.rows, array.columns), mapping)
        return max(times for _, times in found.loads), found.cycles, found.tile_count, whole.cycles

    most = MOST_ARRAYS * amounts("im2col")[2]
    within = [mapping for mapping in MAPPINGS if amounts(mapping)[2] <= most]
    assert chosen in within
    assert amounts(chosen) == min(map(amounts, within))


def test_options_are_the_mappings():
    """Cycles with every slice of the inputs, tiles as arrays; a weight that runs twice is stored once."""
    shape = zoo_network("resnet20").convolutions[3]
    entry = LayerPlan(shape.name, weight_bits=4, input_bits=4)
    array = ArraySpec(64, 64, cell_bits=2, dac_bits=1)
    for option in mapping_options((shape, shape), array, entry):
        found = map_layer(shape, array.in_weights(4), option.mapping)
        assert option.cycles == 2 * 4 * found.cycles
        assert option.time == 2 * 4 * max(times for _, times in found.loads)
        assert option.arrays == found.tile_count


def test_pairs_and_pruned_layers_keep_what_their_papers_have():
    network = zoo_network("resnet20")
    for method in (LowRank(groups=4, rank="1/8", force=True), PatDNN(4)):
        plan = choose_mappings(network, uniform_plan(network, ArraySpec(64, 64), method, bits=4), TABLE)
        assert {layer.mapping for layer in plan.changed} == {"sdk"}
        assert {layer.mapping for layer in plan.layers} != {"sdk"}


def test_arrays_are_counted_on_cells_that_hold_a_weight():
    """64 columns hold weights of 8 bits in 2-bit cells, 4 do not: then a cell holds a whole weight."""
    network = zoo_network("resnet8")
    wide, narrow = (uniform_plan(network, ArraySpec(64, columns), bits=4) for columns in (64, 4))
    built = ArraySpec(64, 64, 2, "differential", 1, converts="differences")
    assert counted_plan(network, wide, TABLE).array == built
    assert counted_plan(network, narrow, TABLE) == narrow
    assert choose_mappings(network, narrow, TABLE).array == narrow.array
    named = replace(narrow, array=replace(narrow.array, cell_bits=2, dac_bits=1))
    with pytest.raises(InputError, match="do not hold one weight of 8 bits"):
        choose_mappings(network, named, TABLE)


@settings(max_examples=10)
@given(st.data())
def test_networks_never_take_more_than_the_rule_says(data):
    shapes = data.draw(st.lists(conv_shapes(largest=8), min_size=1, max_size=2))
    layers = tuple(
        replace(shape, name=f"layer{number}", weight=f"layer{number}") for number, shape in enumerate(shapes)
    )
    network = Network("random", (layers[0].in_channels, *layers[0].input), layers)
    plan = uniform_plan(network, ArraySpec(24, 48), bits=4)
    chosen = choose_mappings(network, plan, TABLE)
    counted = counted_plan(network, plan, TABLE)
    for shape, before, after in zip(layers, plan.layers, chosen.layers, strict=True):
        assert replace(after, mapping=before.mapping) == before
        own = counted.layer(shape.name)
        arrays = [
            array_mapping(shape, counted.array, replace(own, mapping=mapping)).tile_count
            for mapping in (after.mapping, "im2col")
        ]
        assert arrays[0] <= MOST_ARRAYS * arrays[1]


def test_all_rows_at_once_are_one_turn():
    """Where all rows are driven at once, the busiest tile is known without looking at any."""
    entry = LayerPlan("conv", mapping="best", weight_bits=4, input_bits=4)
    shape = ConvShape(
        "conv", in_channels=20, out_channels=30, kernel=(3, 3), input=(9, 9), padding=(1, 1, 1, 1)
    )
    at_once = ArraySpec(32, 32)
    (stage,) = planned_mapping(shape, at_once, entry).stages
    assert busiest(stage, at_once) == busiest(stage, replace(at_once, rows_driven=32))


@settings(max_examples=15)
@given(
    conv_shapes(),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.builds(ArraySpec, st.integers(4, 40), st.integers(8, 40)),
)
def test_no_window_is_better_than_those_of_a_weight_on_two_planes(shape, plane, array):
    """Every window of either plane, counted over both runs: one that is offered is as good."""
    # Where pixels share no inputs, windows of two shapes may hold the same cells.
    assume(not all(Footprint.of(shape, None).apart))
    entry = LayerPlan(shape.name)
    # No kernel reaches over more than 7 pixels.
    other = replace(shape, name="other", input=(plane[0] + 7, plane[1] + 7))
    runs = (shape, other)

    offered = window_options(runs, array, entry)
    largest = [max(one.output[axis] for one in runs) for axis in (0, 1)]
    for window in product(range(1, largest[0] + 1), range(1, largest[1] + 1)):
        if window[0] * window[1] > array.columns:
            continue
        named = replace(entry, mapping=f"{window[0]}x{window[1]}")
        found = [array_mapping(one, array, named) for one in runs]
        cycles = sum(one.cycles for one in found)
        arrays = arrays_by_cells([one.stages for one in found])
        assert any(one.cycles <= cycles and one.arrays <= arrays for one in offered)
