"""The figure of a reproduction: accuracy against cycles on every array, with each method's Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from rankfold.plan import (
    METHODS,
    ChannelPruning,
    Garos,
    LowRank,
    Pairs,
    Pairs2023,
    Pairs2024,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    Quantise,
    SharedSupport,
)
from rankfold.plan.kinds import IDEAL, PLAIN
from rankfold.planning.search.result import not_dominated
from rankfold.report.charts.drawing import SIZE, WIDTH, count, round_numbers, svg, svg_file
from rankfold.report.palette import BLUE, BROWN, GREEN, GREY, INK, MOSS, OCHRE, PINK, SOFT, VERMILION, VIOLET
from rankfold.reproduce.headline import ROW_SPARSE, Point, by_array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points: a panel with its title and axis, and what is above all panels.
PANEL, BELOW, ABOVE = 215.0, 36.0, 22.0
AXIS, BETWEEN, MARGIN = 46.0, 8.0, 24.0
TITLE, LINE = 28.0, 13.0
SIDE_BY_SIDE = 2  # panels
COLUMNS = 4  # of the legend
LEAST_ROOM = 0.5  # percentage points above and below all points
ROOM = 0.06  # of the range of all points
DASHED = (0, (3, 2))


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that are drawn alike and share a front.

    Attributes:
        words: for the legend.
        colour: of marks and line.
        mark: matplotlib's marker.
        method: of its points.
        mapping: of its points.
        steering: of its points; ideal steering is drawn with empty marks.
        grouped: whether its points have several low-rank groups; None: it does not matter.
    """

    words: str
    colour: str
    mark: str
    method: str
    mapping: str = "sdk"
    steering: str = PLAIN
    grouped: bool | None = None

    def holds(self, point: Point) -> bool:
        """Whether a point belongs to it."""
        if not point.is_of(self.method, self.mapping, self.steering):
            return False
        if self.grouped is None:
            return True
        # A point without groups has one.
        return self.grouped == ((point.of.groups or 1) > 1)

    @property
    def filled(self) -> bool:
        """Whether its marks are filled."""
        return self.steering != IDEAL


# In the order of the legend; what comes later is drawn over what comes before.
SERIES = (
    Series(words="group low-rank + SDK", colour=BLUE[0], mark="o", method=LowRank.name, grouped=True),
    Series(words="plain low-rank + SDK", colour=VERMILION[0], mark="s", method=LowRank.name, grouped=False),
    Series(words="row-sparse low-rank + SDK", colour=VIOLET[0], mark="*", method=ROW_SPARSE),
    Series(words="shared support, SDK", colour=MOSS[0], mark="h", method=SharedSupport.name),
    Series(words=f"{Pairs.title}, SDK", colour=OCHRE[0], mark="D", method=Pairs.name),
    Series(words=f"{Pairs2023.title}, SDK", colour=OCHRE[1], mark="d", method=Pairs2023.name),
    Series(words=f"{Pairs2024.title}, SDK", colour=OCHRE[2], mark="d", method=Pairs2024.name),
    Series(words=f"{Garos.title}, SDK", colour=OCHRE[3], mark="p", method=Garos.name),
    Series(words=f"{PatDNNByChannel.title}, SDK", colour=PINK[1], mark=">", method=PatDNNByChannel.name),
    Series(words=f"{PatDNNByLayer.title}, SDK", colour=PINK[2], mark=">", method=PatDNNByLayer.name),
    Series(words="PatDNN, SDK", colour=PINK[0], mark="^", method=PatDNN.name),
    Series(
        words="PatDNN, SDK, ideal steering",
        colour=PINK[2],
        mark="^",
        method=PatDNN.name,
        steering=IDEAL,
    ),
    Series(words="channel pruning, SDK", colour=BROWN[0], mark="v", method=ChannelPruning.name),
    Series(words="dense, SDK", colour=GREY[1], mark="X", method=Quantise.name),
    Series(words="dense, VW-SDK", colour=GREY[0], mark="P", method=Quantise.name, mapping="vw-sdk"),
)


# Of methods from elsewhere, which have no series above.
OTHER_SHADES = (GREEN, BLUE, VERMILION, PINK)
OTHER_MARKS = "<>dpH"


def all_series() -> tuple[Series, ...]:
    """The series above, and one for each other method that is registered: with SDK, in the next colour."""
    drawn = {series.method for series in SERIES}
    others = [method for method in METHODS.values() if method.name not in drawn]
    signs = zip(others, cycle(OTHER_SHADES), cycle(OTHER_MARKS))
    made = []
    for method, shades, mark in signs:
        words = f"{method.title}, SDK"
        made.append(Series(words=words, colour=shades[-1], mark=mark, method=method.name))
    return (*SERIES, *made)


