"""The analytical schedule of a chip, against the same schedule executed event by event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from common.chips import chip, chips, networks, without_waits
from rankfold.chip.best import run_on_chip
from rankfold.chip.events import execute
from rankfold.chip.lodging import by_reading, bytes_held
from rankfold.chip.run import ChipRun
from rankfold.chip.study import ChipStudy
from rankfold.errors import InputError, RankfoldError
from rankfold.machine import ChipSpec, load_chip
from rankfold.plan import uniform_plan
from rankfold.workload import Network, zoo_network

EXAMPLES = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def staying(network: Network, described: ChipSpec) -> ChipRun | None:
    """The network on all arrays of a chip; None: it is too large."""
    plan = uniform_plan(network, described.hardware.array, bits=4)
    study = ChipStudy(network, plan, described, choose_mappings=True)
    try:
        return study.staying(described.arrays)
    except InputError:
        return None


@given(networks(), chips())
@EXAMPLES
def test_without_waits_the_executed_schedule_is_the_predicted_one(
    network: Network, described: ChipSpec
) -> None:
    run = staying(network, without_waits(described))
    if run is None:
        return
    assert 1e3 * run.latency == pytest.approx(execute(run, 1).latency, rel=1e-6)
    # Once the chip is full an image leaves it in every interval.
    ends = execute(run, 6).ends
    assert ends[-1] - ends[-2] == pytest.approx(1e3 * run.interval, rel=1e-3)


@given(networks(), chips())
@EXAMPLES
def test_with_waits_it_keeps_the_stated_bounds(network: Network, described: ChipSpec) -> None:
    run = staying(network, described)
    if run is None:
        return
    assert run.pipeline is not None
    images = 5
    many, one = execute(run, images), execute(run, 1)
    interval, latency = 1e3 * run.interval, 1e3 * run.latency
    # Nothing is faster than its busiest part, or than the longest chain of what waits for each other; and
    # waiting takes no more than that again (docs/chips.md).
    assert latency * (1 - 1e-9) <= one.latency <= 2 * latency
    whole = latency + (images - 1) * interval
    assert images * interval * (1 - 1e-9) <= many.whole <= 2 * whole
    # What is sent is what was counted, link by link, and no buffer holds more than it has room for.
    assert many.load == pytest.approx(run.pipeline.traffic.load)
    for fullest, rows in zip(many.fullest, run.pipeline.timing.rows, strict=True):
        assert all(most <= held for most, held in zip(fullest, rows, strict=True))


@given(networks(), chips())
@settings(EXAMPLES, max_examples=12)
def test_rows_wait_in_other_cores_where_their_own_has_no_room(network: Network, described: ChipSpec) -> None:
    whole = staying(network, described)
    if whole is None:
        return
    assert whole.pipeline is not None and not whole.pipeline.traffic.lodgings
    needed = max(whole.pipeline.timing.buffers.values())
    small = replace(described, buffer=replace(described.buffer, size=max(int(0.8 * needed), 1)))
    run = staying(network, small)
    if run is None:
        return  # all of it is in use, or there is no room anywhere
    assert run.pipeline is not None
    pipeline = run.pipeline
    assert pipeline.traffic.lodgings
    assert max(pipeline.timing.buffers.values()) <= small.buffer.size * (1 + 1e-6)
    # What one core is spared another one holds, and nobody lodges more than it needs.
    alone = bytes_held(run.graph, pipeline.placement, pipeline.timing.rows)
    assert sum(pipeline.timing.buffers.values()) == pytest.approx(sum(alone.values()))
    for at, those in by_reading(pipeline.traffic.lodgings).items():
        for part in pipeline.placement.parts[at[0]]:
            assert sum(one.share for one in those if one.core == part.core) <= part.needs * (1 + 1e-9)
    many, one = execute(run, 4), execute(run, 1)
    assert many.load == pytest.approx(pipeline.traffic.load)
    assert 1e3 * run.latency * (1 - 1e-9) <= one.latency <= 2 * 1e3 * run.latency
    assert many.whole >= 4 * 1e3 * run.interval * (1 - 1e-9)


def test_the_image_comes_as_late_as_its_readers_can_stand() -> None:
    described = without_waits(chip(cores=16, arrays=32))
    run = staying(zoo_network("resnet8"), described)
    assert run is not None and run.pipeline is not None
    reader, number = run.graph.readers[0][0]
    rows, reading = run.pipeline.timing.rows[reader][number], run.graph.tasks[reader].reads[number]
    # Of the whole image little more than a window of rows waits.
    assert rows < reading.rows / 2


def test_resnet20_is_executed_as_predicted() -> None:
    network = zoo_network("resnet20")
    described = load_chip("rram-22nm")
    run = run_on_chip(network, uniform_plan(network, described.hardware.array, bits=4), described)
    one = execute(run, 1)
    # docs/chips.md states these bounds.
    assert 1.0 <= one.latency / (1e3 * run.latency) <= 1.3


def test_a_buffer_that_is_too_small_halts_the_schedule_and_is_named() -> None:
    network = zoo_network("resnet8")
    run = staying(network, chip(cores=16, arrays=32))
    assert run is not None and run.pipeline is not None
    rows = tuple(tuple(max(held - 2, 1) for held in readings) for readings in run.pipeline.timing.rows)
    timing = replace(run.pipeline.timing, rows=rows)
    with pytest.raises(RankfoldError, match="came to a halt: a buffer is too small"):
        execute(replace(run, pipeline=replace(run.pipeline, timing=timing)), 1)
