"""A chip of P arrays: exact intervals, one array is the network's cycles, more arrays never hurt."""

import heapq
import itertools
import math
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost import network_cycles
from rankfold.cost.chip import (
    Chip,
    _held,
    _time,
    copies_of_tiles,
    schedule,
    schedule_stages,
)
from rankfold.cost.makespan import least_makespan, least_time, makespan
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.plan import LowRank, uniform_plan
from rankfold.workload import ConvShape, zoo_network

LOADS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=3)


@given(LOADS, st.integers(0, 8))
def test_time_with_copies_is_the_least(loads, more):
    """Against every number of copies of every tile."""
    arrays = sum(tiles for tiles, _ in loads) + more
    jobs = [times for tiles, times in loads for _ in range(tiles)]
    if (more + 1) ** len(jobs) >= 20000:
        return
    best = math.inf
    for copies in itertools.product(range(1, more + 2), repeat=len(jobs)):
        if sum(copies) <= arrays:
            slowest = max(-(-times // number) for times, number in zip(jobs, copies, strict=True))
            best = min(best, slowest)
    assert least_time(loads, arrays) == best


def longest_first(jobs, arrays):
    busy = [0] * arrays
    for times in sorted(jobs, reverse=True):
        heapq.heapreplace(busy, busy[0] + times)
    return max(busy)


@lru_cache(None)
def brute_makespan(jobs, busy):
    """By trying every array for every job; arrays as busy as another need not be tried."""
    if not jobs:
        return max(busy)
    first, *others = jobs
    return min(
        brute_makespan(tuple(others), tuple(sorted((*busy[:i], busy[i] + first, *busy[i + 1 :]))))
        for i in range(len(busy))
        if i == 0 or busy[i] != busy[i - 1]
    )


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=5), st.integers(1, 12)
)
def test_makespan_is_longest_first_tile_by_tile(loads, arrays):
    jobs = [times for tiles, times in loads for _ in range(tiles)]
    found, bound = makespan(loads, arrays), least_makespan(loads, arrays)
    assert -(-sum(jobs) // arrays) <= bound <= found
    assert makespan(loads, arrays + 1) <= found
    assert least_makespan(loads, arrays + 1) <= bound
    if len(jobs) > arrays:
        assert found == longest_first(jobs, arrays) >= max(jobs)
        if len(set(jobs)) == 1:
            assert found == bound == -(-len(jobs) // arrays) * jobs[0]
    if arrays == 1:
        assert found == sum(jobs)


@given(LOADS, st.integers(1, 5))
def test_makespan_is_near_the_least(loads, arrays):
    """Against every way to give tiles to arrays."""
    jobs = tuple(sorted((times for tiles, times in loads for _ in range(tiles)), reverse=True))
    if len(jobs) > arrays:
        best = brute_makespan(jobs, (0,) * arrays)
        assert least_makespan(loads, arrays) <= best <= makespan(loads, arrays)
        assert 3 * arrays * makespan(loads, arrays) <= (4 * arrays - 1) * best


def test_makespan_by_hand():
    """Three tiles of 3 and two of 2 cycles on two arrays: 3 3, and 3 2 2."""
    assert makespan([(3, 3), (2, 2)], 2) == least_makespan([(3, 3), (2, 2)], 2) == 7


@given(st.lists(LOADS, min_size=1, max_size=4), st.integers(0, 60))
def test_copies_reach_the_interval_within_the_arrays(stages, more):
    arrays = sum(tiles for stage in stages for tiles, _ in stage) + more
    copies = copies_of_tiles(stages, arrays)
    used = sum(_held(stage, each) for stage, each in zip(stages, copies, strict=True))
    assert used <= arrays
    every = [load for stage in stages for load in stage]
    assert least_time(every, arrays) >= -(-sum(tiles * times for tiles, times in every) // arrays)
    # No stage can be made faster with what is left.
    for stage, each in zip(stages, copies, strict=True):
        time = _time(stage, each)
        faster = [
            max(number, -(-times // max(time - 1, 1))) for (_, times), number in zip(stage, each, strict=True)
        ]
        assert time == 1 or used - _held(stage, each) + _held(stage, faster) > arrays
    assert max(_time(stage, each) for stage, each in zip(stages, copies, strict=True)) == least_time(
        every, arrays
    )


def test_by_hand():
    """Two layers of one tile, 64 and 16 activations; with 5 arrays 4 copies of the first, 16 + 16 cycles."""
    first = map_layer(ConvShape("a", 1, 4, (1, 1), (8, 8)), ArraySpec(1, 4), "im2col")
    second = map_layer(ConvShape("b", 1, 4, (1, 1), (4, 4)), ArraySpec(1, 4), "im2col")
    stages = [first, second]
    found = schedule_stages(stages, Chip(ArraySpec(1, 4), 5))
    assert (found.case, found.tiles, found.interval, found.latency, found.copies) == (
        "copies",
        2,
        16,
        32,
        ((4,), (1,)),
    )
    assert (found.interval_at_least, found.rewrites_at_least) == (16, 0)
    alone = schedule_stages(stages, Chip(ArraySpec(1, 4), 2))
    assert (alone.interval, alone.latency, alone.rewriting_latency) == (64, 80, 32 + 8)
    small = schedule_stages(stages, Chip(ArraySpec(1, 4), 1))
    assert (small.case, small.interval, small.latency) == ("rewrite", None, None)
    assert (small.rewriting_latency, small.rewrites, small.rewrites_at_least) == (80, 2, 2)
    assert small.rewriting_latency_at_least == 80


def test_spare_arrays_shorten_the_latency_by_hand():
    """The second stage's ten tiles hold the interval at 5.

    A fourth copy of 9 activations saves nothing, a fifth a cycle.
    """
    assert copies_of_tiles([[(1, 9)], [(10, 5)]], 15) == [[5], [1]]
    # At interval 3 four of ten arrays are spare; two save a cycle of the second stage, and two another one.
    assert copies_of_tiles([[(1, 9), (1, 3)], [(2, 3)]], 10) == [[3, 1], [3]]


def test_tiles_that_share_an_array_take_turns():
    """Two tiles of 2x2 fit diagonally into one 4x4 array: 9 + 4 activations, one after the other."""
    first = map_layer(ConvShape("a", 2, 2, (1, 1), (3, 3)), ArraySpec(4, 4), "im2col")
    second = map_layer(ConvShape("b", 2, 2, (1, 1), (2, 2)), ArraySpec(4, 4), "im2col")
    stages = [first, second]
    found = schedule_stages(stages, Chip(ArraySpec(4, 4), 1))
    assert (found.case, found.packing.arrays, found.interval, found.latency) == ("shared", 1, 13, 13)


@settings(max_examples=30)
@given(st.sampled_from(["resnet8", "resnet20"]), st.sampled_from(["32x32", "128x128"]), st.integers(1, 900))
def test_more_arrays_never_hurt(name, array, arrays):
    network = zoo_network(name)
    method = LowRank(groups=4, rank="1/4", force=True)
    costs = network_cycles(network, uniform_plan(network, ArraySpec.parse(array), method, mapping="best"))
    one, some, more = (schedule(costs, number) for number in (1, arrays, arrays + 50))
    assert one.rewriting_latency == costs.chosen_cycles
    assert more.rewriting_latency <= some.rewriting_latency <= one.rewriting_latency
    assert -(-costs.chosen_cycles // arrays) <= some.rewriting_latency_at_least <= some.rewriting_latency
    assert more.rewrites_at_least <= some.rewrites_at_least <= some.rewrites
    assert some.tiles == sum(stage.tile_count for layer in costs.layers for stage in layer.stages)
    if some.interval is not None:
        assert more.interval <= some.interval <= some.latency <= costs.chosen_cycles
        assert some.interval >= some.interval_at_least == -(-costs.chosen_cycles // arrays)


def test_what_is_refused():
    for arrays in (0, -1, 2.5, 1 << 21):
        with pytest.raises(InputError, match=r"arrays \(="):
            Chip(ArraySpec(8, 8), arrays)
    layer = map_layer(ConvShape("a", 1, 4, (1, 1), (8, 8)), ArraySpec(1, 4), "im2col")
    with pytest.raises(InputError, match=r"layer a: mapped onto arrays of 1x4, but the chip has 4x4"):
        schedule_stages([layer], Chip(ArraySpec(4, 4), 3))
    with pytest.raises(InputError, match=r"stages must hold at least one"):
        schedule_stages([], Chip(ArraySpec(4, 4), 3))
