"""Candidates: what a layer may become, what it costs, and which need not be looked at."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.lowrank import decompose, reconstruct
from rankfold.mapping import ArraySpec
from rankfold.plan import DENSE, LOW_RANK, PLAIN, PRUNED, SUPPORT, LayerPlan, check_plan, support_to_text
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    Candidate,
    holds,
    structure_in_words,
    without_hopeless,
)
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.entries import dense_network, layer_entries, layer_slots
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(64, 64)
SHAPE = ConvShape("layer", 4, 8, (3, 3), (6, 6), padding=(1, 1, 1, 1))


def nested(channels, positions, seed, shared=False):
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(positions) for _ in range(1 if shared else channels)])
    ranks = np.broadcast_to(np.argsort(order, axis=1), (channels, positions))
    return {entries: ranks < entries for entries in range(1, positions + 1)}


def entries_of(slot, seed=0):
    shape = slot.shape
    if not slot.spatial:
        return list(layer_entries(slot, ()))
    sizes = shape.in_channels, shape.kernel[0] * shape.kernel[1], seed
    return list(layer_entries(slot, [nested(*sizes), nested(*sizes, shared=True)]))


def test_every_candidate_is_a_plan_that_the_network_can_follow():
    """And costs what `rankfold map` and `rankfold energy` count for it."""
    network = zoo_network("resnet20")
    slots = layer_slots(network, 4)
    dense = dense_network(network, ARRAY, slots)
    table = load_table("rram-22nm")
    costing = Costing.of(network, dense, table)
    at = [slot.entry.name for slot in slots].index("layer2.0.conv1")
    entries = entries_of(slots[at])
    assert len(set(entries)) == len(entries) > 150
    rng = np.random.default_rng(1)
    for index in [0, 1, 2, 3, *rng.choice(len(entries), 12, replace=False)]:
        found = costing.candidate(entries[index], energy=True)
        plan = replace(dense, layers=(*dense.layers[:at], entries[index], *dense.layers[at + 1 :]))
        check_plan(plan, network)
        cycles = next(layer for layer in network_cycles(network, plan).layers if layer.shape.name == "layer2.0.conv1")
        energy = next(layer for layer in network_energy(network, plan, table).layers if layer.shape.name == "layer2.0.conv1")
        assert found.cycles == cycles.chosen_cycles
        assert found.arrays == sum(stage.tile_count for stage in cycles.stages)
        assert found.weights == cycles.parameters
        assert found.energy == pytest.approx(energy.energy)
        assert costing.with_energy(costing.candidate(entries[index])) == found


def test_layers_that_stay_dense():
    slots = {slot.entry.name: slot for slot in layer_slots(zoo_network("resnet20"), 4)}
    for name, why in (("conv1", "first convolution"), ("fc", "classifier")):
        assert slots[name].why_dense == why
        assert slots[name].entry.weight_bits == 8
        assert {entry.kind for entry in entries_of(slots[name])} == {DENSE}
    narrow = Network("net", (3, 8, 8), (
        ConvShape("first", 3, 8, (3, 3), (8, 8)), ConvShape("depthwise", 8, 8, (3, 3), (6, 6), groups=8),
        ConvShape("point", 8, 16, (1, 1), (4, 4)), ConvShape("last", 16, 2, (3, 3), (4, 4)),
    ))  # fmt: skip
    assert [bool(slot.why_dense) for slot in layer_slots(narrow)] == [True, True, True, False]
    point = layer_slots(narrow, pointwise=True)[2]
    assert not point.why_dense and not point.spatial
    assert {entry.kind for entry in entries_of(point)} == {DENSE, LOW_RANK}
    assert {(entry.groups, entry.rank) for entry in entries_of(point) if entry.kind == LOW_RANK} == {
        (1, 8), (1, 4), (1, 2), (1, 1), (2, 4), (2, 2), (2, 1), (4, 2), (4, 1), (8, 1),
    }  # fmt: skip
    with pytest.raises(InputError, match="bits"):
        layer_slots(narrow, bits=9)


def test_a_weight_that_runs_twice_costs_its_cycles_twice_and_its_arrays_once():
    once = ConvShape("conv", 8, 8, (3, 3), (8, 8))
    twice = Network(
        "net", (8, 8, 8), (once, replace(once, name="conv#2", weight="conv"), ConvShape("last", 8, 8, (1, 1), (1, 1)))
    )
    costs = []
    for network in (Network("net", (8, 8, 8), (once, twice.layers[2])), twice):
        slots = layer_slots(network, 4)
        costs.append(
            Costing.of(network, dense_network(network, ARRAY, slots), load_table("rram-22nm")).candidate(slots[0].entry, True)
        )
    assert costs[1].cycles == 2 * costs[0].cycles
    assert costs[1].arrays == costs[0].arrays
    assert costs[1].energy == pytest.approx(2 * costs[0].energy)
    linear = Network("net", (4, 1, 1), (ConvShape("fc", 4, 4, (1, 1), (1, 1), kind="linear"),))
    with pytest.raises(InputError, match="nothing to plan"):
        Costing.of(linear, dense_network(linear, ARRAY, layer_slots(linear)), load_table("rram-22nm"))


def weight_of(entry, rng):
    """A random weight that the entry can hold."""
    mask = np.ones((4, 9), bool)
    if entry.support is not None:
        mask = np.array([[int(word, 16) >> bit & 1 for bit in range(9)] for word in entry.support.split(" ")], bool)
    weight = rng.normal(size=(8, 4, 3, 3)) * mask.reshape(4, 3, 3)
    if entry.groups is None:
        return weight
    return reconstruct(decompose(weight, 1, entry.groups, entry.rank), 1, entry.groups)


def can_be(entry, weight):
    """Whether the entry can hold a weight, seen from its ranks and zeros."""
    if entry.support is not None:
        words = entry.support.split(" ")
        if any(
            np.abs(weight[:, c, p // 3, p % 3]).max() > 1e-12
            for c in range(4)
            for p in range(9)
            if not int(words[c], 16) >> p & 1
        ):
            return False
    if entry.groups is None:
        return True
    blocks = np.split(weight.reshape(8, -1), entry.groups, axis=1)
    return all(np.linalg.matrix_rank(block) <= entry.rank for block in blocks)


SLOT = layer_slots(
    Network("net", (4, 6, 6), (ConvShape("first", 4, 4, (3, 3), (6, 6)), SHAPE, ConvShape("z", 8, 8, (1, 1), (1, 1))))
)[1]
ENTRIES = [entry for entry in entries_of(SLOT) if entry.mapping in ("sdk",)]


@given(st.sampled_from(ENTRIES), st.sampled_from(ENTRIES), st.integers(0, 99))
def test_what_is_said_to_hold_does(entry, other, seed):
    weight = weight_of(other, np.random.default_rng(seed))
    assert can_be(other, weight)
    if holds(entry, other):
        assert can_be(entry, weight)


def test_what_does_not_hold():
    """Random weights of one kind are not of another: neither more ranks, nor other positions, nor fewer blocks."""
    free = support_to_text(nested(4, 9, 0)[3])
    wide = support_to_text(nested(4, 9, 0)[5])
    dense = SLOT.entry
    low_rank = replace(dense, kind=LOW_RANK, groups=1, rank=1, mapping="sdk")
    support = replace(dense, kind=PRUNED, pruning=SUPPORT, steering=PLAIN, entries=3, support=free, mapping="sdk")
    for entry, other in (
        (replace(low_rank, groups=1, rank=2), dense),
        (replace(low_rank, groups=1, rank=2), replace(low_rank, groups=1, rank=4)),
        (replace(low_rank, groups=2, rank=2), replace(low_rank, groups=4, rank=2)),
        (replace(low_rank, groups=4, rank=1), replace(low_rank, groups=2, rank=2)),
        (support, dense),
        (support, replace(support, entries=5, support=wide)),
        (support, replace(low_rank, groups=1, rank=2)),
        (replace(low_rank, groups=1, rank=2), support),
        (replace(low_rank, groups=1, rank=2, entries=3, support=free), replace(low_rank, groups=1, rank=2)),
    ):
        assert not holds(entry, other)
        assert not can_be(entry, weight_of(other, np.random.default_rng(0)))
    assert holds(replace(low_rank, groups=4, rank=2), replace(low_rank, groups=2, rank=1))
    assert holds(replace(support, entries=5, support=wide), replace(low_rank, groups=1, rank=2, entries=3, support=free))
    assert not holds(replace(support, support=None), support)


@given(st.lists(st.tuples(st.sampled_from(ENTRIES), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_something_that_holds_and_costs_no_more_is_always_left(drawn):
    candidates = [Candidate(entry, cycles, arrays, None, 1) for entry, cycles, arrays in drawn]
    for budgeted in ((CYCLES,), (CYCLES, ARRAYS)):
        left = without_hopeless(candidates, budgeted)
        for candidate in candidates:
            assert any(
                holds(other.entry, candidate.entry) and all(other.cost(name) <= candidate.cost(name) for name in budgeted)
                for other in left
            )
        for one in left:
            assert not any(
                holds(other.entry, one.entry) and all(other.cost(name) < one.cost(name) for name in budgeted) for other in left
            )


def test_of_equal_candidates_the_one_with_fewer_arrays_stays():
    same = [Candidate(replace(SLOT.entry, mapping=mapping), 5, arrays, None, 1) for mapping, arrays in (("best", 4), ("sdk", 3))]
    assert without_hopeless(same, (CYCLES,)) == (same[1],)
    assert without_hopeless(same[::-1], (CYCLES,)) == (same[1],)
    with pytest.raises(InputError, match="energy was not counted"):
        without_hopeless(same, (ENERGY,))


def test_structures_in_words():
    free = support_to_text(nested(4, 9, 0)[4])
    shared = support_to_text(nested(4, 9, 0, shared=True)[4])
    for entry, words in (
        (LayerPlan("a", DENSE), "dense"),
        (LayerPlan("a", LOW_RANK, 4, 8), "g4 r8"),
        (LayerPlan("a", LOW_RANK, 4, 8, entries=4, support=free), "g4 r8 e4"),
        (LayerPlan("a", PRUNED, pruning=SUPPORT, steering=PLAIN, entries=4, support=shared), "e4*"),
    ):
        assert structure_in_words(entry) == words
