"""What candidates cost: as `rankfold map` and `rankfold energy` count it."""

from dataclasses import replace

import numpy as np
import pytest

from common.made_up import entries_of
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import check_plan
from rankfold.planning.exact import ENERGY
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(64, 64)
# Second stages of pairs, whose inputs are signed, take another number of slices than first ones.
CODED = ArraySpec(64, 64, dac_bits=1, input_coding="sign-magnitude")
LAYER = "layer2.0.conv1"


@pytest.mark.parametrize(("array", "more"), [(ARRAY, 12), (CODED, 4)])
def test_every_candidate_is_a_plan_that_the_network_can_follow(array, more):
    """And costs what `rankfold map` and `rankfold energy` count for it."""
    network = zoo_network("resnet20")
    slots = layer_slots(network, array, 4)
    dense = dense_network(network, array, slots)
    table = load_table("rram-22nm")
    costing = Costing.of(network, dense, table)
    at = [slot.name for slot in slots].index(LAYER)
    entries = entries_of(slots[at])
    assert len(set(entries)) == len(entries) > 150
    rng = np.random.default_rng(1)
    for index in [0, 1, 2, 3, *rng.choice(len(entries), more, replace=False)]:
        candidate = costing.candidate(entries[index], [ENERGY])
        plan = replace(dense, layers=(*dense.layers[:at], entries[index], *dense.layers[at + 1 :]))
        check_plan(plan, network)
        cycles = next(one for one in network_cycles(network, plan).layers if one.shape.name == LAYER)
        priced = network_energy(network, plan, table)
        energy = next(one for one in priced.layers if one.shape.name == LAYER)
        assert candidate.cycles == cycles.chosen_cycles
        assert candidate.arrays == sum(stage.tile_count for stage in cycles.stages)
        assert candidate.weights == cycles.parameters
        assert candidate.energy == pytest.approx(energy.energy)
        alone = replace(priced, layers=(energy,))
        assert candidate.latency == pytest.approx(alone.latency)
        assert candidate.interval == pytest.approx(alone.interval)
        assert candidate.area == pytest.approx(alone.area)
        assert (candidate.array_cycles, candidate.conversions) == (alone.reads, alone.conversions)
        assert costing.priced(costing.candidate(entries[index])) == candidate


def test_a_weight_that_runs_twice_costs_its_cycles_twice_and_its_arrays_once():
    first = ConvShape("conv", 8, 8, (3, 3), (8, 8))
    second = replace(first, name="conv#2", weight="conv")
    last = ConvShape("last", 8, 8, (1, 1), (1, 1))
    costs = []
    for layers in ((first, last), (first, second, last)):
        network = Network("net", (8, 8, 8), layers)
        slots = layer_slots(network, ARRAY, 4)
        costing = Costing.of(network, dense_network(network, ARRAY, slots), load_table("rram-22nm"))
        costs.append(costing.candidate(slots[0].entry, [ENERGY]))
    once, twice = costs
    assert twice.cycles == 2 * once.cycles
    assert twice.arrays == once.arrays
    assert twice.energy == pytest.approx(2 * once.energy)
    assert twice.interval == pytest.approx(2 * once.interval)
    assert twice.area == once.area


def test_a_network_without_convolutions_is_refused():
    linear = Network("net", (4, 1, 1), (ConvShape("fc", 4, 4, (1, 1), (1, 1), kind="linear"),))
    with pytest.raises(InputError, match="nothing to plan"):
        Costing.of(linear, dense_network(linear, ARRAY, layer_slots(linear, ARRAY)), load_table("rram-22nm"))
