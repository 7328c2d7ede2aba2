"""What is sent from core to core for an image, and over which links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

from rankfold.chip.graph import TaskGraph
from rankfold.chip.lodging import Lodging, by_reading
from rankfold.chip.placement import Placement
from rankfold.machine import ChipSpec
from rankfold.machine.chip import BUS
from rankfold.workload.shape import Pair

Link = tuple[Pair, Pair]  # from one place of the mesh to a neighbour
THE_BUS: Link = ((0, 0), (0, 0))
FEATURE_MAPS, SUMS, ASIDE = "feature maps", "partial sums", "rows that wait in other cores"
Reader = tuple[int, int]  # a task, and which of its readings


@dataclass(frozen=True)
class Way:
    """From a core to others.

    Attributes:
        bits: by link, for an image; what several cores behind a link need is sent over it once.
        hops: links to the farthest core.
    """

    bits: Mapping[Link, float]
    hops: int

    @property
    def most(self) -> float:
        """Bits of the link that carries most."""
        return max(self.bits.values(), default=0.0)


@dataclass(frozen=True)
class Traffic:
    """What the interconnect carries for an image.

    Attributes:
        maps: of each task, the ways of its feature map, one from each of its cores to all that read it.
        sums: of each task, the ways of partial sums, which go before.
        lodgings: rows that wait in other cores, and
        aside: the ways there and back of those of each reading that has some.
    """

    maps: tuple[tuple[Way, ...], ...]
    sums: tuple[tuple[Way, ...], ...]
    lodgings: tuple[Lodging, ...] = ()
    aside: Mapping[Reader, tuple[tuple[Way, ...], tuple[Way, ...]]] = field(default_factory=dict)

    @cached_property
    def load(self) -> dict[Link, float]:
        """Bits by link; of a bus, all of them on one."""
        load: dict[Link, float] = defaultdict(float)
        for way in (way for ways in self._ways.values() for way in ways):
            for link, bits in way.bits.items():
                load[link] += bits
        return dict(load)

    @property
    def bits(self) -> dict[str, float]:
        """By what is sent, each bit once for each link that it passes."""
        return {what: sum(sum(way.bits.values()) for way in ways) for what, ways in self._ways.items()}

    @property
    def _ways(self) -> dict[str, list[Way]]:
        ways = {
            FEATURE_MAPS: [way for ways in self.maps for way in ways],
            SUMS: [way for ways in self.sums for way in ways],
        }
        if self.aside:
            ways[ASIDE] = [way for both in self.aside.values() for ways in both for way in ways]
        return ways

    @property
    def total(self) -> float:
        """Bits, each once for each link that it passes."""
        return sum(self.bits.values())


def traffic(graph: TaskGraph, placement: Placement, chip: ChipSpec) -> Traffic:
    """Count what is sent for an image.

    Every core of a task makes a share of its feature map, of which each core that reads it gets what it
    needs, the same share of each part; what is added in place is not sent. At every boundary between two
    cores within a set of arrays the partial sums of one of its copies pass.
    """
    router = _Router(chip)
    maps, sums = [], []
    for index, task in enumerate(graph.tasks):
        sent, needs = _needed(graph, placement, index)
        maps.append(tuple(router.way(part.core, needs, part.share * sent) for part in placement.parts[index]))
        passed = 0.0
        if placement.copies[index]:
            passed = task.sums / max(placement.copies[index])
        boundaries = pairwise(placement.cores(index))
        sums.append(tuple(router.way(one, {other: 1.0}, passed) for one, other in boundaries if passed))
    return Traffic(tuple(maps), tuple(sums))


def with_lodgings(sent: Traffic, graph: TaskGraph, chip: ChipSpec, lodgings: Sequence[Lodging]) -> Traffic:
    """The same traffic, with rows that wait in other cores.

    Args:
        sent: what is sent.
        graph: the network.
        chip: the chip.
        lodgings: all that wait elsewhere.
    """
    router = _Router(chip)
    aside = {}
    for (reader, number), those in by_reading(lodgings).items():
        bits = graph.tasks[reader].reads[number].bits
        there = tuple(router.way(one.core, {one.host: 1.0}, one.share * bits) for one in those)
        back = tuple(router.way(one.host, {one.core: 1.0}, one.share * bits) for one in those)
        aside[reader, number] = there, back
    return replace(sent, lodgings=tuple(lodgings), aside=aside)


def _needed(graph: TaskGraph, placement: Placement, index: int) -> tuple[int, dict[int, float]]:
    """(bits of a feature map as it is sent, the share of it that each core needs)."""
    needs: dict[int, float] = defaultdict(float)
    sent = 0
    for reader, number in graph.readers[index]:
        # Readers may read it with other bits: the most of them are sent.
        sent = max(sent, graph.tasks[reader].reads[number].bits)
        if graph.added_in_place(reader, number):
            continue
        for part in placement.parts[reader]:
            needs[part.core] = min(needs[part.core] + part.needs, 1.0)
    return sent, needs


class _Router:
    """Finds ways between cores, and keeps them."""

    def __init__(self, chip: ChipSpec) -> None:
        self._chip = chip
        self._links: dict[tuple[int, int], tuple[Link, ...]] = {}

    def way(self, source: int, needs: Mapping[int, float], bits: float) -> Way:
        """From a core to those that need a share of what it makes."""
        shares: dict[Link, float] = defaultdict(float)
        hops = 0
        for core, share in needs.items():
            links = self.links(source, core)
            hops = max(hops, len(links))
            for link in links:
                shares[link] += share
        # What two cores behind a link need may be the same: no more than all is sent.
        return Way({link: bits * min(share, 1.0) for link, share in shares.items()}, hops)

    def links(self, source: int, core: int) -> tuple[Link, ...]:
        """Between two cores: on a mesh along the row first, then along the column."""
        if source == core:
            return ()
        if self._chip.interconnect.kind == BUS:
            return (THE_BUS,)
        ends = source, core
        if ends not in self._links:
            self._links[ends] = tuple(_along(self._chip.place(source), self._chip.place(core)))
        return self._links[ends]


def links_between(chip: ChipSpec, source: int, cores: Iterable[int]) -> set[Link]:
    """The links of the ways from a core to others."""
    router = _Router(chip)
    return {link for core in cores for link in router.links(source, core)}


def _along(start: Pair, end: Pair) -> list[Link]:
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
