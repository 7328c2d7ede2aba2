"""Where the cores of a chip are drawn, and what joins them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from rankfold.chip.traffic import THE_BUS, Link
from rankfold.report.charts.elements import Point, Sketch
from rankfold.report.chip_page.colours import BUSIEST
from rankfold.report.chip_page.floor import Floor
from rankfold.report.palette import INK, PALE

# Points: room for all cores of a row, the place of a core and of its neighbours' gap at most, left of all.
ROOM, PITCH, LEFT, TOP = 500.0, 56.0, 24.0, 10.0
# Of a place, that a core takes.
CORE = 0.72
# Of a place: the widest link, and how far the two directions are apart.
WIDEST, APART = 0.13, 0.16
# Cores of a bus that lie side by side, unless there are many.
BESIDE = 8
# Points: of the thinnest part of anything that carries bits.
THIN = 0.9
# How dark a link is that carries next to nothing.
FAINT = 0.25
# Up to so many all cores are drawn; of more, the rows that hold anything.
ALL_DRAWN = 400
MOST_DRAWN = 1600


@dataclass(frozen=True)
class Places(ABC):
    """The cores of a chip on paper.

    Attributes:
        floor: of the chip.
        rows: of cores that are drawn.
    """

    floor: Floor
    rows: int

    @property
    @abstractmethod
    def columns(self) -> int:
        """Cores side by side."""

    @property
    @abstractmethod
    def height(self) -> float:
        """Points that all of it needs."""

    @abstractmethod
    def corner(self, core: int) -> Point:
        """The left top corner of a core."""

    @abstractmethod
    def draw_links(self, drawn: Sketch) -> None:
        """Draw what joins the cores, wide and dark by its load."""

    @cached_property
    def pitch(self) -> float:
        """Points from a core to the next."""
        return min(PITCH, (ROOM - LEFT) / self.columns)

    @property
    def side(self) -> float:
        """Points along a core."""
        return CORE * self.pitch

    @property
    def right(self) -> float:
        """Where the cores end."""
        return LEFT + self.columns * self.pitch

    @property
    def cores(self) -> range:
        """Those that are drawn."""
        return range(min(self.floor.cores, self.rows * self.columns))


class MeshPlaces(Places):
    """Cores of a mesh, as they lie on it."""

    @property
    def columns(self) -> int:
        """Cores side by side."""
        return self.floor.columns

    @property
    def height(self) -> float:
        """Points that all of it needs."""
        return TOP + self.rows * self.pitch

    def corner(self, core: int) -> Point:
        """The left top corner of a core."""
        row, column = self.floor.place(core)
        return LEFT + column * self.pitch, TOP + row * self.pitch

    def draw_links(self, drawn: Sketch) -> None:
        """Draw all links: a thin line between neighbours, an arrow for each direction that carries bits."""
        for core in self.cores:
            for other in self._neighbours(core):
                start, end = self._ends((self.floor.place(core), self.floor.place(other)), 0)
                drawn.line(start, end, PALE)
        links = self.floor.links
        # The busiest last, on top.
        for link, bits in reversed(links.load.items()):
            with drawn.mark(links.told(link)):
                self._arrow(drawn, link, bits / links.most)

    def _neighbours(self, core: int) -> list[int]:
        """The next core of the row, and that of the same column in the next row."""
        row, column = self.floor.place(core)
        found = []
        for other in (core + 1, 2 * self.columns * (row + 1) - 1 - core):
            there = self.floor.place(other)
            near = abs(there[0] - row) + abs(there[1] - column) == 1
            if other in self.cores and near and other not in found:
                found.append(other)
        return found

    def _ends(self, link: Link, aside: float) -> tuple[Point, Point]:
        """Where a link leaves a core and meets the next, so far to the right of its way."""
        (row, column), (to_row, to_column) = link
        down, across = to_row - row, to_column - column
        half = self.side / 2
        x, y = LEFT + column * self.pitch + half, TOP + row * self.pitch + half
        gap = self.pitch - self.side
        # To the right of who goes down is the left of the page.
        start = (x + across * half - down * aside, y + down * half + across * aside)
        return start, (start[0] + across * gap, start[1] + down * gap)

    def _arrow(self, drawn: Sketch, link: Link, share: float) -> None:
        start, end = self._ends(link, APART * self.pitch)
        wide = THIN + share * (WIDEST * self.pitch - THIN)
        if share == 1:
            drawn.polygon(_arrow(start, end, wide), BUSIEST)
        else:
            drawn.polygon(_arrow(start, end, wide), INK, opacity=FAINT + share * (1 - FAINT))


class BusPlaces(Places):
    """Cores of a bus: rows in pairs, with the bus between."""

    @property
    def columns(self) -> int:
        """Cores side by side."""
        return _beside(self.floor.cores)

    @property
    def height(self) -> float:
        """Points that all of it needs."""
        _, y = self.corner(self.cores[-1])
        return max(y, self._bar(self.rows - 1)) + self.side + TOP

    def corner(self, core: int) -> Point:
        """The left top corner of a core."""
        row, column = divmod(core, self.columns)
        bar = self._bar(row)
        y = bar - self._stub - self.side
        if row % 2:
            y = bar + self._stub
        return LEFT + column * self.pitch, y

    def draw_links(self, drawn: Sketch) -> None:
        """Draw the bus."""
        links = self.floor.links
        told, colour, wide = "the bus carries nothing", PALE, 2 * THIN
        if links.load:
            told, colour = links.told(THE_BUS), BUSIEST
            wide += links.busy(THE_BUS) * self._stub
        with drawn.mark(told):
            for core in self.cores:
                x, y = self.corner(core)
                row = core // self.columns
                edge = y + (self.side if row % 2 == 0 else 0)
                middle = x + self.side / 2
                drawn.line((middle, edge), (middle, self._bar(row)), PALE, width=2)
            bars = sorted({self._bar(row) for row in range(self.rows)})
            for bar in bars:
                drawn.line((LEFT - 8, bar), (self.right, bar), colour, width=wide)
            if len(bars) > 1:
                drawn.line((LEFT - 8, bars[0]), (LEFT - 8, bars[-1]), colour, width=wide)

    @property
    def _stub(self) -> float:
        """Points between the bus and a core."""
        return 0.28 * self.pitch

    def _bar(self, row: int) -> float:
        """How far down the bus of a row is."""
        above = TOP + self.side + self._stub
        return above + row // 2 * (2 * (self.side + self._stub) + 2 * TOP)


def places(floor: Floor) -> Places | None:
    """Where cores are drawn; None: too many of them hold something."""
    sort: type[Places] = MeshPlaces
    columns = floor.columns
    if floor.is_bus:
        sort = BusPlaces
        columns = _beside(floor.cores)
    rows = math.ceil(floor.cores / columns)
    if floor.cores > ALL_DRAWN:
        rows = max(floor.there.cores) // columns + 1
    if rows * columns > MOST_DRAWN:
        return None
    return sort(floor, rows)


def _beside(cores: int) -> int:
    """Cores of a bus side by side: twice as many as there are rows, but at least a few."""
    return min(cores, max(BESIDE, math.ceil(math.sqrt(2 * cores))))


def _arrow(start: Point, end: Point, wide: float) -> list[Point]:
    """A bar from start to end with a tip."""
    (x, y), (to_x, to_y) = start, end
    long = math.hypot(to_x - x, to_y - y)
    across, down = (to_x - x) / long, (to_y - y) / long
    tip = min(wide / 2 + 1, 0.6 * long)
    outline = (
        (0.0, -0.5),
        (long - tip, -0.5),
        (long, 0.0),
        (long - tip, 0.5),
        (0.0, 0.5),
    )
    return [
        (x + along * across - aside * wide * down, y + along * down + aside * wide * across)
        for along, aside in outline
    ]
