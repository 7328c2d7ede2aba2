"""The chart of accuracy against cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import (
    SIZE,
    Chart,
    count,
    dotted_line,
    frame,
    shorten,
    svg,
    text_width,
)
from rankfold.report.charts.placement import LINE_HEIGHT, Box, place_names
from rankfold.report.methods import coloured
from rankfold.report.palette import SOFT
from rankfold.report.runs import Run, array_size, dense_best, float_baseline, measured_by
from rankfold.report.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points: of the chart, and its margins.
HEIGHT = 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 20.0, 12.0, 38.0
# How much wider bold letters are.
BOLD = 1.12
# Points; a name that is farther from its point has a line to it.
FAR = 20.0
# Left free above and below, for names: of the range of accuracies, and percentage points at least.
ROOM = 0.22
LEAST_ROOM = 0.5


@dataclass(frozen=True)
class _Point:
    """A network on the chart.

    Attributes:
        x: cycles per image.
        y: accuracy in percent.
        name: what is written beside it.
        of: which network it is.
        colour: of the mark and the name.
        ring: whether it is not of this report, but what its runs started from.
    """

    x: float
    y: float
    name: str
    of: str
    colour: str
    ring: bool

    @property
    def told(self) -> str:
        """The point in words, for readers who cannot see it."""
        return f"{self.name}: {self.y:.2f} % at {self.x:,.0f} cycles"

    @property
    def name_size(self) -> tuple[float, float]:
        """Width and height of the name in points; names of runs are bold."""
        width = text_width(self.name)
        if not self.ring:
            width *= BOLD
        return width, LINE_HEIGHT * SIZE


def accuracy_chart(runs: Sequence[Run]) -> Chart:
    """Rings: the dense float network, best mapped and under im2col; dots: runs as planned; all with names."""
    baseline = float_baseline(runs)
    points = [_run_point(run, colour) for run, colour in coloured(runs)]
    if baseline is not None:
        points += _dense_points(runs[0], baseline)

    what = measured_by(runs)
    if what == "accuracy":
        what = "test accuracy"

    def draw(figure: Figure) -> None:
        axes = frame(figure, LEFT, RIGHT, TOP, BOTTOM)
        _set_scales(axes, points, array_size(runs[0].result), what)
        if baseline is not None:
            dotted_line(axes, 100 * baseline)
        for point in points:
            _draw_point(axes, point)
        # Last, when the scales say where on the figure points are.
        _write_names(axes, points)

    told = "; ".join(point.told for point in points)
    drawn = svg("accuracy", f"{what.capitalize()} against cycles per image. {told}", HEIGHT, draw)
    numbers = [(point.of, f"{point.y:.2f}", f"{point.x:,.0f}") for point in points]
    return Chart(drawn, table=table(["network", f"{what}, %", "cycles per image"], numbers))


def _run_point(run: Run, colour: str) -> _Point:
    final = 100 * run.result.accuracy.final
    name = f"{shorten(run.label)}, {final:.1f} %"
    return _Point(run.result.planned_cycles, final, name, run.label, colour, ring=False)


def _dense_points(run: Run, baseline: float) -> list[_Point]:
    """The network before, under its best mapping and under im2col; one ring where these are as fast."""
    mappings: dict[int, list[str]] = {}
    for mapping, cycles in (
        ("best mapping", dense_best(run.result)),
        ("im2col", run.result.cycles["im2col"]),
    ):
        mappings.setdefault(cycles, []).append(mapping)
    points = []
    for cycles, names in mappings.items():
        name = f"uncompressed, {' = '.join(names)}"
        points.append(_Point(cycles, 100 * baseline, name, name, SOFT, ring=True))
    return points


def _set_scales(axes: Axes, points: Sequence[_Point], array: str, what: str) -> None:
    axes.set(xlabel=f"cycles per image on {array} arrays (fewer is faster)", ylabel=f"{what}, %")
    # With room for a name at the right.
    axes.set_xlim(0, 1.12 * max(point.x for point in points))
    heights = [point.y for point in points]
    low = min(heights)
    high = max(heights)
    room = max(LEAST_ROOM, ROOM * (high - low))
    # No accuracy is below zero.
    axes.set_ylim(max(0.0, low - room), high + room)
    axes.xaxis.set_major_formatter(count)


def _draw_point(axes: Axes, point: _Point) -> None:
    face = point.colour
    if point.ring:  # white, as it covers the line of the baseline
        face = "white"
    axes.plot(
        point.x,
        point.y,
        "o",
        color=point.colour,
        markersize=7.5,
        markerfacecolor=face,
        markeredgewidth=1.5,
        zorder=3,
    )


def _write_names(axes: Axes, points: Sequence[_Point]) -> None:
    """Write each name where it covers neither another one nor a point."""
    data = [(point.x, point.y) for point in points]
    pixels = axes.transData.transform(data)  # (n, 2), on the figure, y upwards
    places = [(float(x), float(y)) for x, y in pixels]
    inside = axes.get_window_extent()
    # Names may reach into the margins at the right and above, where nothing else is written.
    area = Box(
        inside.x0 + 2,
        inside.y0 + 2,
        inside.x1 + RIGHT,
        inside.y1 + TOP,
    )
    boxes = place_names(
        places,
        [point.name_size for point in points],
        area,
        _baseline_box(points, places, area),
    )
    for point, place, box in zip(points, places, boxes, strict=True):
        _write_name(axes, point, place, box)


def _baseline_box(
    points: Sequence[_Point], places: Sequence[tuple[float, float]], area: Box
) -> tuple[Box, ...]:
    """Where the line of the baseline is, on which no name should lie; all rings are on it."""
    for point, (_, y) in zip(points, places, strict=True):
        if point.ring:
            return (Box(area.left, y - 1, area.right, y + 1),)
    return ()


def _write_name(axes: Axes, point: _Point, place: tuple[float, float], box: Box) -> None:
    """Write a name into its box, and draw a line to its point where that is far away."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    x, y = place
    left, bottom, right, top = box
    # The side that is nearer to the point is exact, as the page's font is narrower than the one it is laid
    # out in.
    anchor = (left + right) / 2
    side = "center"
    if left >= x:
        anchor = left
        side = "left"
    elif right <= x:
        anchor = right
        side = "right"
    # Runs stand out from what they are compared with.
    weight = "bold"
    if point.ring:
        weight = "normal"
    # In points of the figure, not in cycles and per cent.
    figure_points = IdentityTransform()
    axes.text(
        anchor,
        (bottom + top) / 2,
        point.name,
        color=point.colour,
        transform=figure_points,
        ha=side,
        va="center",
        fontweight=weight,
        zorder=4,
    )
    # The point of the box that is nearest to the mark.
    near_x = min(max(x, left), right)
    near_y = min(max(y, bottom), top)
    if (near_x - x) ** 2 + (near_y - y) ** 2 > FAR**2:
        line = Line2D(
            (x, near_x),
            (y, near_y),
            color=point.colour,
            linewidth=0.6,
            transform=figure_points,
            zorder=2,
        )
        axes.add_artist(line)
