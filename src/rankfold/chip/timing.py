"""When everything happens: the interval between images, an image's way through the chip, and what waits in
buffers.

**Interval.** Every part of the chip does its work for an image in each interval, so that none can be shorter
than the work of the busiest part: the arrays of a task, the digital units of a core, its buffer, a link. The
interval is the largest of these.

**Schedule.** All images are alike, one begun an interval after the other. Bundle b of a task begins when the
bundle before it has left the arrays and the rows that it needs have come; so its end is

    e(b) = max(e(b - 1), a(n(b))) + t,

with t the time that arrays take for a bundle and a(n) the arrival of the n-th row of the source. A task must
not begin an image before it is done with the one before: e(last) - t(first) <= interval; where its sources
are slow, its first bundles wait. As its arrays work no longer than an interval, this delays no end of the
image: from a first bundle at e(last) - interval, all of them done without a pause are done by e(last).

**Buffers.** A row is given its place when the bundle of it begins to be made, and frees it when no bundle of
the reader needs it any more. The largest number of rows that have a place at once, of all images on their
way, is what the buffer has to hold. With these places the schedule can be kept, and so tasks that begin as
soon as they can, in a chip without waits for links and units, are never later (the times of a marked graph
rise with those that they depend on). The image itself waits for nothing: its rows come as late as those that
read them can stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.chip.graph import Reading, Task, TaskGraph
from rankfold.chip.lodging import bytes_held
from rankfold.chip.placement import Placement
from rankfold.chip.traffic import THE_BUS, Reader, Traffic, Way
from rankfold.machine import ChipSpec

ARRAYS, UNITS, BUFFER, LINKS = "arrays", "digital units", "buffer", "interconnect"
MEMORY = "off-chip memory"


@dataclass(frozen=True)
class Work:
    """The busiest part of one sort for an image.

    Attributes:
        part: `arrays`, `digital units`, `buffer`, `interconnect` or `off-chip memory`.
        where: which one: a layer, a core, a link.
        time: ns that it works.
    """

    part: str
    where: str
    time: float


@dataclass(frozen=True)
class TaskTimes:
    """When the bundles of a task are made, of an image that is begun at 0; ns.

    Attributes:
        begins: (b,) when their arrays begin.
        leaves: (b,) when they leave the arrays.
        ends: (b,) when their rows are made, after partial sums were passed on and digital units.
    """

    begins: np.ndarray
    leaves: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Timing:
    """The schedule of a network on a chip.

    Attributes:
        work: the busiest part of each sort.
        tasks: of each task, when it works.
        rows: of each task, for each of its readings, rows that the buffer has to hold.
        buffers: bytes that the buffer of each core has to hold.
    """

    work: tuple[Work, ...]
    tasks: tuple[TaskTimes, ...]
    rows: tuple[tuple[int, ...], ...]
    buffers: dict[int, float]

    @property
    def limit(self) -> Work:
        """What sets the interval."""
        return max(self.work, key=lambda work: work.time)

    @property
    def interval(self) -> float:
        """ns between images."""
        return self.limit.time

    @property
    def latency(self) -> float:
        """ns from an image's coming to the last value that it becomes.

        The longest chain of bundles that wait for each other, or, if that is longer, the work of the busiest
        part for the image: no schedule is faster than either.
        """
        chain = max(float(times.ends[-1]) for times in self.tasks)
        return max(chain, self.interval)


def timing(
    graph: TaskGraph, placement: Placement, traffic: Traffic, chip: ChipSpec, read_time: float
) -> Timing:
    """The schedule.

    Args:
        graph: the network.
        placement: where it is.
        traffic: what it sends.
        chip: the chip.
        read_time: ns of an activation of an array.
    """
    steps = [Step.of(graph, placement, index, chip, read_time) for index in range(len(graph.tasks))]
    work = _work(graph, placement, traffic, chip, steps)
    interval = max(part.time for part in work)
    times: list[TaskTimes] = []
    for index, task in enumerate(graph.tasks):
        arrivals = []
        for number, reading in enumerate(task.reads):
            come = arrival(graph, placement, traffic, chip, times[reading.source], (index, number))
            # The first windows of a plane may lie in its padding, and need nothing.
            arrivals.append(np.where(reading.needed > 0, come[reading.needed - 1], 0.0))
        summed = sending(traffic.sums[index], task.bundles, chip)
        times.append(_times(task, steps[index], arrivals, interval, summed))
    times[0] = _just_in_time(graph, placement, traffic, chip, times, interval)
    rows = []
    for index, task in enumerate(graph.tasks):
        rows.append(tuple(_rows_waiting(graph, reading, times, index, interval) for reading in task.reads))
    held = bytes_held(graph, placement, rows, traffic.lodgings)
    return Timing(tuple(work), tuple(times), tuple(rows), held)


@dataclass(frozen=True)
class Step:
    """What a bundle of a task takes.

    Attributes:
        arrays: ns of its arrays.
        units: ns of the digital units of the core that has most of it; of the input, in which it comes from
            memory.
        driven: ns in which the busiest of their buffers gives what is driven, while arrays work.
    """

    arrays: float
    units: float
    driven: float

    @classmethod
    def of(cls, graph: TaskGraph, placement: Placement, index: int, chip: ChipSpec, read_time: float) -> Step:
        """Of one task; all its bundles are taken to be alike."""
        task = graph.tasks[index]
        busiest = 0
        for (_, times), copies in zip(task.matrices, placement.copies[index], strict=True):
            busiest = max(busiest, -(-times // copies))
        largest = max(part.share for part in placement.parts[index])
        units = largest * task.operations / chip.cores.rate
        if not task.reads and chip.memory is not None:
            units = task.made_bits / chip.memory.rate
        driven = largest * task.driven / chip.buffer.rate
        bundles = task.bundles
        return cls(busiest * read_time / bundles, units / bundles, driven / bundles)

    @property
    def held(self) -> float:
        """ns until the next bundle can begin: arrays and buffers work side by side."""
        return max(self.arrays, self.driven)


def arrival(
    graph: TaskGraph, placement: Placement, traffic: Traffic, chip: ChipSpec, source: TaskTimes, at: Reader
) -> np.ndarray:
    """(rows,) when each row of a source is where it is read, if nothing else is sent; ns.

    Args:
        graph: the network.
        placement: where it is.
        traffic: what it sends.
        chip: the chip.
        source: when the source is made.
        at: who reads it, and which of its readings it is.
    """
    reader, number = at
    task = graph.tasks[graph.tasks[reader].reads[number].source]
    on_the_way = _until_there(graph, placement, traffic, chip, at)
    return np.asarray(source.ends[task.bundle_of_row] + on_the_way)


def _until_there(
    graph: TaskGraph, placement: Placement, traffic: Traffic, chip: ChipSpec, at: Reader
) -> float:
    """ns from when a bundle is made to when it is where it is read; arguments as `arrival`."""
    reader, number = at
    source = graph.tasks[reader].reads[number].source
    bundles = graph.tasks[source].bundles
    ways = () if graph.added_in_place(reader, number) else traffic.maps[source]
    there, back = traffic.aside.get(at, ((), ()))
    sent = sum(sending(each, bundles, chip) for each in (ways, there, back))
    return sent + storing(graph, placement, chip, at)


def sending(ways: Sequence[Way], bundles: int, chip: ChipSpec) -> float:
    """ns that a bundle is on its ways."""
    rate, latency = chip.interconnect.rate, chip.interconnect.latency
    return max((way.most / bundles / rate + way.hops * latency for way in ways), default=0.0)


def storing(graph: TaskGraph, placement: Placement, chip: ChipSpec, at: Reader) -> float:
    """ns in which a bundle of what is read is written to the buffer of the core that needs most of it."""
    reader, number = at
    reading = graph.tasks[reader].reads[number]
    most = max(part.needs for part in placement.parts[reader])
    return most * reading.bits / graph.tasks[reading.source].bundles / chip.buffer.rate


def _just_in_time(
    graph: TaskGraph,
    placement: Placement,
    traffic: Traffic,
    chip: ChipSpec,
    times: Sequence[TaskTimes],
    interval: float,
) -> TaskTimes:
    """When the rows of the image come, as late as nobody waits for them; within an interval, as they come one
    after another, and the next image is not begun before. Arguments as `timing`, with all times so far.
    """
    task, soonest = graph.tasks[0], times[0]
    each = float(soonest.ends[0] - soonest.begins[0])
    latest = np.full(task.bundles, np.inf)
    for reader, number in graph.readers[0]:
        needs = graph.tasks[reader].reads[number].needed
        begins = times[reader].begins - _until_there(graph, placement, traffic, chip, (reader, number))
        needed = needs > 0
        # Row r is needed by the first bundle that needs more than r rows, and by all behind it.
        np.minimum.at(latest, needs[needed] - 1, begins[needed])
    after = np.arange(task.bundles)[::-1] * each  # until the last row comes, without a pause
    ends = np.minimum.accumulate((latest + after)[::-1])[::-1] - after
    ends = np.minimum(ends, ends[0] - each + interval - after)
    ends = np.maximum(ends, soonest.ends)
    return TaskTimes(ends - each, ends, ends)


def _times(task: Task, step: Step, arrivals: list[np.ndarray], interval: float, summed: float) -> TaskTimes:
    ready = np.zeros(task.bundles)
    for each in arrivals:
        ready = np.maximum(ready, each)
    # Units that work for nothing else take one bundle after another; those behind arrays are only passed.
    alone = step.held
    if task.arrays is None:
        alone = max(step.units, step.driven)
    leaves = _one_by_one(ready, alone)
    # Not before the image before is done with.
    first = leaves[-1] - interval
    if leaves[0] - alone < first:
        ready[0] = max(ready[0], first)
        leaves = _one_by_one(ready, alone)
    ends = leaves
    if task.arrays is not None:
        ends = leaves + step.units
    return TaskTimes(leaves - alone, leaves, ends + summed)


def _one_by_one(ready: np.ndarray, time: float) -> np.ndarray:
    """e(b) = max(e(b - 1), ready(b)) + t: the largest of ready(c) + (b - c + 1) t over all c up to b."""
    steps = np.arange(len(ready)) * time
    return np.asarray(np.maximum.accumulate(ready - steps) + steps + time)


def _work(
    graph: TaskGraph, placement: Placement, traffic: Traffic, chip: ChipSpec, steps: list[Step]
) -> list[Work]:
    """The busiest part of each sort."""
    arrays: dict[int, float] = defaultdict(float)
    units: dict[int, float] = defaultdict(float)
    buffers: dict[int, float] = defaultdict(float)
    for index, task in enumerate(graph.tasks):
        if task.arrays is not None:
            arrays[task.arrays] += steps[index].held * task.bundles
        written = sum(reading.bits for reading in task.reads)
        for part in placement.parts[index]:
            units[part.core] += part.share * task.operations / chip.cores.rate
            buffers[part.core] += (part.needs * written + part.share * task.driven) / chip.buffer.rate
    for one in traffic.lodgings:
        bits = one.share * graph.tasks[one.reader].reads[one.number].bits
        buffers[one.host] += 2 * bits / chip.buffer.rate  # written there, and read again
    busiest = max(arrays, key=arrays.__getitem__)
    layer = graph.tasks[graph.on_arrays[busiest][0]].name
    core = max(units, key=units.__getitem__)
    full = max(buffers, key=buffers.__getitem__)
    work = [
        Work(ARRAYS, layer, arrays[busiest]),
        Work(UNITS, f"core {core}", units[core]),
        Work(BUFFER, f"core {full}", buffers[full]),
    ]
    if chip.memory is not None:
        work.append(Work(MEMORY, "the image", graph.tasks[0].made_bits / chip.memory.rate))
    load = traffic.load
    if load:
        link = max(load, key=load.__getitem__)
        where = "bus"
        if link != THE_BUS:
            where = "link from {},{} to {},{}".format(*link[0], *link[1])
        work.append(Work(LINKS, where, load[link] / chip.interconnect.rate))
    return work


def _rows_waiting(
    graph: TaskGraph, reading: Reading, times: list[TaskTimes], reader: int, interval: float
) -> int:
    """The most rows of a source that have a place in the buffer of a reader at once."""
    taken, freed = graph.tasks[reading.source].taken, reading.freed
    begins, leaves = times[reading.source].begins, times[reader].leaves
    # Images that are on their way at once: from the first row that is made to the last that is freed.
    images = int((leaves[-1] - begins[0]) // interval) + 2
    offsets = interval * np.arange(images)[:, None]
    # What is freed at the very time at which a place is taken can be taken: it stands before it, and stays.
    when = np.concatenate([(leaves + offsets).ravel(), (begins + offsets).ravel()])
    change = np.concatenate([-freed] * images + [taken] * images)
    return int(change[when.argsort(kind="stable")].cumsum().max())