@dataclass(frozen=True)
class _Layout:
    """Where everything is, in points.

    Attributes:
        head: height of title and legend.
        height: of the whole figure.
    """

    head: float
    height: float

    @classmethod
    def of(cls, panels: int, entries: int) -> _Layout:
        """The layout for so many panels and entries of the legend."""
        head = TITLE + LINE * math.ceil(entries / COLUMNS)
        return cls(head, head + PANEL * math.ceil(panels / SIDE_BY_SIDE))

    def axes(self, index: int) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of a panel's axes, as shares of the figure."""
        row, column = divmod(index, SIDE_BY_SIDE)
        width = (WIDTH - SIDE_BY_SIDE * AXIS - MARGIN) / SIDE_BY_SIDE
        left = AXIS + column * (width + AXIS + BETWEEN)
        # Matplotlib counts from the bottom, panels from the top.
        bottom = self.height - self.head - (row + 1) * PANEL + BELOW
        return (
            left / WIDTH,
            bottom / self.height,
            width / WIDTH,
            (PANEL - BELOW - ABOVE) / self.height,
        )


def figure(points: Sequence[Point], title: str) -> str:
    """The figure as an SVG file; the same points give the same bytes.

    Args:
        points: averaged over seeds.
        title: above the panels.
    """
    shown, drawn = _drawn(points)
    panels = by_array(points)
    layout = _Layout.of(len(panels), len(shown))
    limits = _limits(drawn)  # the same in all panels, which are to be compared

    def draw(canvas: Figure) -> None:
        handles: list[Artist] = []
        for index, (array, here) in enumerate(panels.items()):
            axes = canvas.add_axes(layout.axes(index))
            handles = _panel(axes, here, shown, array)
            axes.set_ylim(*limits)
        _head(canvas, layout, title, handles, [series.words for series in shown])

    # The picture's text for screen readers: every point that is drawn.
    told = "; ".join(_in_words(point) for point in drawn)
    return svg_file(svg("reproduction", f"{title}. {told}", layout.height, draw))


def _drawn(points: Sequence[Point]) -> tuple[list[Series], list[Point]]:
    """The series that have any of the points, and the points that are in any series."""
    known = all_series()
    used: set[Series] = set()
    drawn = []
    for point in points:
        for series in known:  # no two of them hold the same point
            if series.holds(point):
                used.add(series)
                drawn.append(point)
    return [series for series in known if series in used], drawn


def _head(canvas: Figure, layout: _Layout, title: str, handles: list[Artist], words: list[str]) -> None:
    """Title and legend."""
    height = layout.height
    canvas.text(
        AXIS / WIDTH,
        1 - 12 / height,
        title,
        va="center",
        fontsize=SIZE + 2,
        color=INK,
    )
    canvas.legend(
        handles,
        words,
        loc="upper left",
        bbox_to_anchor=((AXIS - 6) / WIDTH, 1 - 20 / height),
        ncols=COLUMNS,
        frameon=False,
        fontsize=SIZE - 1,
        handletextpad=0.4,
        columnspacing=1.4,
        borderpad=0,
    )


def _panel(axes: Axes, points: Sequence[Point], shown: Sequence[Series], array: str) -> list[Artist]:
    """One array: the points of all series and their fronts; returns the signs for the legend."""
    from matplotlib.ticker import FixedLocator, NullLocator

    # Methods differ by factors in cycles, and by points in accuracy.
    axes.set_xscale("log")
    handles = []
    # Also series without points on this array, so that all panels have the legend's signs.
    for series in shown:
        own = [point for point in points if series.holds(point)]
        handles.append(_marks(axes, series, own))
        _line(axes, series, not_dominated(own))
    axes.set_title(
        f"{array} arrays",
        fontsize=SIZE,
        color=SOFT,
        loc="left",
        pad=4,
    )
    axes.set_xlabel("cycles per image")
    axes.set_ylabel("test accuracy, %")
    # Matplotlib's ticks at powers of ten leave most panels with one.
    axes.xaxis.set_major_locator(FixedLocator(round_numbers(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(count)
    return handles


def _marks(axes: Axes, series: Series, points: Sequence[Point]) -> Artist:
    face = "white"
    if series.filled:
        face = series.colour
    (marks,) = axes.plot(
        _cycles(points),
        _percent(points),
        series.mark,
        color=series.colour,
        markerfacecolor=face,
        markersize=5.5,
        zorder=3,
    )
    return marks


def _line(axes: Axes, series: Series, front: Sequence[Point]) -> None:
    style: Any = DASHED
    if series.filled:
        style = "-"
    axes.plot(
        _cycles(front),
        _percent(front),
        linestyle=style,
        color=series.colour,
        linewidth=1.1,
        alpha=0.7,
        zorder=2,
    )


def _cycles(points: Sequence[Point]) -> list[float]:
    return [point.cycles for point in points]


def _percent(points: Sequence[Point]) -> list[float]:
    return [100 * point.accuracy for point in points]


def _in_words(point: Point) -> str:
    """A point for readers who cannot see it."""
    row = point.of
    return (
        f"{point.label}, {row.mapping}, {row.steering}, {row.array}: {100 * point.accuracy:.2f} % at "
        f"{point.cycles:,.0f} cycles"
    )


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    """The range of accuracies in per cent, with some room."""
    if not points:
        return 0.0, 100.0  # nothing of what is there is of a series
    values = _percent(points)
    room = max(LEAST_ROOM, ROOM * (max(values) - min(values)))
    return max(0.0, min(values) - room), min(100.0, max(values) + room)
