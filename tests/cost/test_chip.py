"""A chip of P arrays: exact intervals, one array is the network's cycles, more arrays never hurt."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost import network_cycles
from rankfold.cost.chip import Chip, _copies, _least_time, _makespan, _time, schedule, schedule_stages
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.plan import uniform_plan
from rankfold.workload import ConvShape, zoo_network

LOADS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=3)


@given(LOADS, st.integers(0, 8))
def test_time_with_copies_is_the_least(loads, more):
    """Against every number of copies of every tile."""
    arrays = sum(tiles for tiles, _ in loads) + more
    jobs = [times for tiles, times in loads for _ in range(tiles)]
    best = min(
        max(-(-times // number) for times, number in zip(jobs, copies, strict=True))
        for copies in itertools.product(range(1, more + 2), repeat=len(jobs))
        if sum(copies) <= arrays
    ) if (more + 1) ** len(jobs) < 20000 else None  # fmt: skip
    if best is not None:
        assert _least_time(loads, arrays) == best


@given(LOADS, st.integers(1, 12))
def test_makespan_lies_between_the_bound_and_grahams_ratio(loads, arrays):
    jobs = [times for tiles, times in loads for _ in range(tiles)]
    found = _makespan(loads, arrays)
    if len(jobs) <= arrays:
        assert found <= max(jobs)
        return
    bound = max(-(-sum(jobs) // arrays), max(jobs))
    assert bound <= found <= sum(jobs)
    if len(set(jobs)) == 1:
        assert found == -(-len(jobs) // arrays) * jobs[0]
    if len(jobs) <= 6:
        best = min(
            max(sum(t for t, a in zip(jobs, placed, strict=True) if a == array) for array in range(arrays))
            for placed in itertools.product(range(min(arrays, 4)), repeat=len(jobs))
        ) if arrays <= 4 else bound  # fmt: skip
        assert best <= found <= 4 / 3 * best + max(jobs)


@given(st.lists(LOADS, min_size=1, max_size=4), st.integers(0, 60))
def test_copies_reach_the_interval_within_the_arrays(stages, more):
    arrays = sum(tiles for stage in stages for tiles, _ in stage) + more
    copies = _copies(stages, arrays)
    used = sum(t * k for stage, each in zip(stages, copies, strict=True) for (t, _), k in zip(stage, each, strict=True))
    assert used <= arrays
    every = [load for stage in stages for load in stage]
    assert max(_time(stage, each) for stage, each in zip(stages, copies, strict=True)) == _least_time(every, arrays)


def test_by_hand():
    """Two layers of one tile each, 64 and 16 activations. 5 arrays: 4 copies of the first, 16 cycles each, then 16."""
    stages = [map_layer(ConvShape("a", 1, 4, (1, 1), (8, 8)), ArraySpec(1, 4), "im2col"),
              map_layer(ConvShape("b", 1, 4, (1, 1), (4, 4)), ArraySpec(1, 4), "im2col")]  # fmt: skip
    found = schedule_stages(stages, Chip(ArraySpec(1, 4), 5))
    assert (found.case, found.tiles, found.interval, found.latency, found.copies) == ("copies", 2, 16, 32, ((4,), (1,)))
    alone = schedule_stages(stages, Chip(ArraySpec(1, 4), 2))
    assert (alone.interval, alone.latency, alone.rewriting_latency) == (64, 80, 32 + 8)
    small = schedule_stages(stages, Chip(ArraySpec(1, 4), 1))
    assert (small.case, small.interval, small.latency) == ("rewrite", None, None)
    assert (small.rewriting_latency, small.rewrites, small.rewrites_at_least) == (80, 2, 2)


def test_tiles_that_share_an_array_take_turns():
    """Two tiles of 2x2 fit diagonally into one 4x4 array: 9 + 4 activations, one after the other."""
    stages = [map_layer(ConvShape("a", 2, 2, (1, 1), (3, 3)), ArraySpec(4, 4), "im2col"),
              map_layer(ConvShape("b", 2, 2, (1, 1), (2, 2)), ArraySpec(4, 4), "im2col")]  # fmt: skip
    found = schedule_stages(stages, Chip(ArraySpec(4, 4), 1))
    assert (found.case, found.packing.arrays, found.interval, found.latency) == ("shared", 1, 13, 13)


@settings(max_examples=30)
@given(st.sampled_from(["resnet8", "resnet20"]), st.sampled_from(["32x32", "128x128"]), st.integers(1, 900))
def test_more_arrays_never_hurt(name, array, arrays):
    network = zoo_network(name)
    costs = network_cycles(network, uniform_plan(network, ArraySpec.parse(array), 4, "1/4", mapping="best"))
    one, some, more = (schedule(costs, number) for number in (1, arrays, arrays + 50))
    assert one.rewriting_latency == costs.chosen_cycles
    assert more.rewriting_latency <= some.rewriting_latency <= one.rewriting_latency
    assert some.rewriting_latency >= -(-costs.chosen_cycles // arrays)
    assert more.rewrites_at_least <= some.rewrites_at_least <= some.rewrites
    assert some.tiles == sum(stage.tile_count for layer in costs.layers for stage in layer.stages)
    if some.interval is not None:
        assert more.interval <= some.interval <= some.latency <= costs.chosen_cycles
        assert some.interval >= -(-costs.chosen_cycles // arrays)


def test_what_is_refused():
    for arrays in (0, -1, 2.5, 1 << 21):
        with pytest.raises(InputError, match=r"arrays \(="):
            Chip(ArraySpec(8, 8), arrays)
