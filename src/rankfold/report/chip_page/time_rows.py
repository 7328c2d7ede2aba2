"""Charts of time: a row for each task, bars from when it begins to when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rankfold.report.charts.drawing import WIDTH, count, shorten, text_width
from rankfold.report.charts.elements import Sketch
from rankfold.report.charts.rows import BAR, MANY
from rankfold.report.palette import EDGE, LINE, SOFT

# Points: of a row, of one among many, and of what is above and below all.
PITCH, LOW_PITCH, TOP, BOTTOM = 15.0, 11.5, 18.0, 32.0
RIGHT = 14.0
SMALL = 7.5
TICKS = 7


@dataclass(frozen=True)
class TimeRows:
    """The frame of a chart of time.

    Attributes:
        labels: of the rows, from top to bottom.
        longest: us that the axis reaches.
    """

    labels: Sequence[str]
    longest: float

    @property
    def pitch(self) -> float:
        """Points of a row."""
        if len(self.labels) > MANY:
            return LOW_PITCH
        return PITCH

    @cached_property
    def left(self) -> float:
        """Where time begins."""
        return 12 + max(text_width(shorten(label)) for label in self.labels)

    @property
    def bottom(self) -> float:
        """Where the rows end."""
        return TOP + self.pitch * len(self.labels)

    @property
    def height(self) -> float:
        """Points of all of it."""
        return self.bottom + BOTTOM

    def x(self, time: float) -> float:
        """Where a time is, us."""
        return self.left + time / self.longest * (WIDTH - RIGHT - self.left)

    def top(self, row: int) -> float:
        """Where the bar of a row begins."""
        return TOP + self.pitch * (row + (1 - BAR) / 2)

    @property
    def bar(self) -> float:
        """Points, the height of a bar."""
        return BAR * self.pitch

    def draw(self, drawn: Sketch) -> None:
        """Draw labels, axis and grid."""
        from matplotlib.ticker import MaxNLocator

        for row, label in enumerate(self.labels):
            base = self.top(row) + self.bar / 2 + 3
            drawn.text((self.left - 6, base), shorten(label), anchor="end")
        for tick in MaxNLocator(TICKS).tick_values(0, self.longest):
            if 0 <= tick <= self.longest:
                x = self.x(float(tick))
                drawn.line((x, TOP - 2), (x, self.bottom), LINE)
                drawn.text((x, self.bottom + 12), count(float(tick)), anchor="middle")
        drawn.line((self.left, self.bottom), (WIDTH - RIGHT, self.bottom), EDGE)
        middle = (self.left + WIDTH - RIGHT) / 2
        drawn.text((middle, self.bottom + 26), "µs", colour=SOFT, anchor="middle")

    def draw_time(self, drawn: Sketch, time: float, words: str, colour: str) -> None:
        """Draw a line at a time, and what it is above it."""
        x = self.x(time)
        drawn.line((x, TOP - 4), (x, self.bottom), colour, width=1.1, dashes="3 2")
        # Where there is no room at its right, words end at the line.
        anchor, at = "start", x - 2
        if x + text_width(words, SMALL) > WIDTH - 2:
            anchor, at = "end", WIDTH - 2
        drawn.text((at, TOP - 8), words, size=SMALL, colour=colour, anchor=anchor)
