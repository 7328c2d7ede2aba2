"""Weights that are written anew: copies against brute force, schedules that can be, and what is counted."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost.makespan import makespan
from rankfold.cost.rewriting import Job, _copied, _fewest_copies, rewriting
from rankfold.cost.stored import StoredStage, Tiles

JOBS = st.builds(Job, st.integers(1, 3), st.integers(1, 40), st.integers(0, 9), st.integers(1, 50))
SIZES = st.tuples(st.tuples(st.integers(1, 8), st.integers(1, 8)), st.integers(1, 4))
STAGES = st.lists(
    st.lists(
        st.builds(
            Tiles,
            st.lists(
                st.tuples(st.tuples(st.integers(1, 8), st.integers(1, 8)), st.integers(1, 4)), min_size=1
            ),
            st.integers(1, 60),
        ),
        min_size=1,
        max_size=2,
    ),
    min_size=1,
    max_size=4,
)


def made(stages):
    return [StoredStage(f"layer{number}", tuple(tiles)) for number, tiles in enumerate(stages)]


@given(JOBS, st.integers(1, 80))
def test_the_fewest_copies_of_a_tile(job, cycles):
    fitting = [k for k in range(1, 60) if k * job.write + math.ceil(job.times / k) <= cycles]
    assert _fewest_copies(job, cycles) == (min(fitting) if fitting else 0)


@given(st.lists(JOBS, min_size=1, max_size=3), st.integers(0, 6))
def test_copies_take_the_least_time(jobs, more):
    """Against every number of copies: k*w cycles to write them, and the n activations divided among them."""
    arrays = sum(job.tiles for job in jobs) + more
    best = math.inf
    for copies in itertools.product(range(1, more + 2), repeat=len(jobs)):
        if sum(job.tiles * number for job, number in zip(jobs, copies, strict=True)) <= arrays:
            times = [
                number * job.write + math.ceil(job.times / number)
                for job, number in zip(jobs, copies, strict=True)
            ]
            best = min(best, max(times))
    cycles, copies = _copied(jobs, arrays)
    assert cycles == best
    assert sum(job.tiles * number for job, number in zip(jobs, copies, strict=True)) <= arrays


@settings(max_examples=40)
@given(STAGES, st.integers(1, 30), st.floats(0, 20))
def test_what_is_written_and_how_long_it_takes(stages, arrays, row_write):
    stages = made(stages)
    tiles = sum(alike.count for stage in stages for alike in stage.tiles)
    found = rewriting(stages, arrays, row_write, reference=1)
    free = rewriting(stages, arrays)
    assert free.latency == sum(makespan(stage.loads, arrays) for stage in stages)
    assert free.writing == free.kept == 0
    assert 0 <= found.writing < found.latency
    assert found.written >= tiles - found.kept
    # All that do not stay are written; at least as many as cannot stay beside one array for the others.
    assert found.kept <= max(0, arrays - 1)
    if tiles > arrays:
        assert tiles - found.kept >= tiles - arrays + 1
    sizes = []
    for stage in stages:
        for alike in stage.tiles:
            for (rows, columns), number in alike.sizes:
                sizes += [rows * (columns + 1)] * number
    assert found.cells >= sum(sorted(sizes)[: tiles - found.kept])


def test_by_hand():
    """Tiles of 2x3 and 10 activations; a row takes 5 cycles to write, so a tile 10."""
    # On 8 arrays two copies of a tile save 5 of 10 cycles and take 10 to write: none are made.
    alone = rewriting([StoredStage("a", (Tiles((((2, 3), 4),), 10),))], 8, 5.0)
    assert (alone.latency, alone.written, alone.writing) == (20, 4, 20 - 5)
    # Where a row takes a cycle, the second copy is worth it: 2*2 + 5 instead of 2 + 10.
    quick = rewriting([StoredStage("a", (Tiles((((2, 3), 4),), 10),))], 8, 1.0)
    assert (quick.latency, quick.written) == (9, 8)
