"""What is sent from core to core for an image, and over which links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from rankfold.chip.graph import TaskGraph
from rankfold.chip.placement import Placement
from rankfold.machine import ChipSpec
from rankfold.machine.chip import BUS
from rankfold.workload.shape import Pair

Link = tuple[Pair, Pair]  # from one place of the mesh to a neighbour
THE_BUS: Link = ((0, 0), (0, 0))
FEATURE_MAPS, OUTPUTS, SUMS = "feature maps", "outputs of copies", "partial sums"


@dataclass(frozen=True)
class Route:
    """The links from a core to others.

    Attributes:
        links: each once: what goes to several cores is sent once as far as the ways are the same.
        hops: of the longest way.
    """

    links: tuple[Link, ...]
    hops: int


@dataclass(frozen=True)
class Traffic:
    """What the interconnect carries for an image.

    Attributes:
        load: bits by link; of a bus, all of them on one.
        bits: by what is sent, each bit once for each link that it passes.
        routes: of each task, the way of its feature map to all cores that read it.
        gathered: of each task, what comes to its home before: (way, bits) of the outputs of copies in other
            cores, and of partial sums.
    """

    load: dict[Link, float]
    bits: dict[str, float]
    routes: tuple[Route, ...]
    gathered: tuple[tuple[tuple[Route, float], ...], ...]

    @property
    def busiest(self) -> float:
        """Bits of the link that carries most."""
        return max(self.load.values(), default=0.0)

    @property
    def total(self) -> float:
        """Bits, each once for each link that it passes."""
        return sum(self.bits.values())


def traffic(graph: TaskGraph, placement: Placement, chip: ChipSpec) -> Traffic:
    """Count what is sent for an image.

    A feature map goes from its home to every core that reads it, once as far as the ways are the same; what
    copies in other cores make of it goes to its home before; and at every boundary between two cores within a
    set of arrays the partial sums of one of its copies pass.
    """
    load: Counter[Link] = Counter()
    bits: Counter[str] = Counter()
    readers = graph.readers
    routes, gathered = [], []
    for index, task in enumerate(graph.tasks):
        home = placement.home(index)
        cores = {core for reader, _ in readers[index] for core in placement.cores(reader)}
        way = route(chip, home, cores)
        routes.append(way)
        # Readers may read it with other bits: the most of them are sent.
        sent = max((graph.tasks[reader].reads[number].bits for reader, number in readers[index]), default=0)
        _send(load, bits, way, FEATURE_MAPS, float(sent))
        before = []
        for core, share in placement.shares[index][1:]:
            before.append((OUTPUTS, route(chip, core, {home}), share * task.made_bits))
        for one, other in pairwise(placement.cores(index)):
            before.append((SUMS, route(chip, one, {other}), task.sums / max(placement.copies[index])))
        for what, way, number in before:
            _send(load, bits, way, what, number)
        gathered.append(tuple((way, number) for _, way, number in before if number))
    return Traffic(dict(load), dict(bits), tuple(routes), tuple(gathered))


def route(chip: ChipSpec, source: int, cores: Iterable[int]) -> Route:
    """The way from a core to others: on a mesh along the row first, then along the column."""
    others = [core for core in cores if core != source]
    if not others:
        return Route((), 0)
    if chip.interconnect.kind == BUS:
        return Route((THE_BUS,), 1)
    links: dict[Link, None] = {}
    hops = 0
    for core in others:
        way = _way(chip.place(source), chip.place(core))
        hops = max(hops, len(way))
        links.update(dict.fromkeys(way))
    return Route(tuple(links), hops)


def _way(start: Pair, end: Pair) -> list[Link]:
    """The links between two places, along the row first."""
    (row, column), (last_row, last_column) = start, end
    places = [start]
    while column != last_column:
        column += 1 if last_column > column else -1
        places.append((row, column))
    while row != last_row:
        row += 1 if last_row > row else -1
        places.append((row, column))
    return list(pairwise(places))


def _send(load: Counter[Link], bits: Counter[str], way: Route, what: str, number: float) -> None:
    if not number:
        return
    for link in way.links:
        load[link] += number  # type: ignore[assignment]
    if way.links:
        bits[what] += number * len(way.links)  # type: ignore[assignment]
