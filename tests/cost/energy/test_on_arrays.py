"""A network on the arrays that it is priced on: one mapping for cycles, arrays and energy."""

from dataclasses import replace

import pytest

from rankfold.cost import IM2COL, CostKey, network_cycles, placed_cycles
from rankfold.cost.energy import dense_plan, load_table, network_energy, on_arrays, precise_plan
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.workload import ZOO, ConvShape, Network, zoo_network

TABLE = load_table("rram-22nm")
ARRAY = ArraySpec(64, 64, cell_bits=2, dac_bits=1)
IMAGE = (3, 32, 32)  # of all networks, so that large ones are mapped in little time
PAIRS = LowRank(groups=2, rank="1/4", pointwise=True, fit=True, force=True)


@pytest.mark.parametrize("name", ZOO)
def test_rows_are_priced_as_they_are_shown(name):
    """In each row, activations priced are the cycles shown times the slices of the inputs; so are arrays."""
    network = zoo_network(name, IMAGE)
    in_turns = replace(ARRAY, rows_driven=16)
    for array, method in ((ARRAY, None), (in_turns, PAIRS)):
        for mapping in MAPPINGS:
            plan = uniform_plan(network, array, method, bits=4, mapping=mapping)
            placed = placed_cycles(network, precise_plan(network, plan, TABLE)[0], ())
            energy = network_energy(network, plan, TABLE)
            for shown, priced in zip(placed.layers, energy.layers, strict=True):
                activities = [stage.activity for stage in priced.stages]
                activations = sum(activity.activations for activity in activities)
                assert shown.shape == priced.shape
                assert activations == shown.chosen_cycles
                assert tuple(activity.slices for activity in activities) == shown.slices
                assert sum(activity.reads for activity in activities) == shown.reads
                assert sum(activity.tiles for activity in activities) == shown.arrays


def test_a_layer_whose_windows_differ_on_the_two_arrays():
    """22x22 outputs: with whole weights four at once, with 8 bits in 2-bit cells one by one."""
    layer = ConvShape("conv2d_5", 1, 16, (2, 2), (23, 23))
    network = Network("one", (1, 23, 23), (layer,))
    plan = uniform_plan(network, ARRAY, bits=8, mapping="best")
    papers = network_cycles(network, plan)
    arrays = on_arrays(network, plan, TABLE)
    (shown,), (priced,) = arrays.placed.layers, arrays.energy.layers
    assert papers.chosen_cycles < shown.chosen_cycles
    assert priced.stages[0].activity.activations == shown.chosen_cycles
    assert shown.stages[0].window != papers.layers[0].stages[0].window


def test_every_mapping_is_priced_as_a_plan_with_it():
    network = zoo_network("resnet20")
    pairs = LowRank(groups=4, rank="1/8", force=True)
    plan = uniform_plan(network, ARRAY, pairs, bits=4)
    arrays = on_arrays(network, plan, TABLE)
    for mapping in MAPPINGS:
        dense = network_energy(network, dense_plan(plan, mapping), TABLE)
        assert arrays.by_mapping[CostKey.dense(mapping)] == dense
    for mapping in ("im2col", "sdk", "best"):
        laid_out = uniform_plan(network, ARRAY, pairs, bits=4, mapping=mapping)
        assert arrays.by_mapping[CostKey("low-rank", mapping)] == network_energy(network, laid_out, TABLE)
    assert arrays.dense == arrays.by_mapping[IM2COL]
    least = min(arrays.by_mapping[CostKey.dense(mapping)].energy for mapping in MAPPINGS)
    assert arrays.by_mapping[arrays.dense_best].energy == least


def test_a_shorter_interval_with_fewer_arrays_is_found():
    """ResNet-50 on 256x256 arrays: `best` takes many times the arrays of VW-SDK, and is slower."""
    network = zoo_network("resnet50")
    plan = uniform_plan(
        network, ArraySpec(256, 256, cell_bits=2, coding="offset", converts="columns"), bits=4, mapping="best"
    )
    arrays = on_arrays(network, plan, TABLE)
    assert arrays.shorter == CostKey.dense("vw-sdk")
    other = arrays.by_mapping[arrays.shorter]
    assert other.arrays < arrays.energy.arrays
    assert other.interval < arrays.energy.interval
    assert on_arrays(network, dense_plan(plan, "vw-sdk"), TABLE).shorter is None
