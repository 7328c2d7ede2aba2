"""The same schedule executed event by event, with everything that waits for everything else.

The analytical model (`timing`) says when bundles are made if nobody waits for a link, a digital unit or a
port of a buffer, and how short the interval can be by the busiest part. Here images go through the chip one
bundle at a time: each waits for the rows that it needs, for a place in the buffer of everybody who reads it,
for its arrays, for the units of its cores, for every link on its way, and for the ports of the buffers where
it is written.
What is waited for is given in the order of asking. A task takes nothing before it has a place for what it
makes, so that nobody holds a part while waiting for a place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.chip.lodging import Lodging, by_reading
from rankfold.chip.run import ChipRun, Pipeline
from rankfold.chip.timing import Step
from rankfold.chip.traffic import Link, Way
from rankfold.errors import InputError, MissingDependencyError, RankfoldError
from rankfold.progress import Progress, Silent

Process = Generator[Any, Any, None]


@dataclass(frozen=True)
class Executed:
    """What was seen.

    Attributes:
        ends: ns at which each image was done.
        load: bits by link for an image.
        fullest: of each task, for each of its readings, the most rows of it that were in the buffer at once.
    """

    ends: tuple[float, ...]
    load: dict[Link, float]
    fullest: tuple[tuple[int, ...], ...]

    @property
    def latency(self) -> float:
        """ns of the first image, which finds the chip empty."""
        return self.ends[0]

    @property
    def whole(self) -> float:
        """ns of all images together."""
        return self.ends[-1]


def execute(run: ChipRun, images: int = 8, progress: Progress | None = None) -> Executed:
    """Run images through a chip, each begun as soon as the first buffer takes it.

    Args:
        run: a network whose weights stay; of its schedule only the places in buffers are taken.
        images: how many; an interval needs three or more.
        progress: hears of each bundle.

    Raises:
        InputError: its weights do not stay, so that no tasks overlap.
        RankfoldError: nothing moves any more before all images are done: the buffers are too small.
        MissingDependencyError: simpy is not installed.
    """
    if run.pipeline is None:
        raise InputError(f"there is no pipeline to execute: {run.why_not_pipelined}")
    progress = progress or Silent()
    bundles = sum(task.bundles for task in run.graph.tasks)
    progress.begin(f"{images} images, event by event", images * bundles, "bundles")
    try:
        return _Run(run, run.pipeline, progress).finish(images)
    finally:
        progress.end()


class _Run:
    """One simulation."""

    def __init__(self, run: ChipRun, pipeline: Pipeline, progress: Progress) -> None:
        try:
            import simpy
        except ImportError:
            raise MissingDependencyError(
                "to execute a schedule event by event needs simpy, which is not installed: pip install "
                "'rankfold[events]'"
            ) from None
        self._simpy, self._progress = simpy, progress
        self.environment = simpy.Environment()
        graph, self.chip = run.graph, run.chip
        self.graph, self.placement, self.traffic = graph, pipeline.placement, pipeline.traffic
        tasks = range(len(graph.tasks))
        self.steps = [Step.of(graph, self.placement, index, run.chip, run.read_time) for index in tasks]
        self._readers = graph.readers
        self._lodgings = by_reading(self.traffic.lodgings)
        self._arrays = {number: self._one_at_a_time() for number in graph.on_arrays}
        self._memory = self._one_at_a_time()
        self._units: dict[int, Any] = defaultdict(self._one_at_a_time)
        self._ports: dict[int, Any] = defaultdict(self._one_at_a_time)
        self._links: dict[Link, Any] = defaultdict(self._one_at_a_time)
        # Of each task and each of its readings: the rows that have no place yet, and those that have come.
        self._places = [
            [simpy.Container(self.environment, init=rows, capacity=rows) for rows in waiting]
            for waiting in pipeline.timing.rows
        ]
        self._come: list[list[_Counter]] = [
            [_Counter(self.environment) for _ in task.reads] for task in graph.tasks
        ]
        self._fullest = [[0] * len(task.reads) for task in graph.tasks]
        self._load: dict[Link, float] = defaultdict(float)
        self._done: dict[int, float] = {}

    def finish(self, images: int) -> Executed:
        """Run until all images are done.

        Raises:
            RankfoldError: a buffer is too small for what waits in it, so that nothing goes on.
        """
        last = [index for index, readers in enumerate(self._readers) if not readers]
        left = Counter({image: len(last) for image in range(images)})
        for index in range(len(self.graph.tasks)):
            self.environment.process(self._task(index, images, left))
        self.environment.run()
        if any(left.values()):
            raise RankfoldError("the schedule came to a halt: a buffer is too small for what waits in it")
        ends = tuple(self._done[image] for image in range(images))
        load = {link: bits / images for link, bits in self._load.items()}
        return Executed(ends, load, tuple(tuple(rows) for rows in self._fullest))

    def _one_at_a_time(self) -> Any:
        return self._simpy.Resource(self.environment, capacity=1)

    def _task(self, index: int, images: int, left: Counter[int]) -> Process:
        """All bundles of all images, one after another."""
        task = self.graph.tasks[index]
        for image in range(images):
            for bundle in range(task.bundles):
                yield from self._inputs(index, image, bundle)
                yield from self._take_places(index, bundle)
                yield from self._make(index)
                self._progress.advance()
                yield from self._free(index, bundle)
                # What is made goes its way while the next bundle is made. All bundles ask for the same parts,
                # in turn, so that they arrive in order.
                self.environment.process(self._send(index, image, bundle, left))

    def _inputs(self, index: int, image: int, bundle: int) -> Process:
        for number, reading in enumerate(self.graph.tasks[index].reads):
            yield self._come[index][number].reaches(image * reading.rows + reading.needs[bundle])

    def _rows(self, index: int, bundle: int) -> int:
        task = self.graph.tasks[index]
        before = task.made(bundle - 1) if bundle else 0
        return task.made(bundle) - before

    def _take_places(self, index: int, bundle: int) -> Process:
        rows = self._rows(index, bundle)
        for reader, number in self._readers[index]:
            places = self._places[reader][number]
            yield places.get(rows)
            held = int(places.capacity - places.level)
            self._fullest[reader][number] = max(self._fullest[reader][number], held)

    def _make(self, index: int) -> Process:
        """Arrays, while the buffers give what they are driven with; joins are made by units alone."""
        task, step = self.graph.tasks[index], self.steps[index]
        parts = [
            self._hold(
                self._ports[part.core], part.share * task.driven / self.chip.buffer.rate / task.bundles
            )
            for part in self.placement.parts[index]
        ]
        if task.arrays is not None:
            parts.append(self._hold(self._arrays[task.arrays], step.arrays))
        elif not task.reads:
            parts.append(self._hold(self._memory, step.units))
        else:
            parts += self._digital(index)
        yield from self._all(parts)

    def _digital(self, index: int) -> list[Process]:
        """The units of all cores, each with its share of a bundle."""
        task = self.graph.tasks[index]
        time = task.operations / self.chip.cores.rate / task.bundles
        return [self._hold(self._units[part.core], part.share * time) for part in self.placement.parts[index]]

    def _free(self, index: int, bundle: int) -> Process:
        for number, reading in enumerate(self.graph.tasks[index].reads):
            before = reading.frees[bundle - 1] if bundle else 0
            rows = reading.frees[bundle] - before
            if rows:
                yield self._places[index][number].put(rows)

    def _send(self, index: int, image: int, bundle: int, left: Counter[int]) -> Process:
        """Partial sums, units behind arrays, then links, then the buffers of everybody who reads it."""
        task = self.graph.tasks[index]
        if task.arrays is not None:
            yield from self._pass(self.traffic.sums[index], task.bundles)
            yield from self._all(self._digital(index))
        here, away = [], []
        for reader, number in self._readers[index]:
            if self.graph.added_in_place(reader, number):
                here.append((reader, number))
            else:
                away.append((reader, number))
        yield from self._all(
            [
                self._deliver(index, bundle, (), here),
                self._deliver(index, bundle, self.traffic.maps[index], away),
            ]
        )
        if bundle == task.bundles - 1 and not self._readers[index]:
            left[image] -= 1
            self._done[image] = self.environment.now

    def _deliver(
        self, index: int, bundle: int, ways: Sequence[Way], readers: Sequence[tuple[int, int]]
    ) -> Process:
        """A bundle comes to some of those that read it."""
        yield from self._pass(ways, self.graph.tasks[index].bundles)
        yield from self._all(self._arrive(reader, number, index, bundle) for reader, number in readers)

    def _arrive(self, reader: int, number: int, index: int, bundle: int) -> Process:
        """Rows come to a reader, some of them by way of other cores, where they wait."""
        there, back = self.traffic.aside.get((reader, number), ((), ()))
        bundles = self.graph.tasks[index].bundles
        yield from self._pass(there, bundles)
        yield from self._all(self._lodge(one, bundles) for one in self._lodgings.get((reader, number), ()))
        yield from self._pass(back, bundles)
        yield from self._write(reader, number, index, bundle)

    def _lodge(self, one: Lodging, bundles: int) -> Process:
        """Rows are written to the buffer of another core, and read again."""
        bits = one.share * self.graph.tasks[one.reader].reads[one.number].bits
        yield from self._hold(self._ports[one.host], 2 * bits / bundles / self.chip.buffer.rate)

    def _pass(self, ways: Iterable[Way], bundles: int) -> Process:
        """A bundle goes over all links of its ways."""
        yield from self._all(self._go(way, bundles) for way in ways)

    def _go(self, way: Way, bundles: int) -> Process:
        rate = self.chip.interconnect.rate
        yield from self._all(
            self._hold(self._links[link], bits / bundles / rate) for link, bits in way.bits.items()
        )
        for link, bits in way.bits.items():
            self._load[link] += bits / bundles
        yield self.environment.timeout(way.hops * self.chip.interconnect.latency)

    def _write(self, reader: int, number: int, index: int, bundle: int) -> Process:
        """Rows come to the buffers of all cores of a reader."""
        reading = self.graph.tasks[reader].reads[number]
        time = reading.bits / self.graph.tasks[index].bundles / self.chip.buffer.rate
        yield from self._all(
            self._hold(self._ports[part.core], part.needs * time) for part in self.placement.parts[reader]
        )
        self._come[reader][number].add(self._rows(index, bundle))

    def _hold(self, resource: Any, time: float) -> Process:
        if time > 0:
            with resource.request() as turn:
                yield turn
                yield self.environment.timeout(time)

    def _all(self, parts: Iterable[Process]) -> Process:
        """All of them side by side."""
        waiting = list(parts)
        if len(waiting) == 1:
            yield from waiting[0]
        elif waiting:
            yield self.environment.all_of([self.environment.process(part) for part in waiting])


class _Counter:
    """Counts rows that have come, and wakes whoever waits for them."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._rows = 0
        self._waiting: list[tuple[int, Any]] = []

    def add(self, rows: int) -> None:
        """So many more have come."""
        self._rows += rows
        waiting, self._waiting = self._waiting, []
        for needed, event in waiting:
            if needed <= self._rows:
                event.succeed()
            else:
                self._waiting.append((needed, event))

    def reaches(self, rows: int) -> Any:
        """An event: so many have come."""
        event = self._environment.event()
        if rows <= self._rows:
            event.succeed()
        else:
            self._waiting.append((rows, event))
        return event
