"""The figure of a reproduction: accuracy against cycles on every array, with the Pareto front of each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.plan import IDEAL, LOW_RANK, PLAIN, SUPPORT
from rankfold.report.charts.drawing import SIZE, WIDTH, count, round_numbers, svg
from rankfold.report.charts.picture import HEAD
from rankfold.report.palette import INK, SHADES, SOFT
from rankfold.reproduce.headline import ROW_SPARSE, Point, pareto

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 215.0  # points, height
TITLE, LINE, AXIS, BELOW = 28.0, 13.0, 46.0, 36.0
COLUMNS = 4  # of the legend


@dataclass(frozen=True)
class Series:
    """Points that are drawn alike and share a front.

    Attributes:
        words: for the legend.
        colour: of marks and line.
        mark: matplotlib's marker.
        holds: whether a point belongs to it.
        filled: marks are filled; ideal steering is not.
    """

    words: str
    colour: str
    mark: str
    holds: Callable[[Point], bool]
    filled: bool = True


def _of(method: str, mapping: str, steering: str = PLAIN, grouped: bool | None = None) -> Callable[[Point], bool]:
    def holds(point: Point) -> bool:
        row = point.of
        same = (point.kind, row.mapping, row.steering) == (method, mapping, steering)
        return same and (grouped is None or ((row.groups or 1) > 1) == grouped)

    return holds


SERIES = (
    Series("group low-rank + SDK", SHADES["group"][0], "o", _of(LOW_RANK, "sdk", grouped=True)),
    Series("plain low-rank + SDK", SHADES["plain"][0], "s", _of(LOW_RANK, "sdk", grouped=False)),
    Series("row-sparse low-rank + SDK", SHADES["sparse"][0], "*", _of(ROW_SPARSE, "sdk")),
    Series("shared support, SDK", SHADES["support"][0], "h", _of(SUPPORT, "sdk")),
    Series("PAIRS, SDK", SHADES["pairs"][0], "D", _of("pairs", "sdk")),
    Series("PatDNN, SDK", SHADES["patdnn"][0], "^", _of("patdnn", "sdk")),
    Series("PatDNN, SDK, ideal steering", SHADES["patdnn"][2], "^", _of("patdnn", "sdk", IDEAL), filled=False),
    Series("channel pruning, SDK", SHADES["channel"][0], "v", _of("channel", "sdk")),
    Series("dense, SDK", SHADES["dense"][1], "X", _of("quantise", "sdk")),
    Series("dense, VW-SDK", SHADES["dense"][0], "P", _of("quantise", "vw-sdk")),
)


def figure(points: Sequence[Point], title: str) -> str:
    """The figure as an SVG file; the same points give the same bytes.

    Args:
        points: averaged over seeds.
        title: above the panels.
    """
    arrays = list(dict.fromkeys(point.of.array for point in points))
    shown = [series for series in SERIES if any(series.holds(point) for point in points)]
    rows = -(-len(arrays) // 2)
    head = TITLE + LINE * -(-len(shown) // COLUMNS)
    height = head + rows * PANEL
    low, high = _heights(points)

    def draw(canvas: Figure) -> None:
        handles: list[Artist] = []
        for index, array in enumerate(arrays):
            row, column = divmod(index, 2)
            width = (WIDTH - 2 * AXIS - 24) / 2
            left = AXIS + column * (width + AXIS + 8)
            top = height - head - row * PANEL
            axes = canvas.add_axes((left / WIDTH, (top - PANEL + BELOW) / height, width / WIDTH, (PANEL - BELOW - 22) / height))
            handles = _panel(axes, [point for point in points if point.of.array == array], shown, array) or handles
            axes.set_ylim(low, high)
        canvas.text(AXIS / WIDTH, 1 - 12 / height, title, va="center", fontsize=SIZE + 2, color=INK)
        canvas.legend(
            handles, [series.words for series in shown], loc="upper left", bbox_to_anchor=((AXIS - 6) / WIDTH, 1 - 20 / height),
            ncols=COLUMNS, frameon=False, fontsize=SIZE - 1, handletextpad=0.4, columnspacing=1.4, borderpad=0,
        )  # fmt: skip

    told = "; ".join(
        f"{point.label}, {point.of.mapping}, {point.of.steering}, {point.of.array}: {100 * point.accuracy:.2f} % at "
        f"{point.cycles:,.0f} cycles"
        for point in points
        if any(series.holds(point) for series in shown)
    )
    return svg("reproduction", f"{title}. {told}", height, draw).replace("<svg ", HEAD, 1) + "\n"


def _panel(axes: Axes, points: Sequence[Point], shown: Sequence[Series], array: str) -> list[Artist]:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    handles: list[Artist] = []
    for series in shown:
        own = [point for point in points if series.holds(point)]
        face = series.colour if series.filled else "white"
        (marks,) = axes.plot(
            [point.cycles for point in own], [100 * point.accuracy for point in own], series.mark, color=series.colour,
            markerfacecolor=face, markersize=5.5, zorder=3,
        )  # fmt: skip
        handles.append(marks)
        front = pareto(own)
        style = "-" if series.filled else (0, (3, 2))
        axes.plot(
            [point.cycles for point in front], [100 * point.accuracy for point in front], linestyle=style, color=series.colour,
            linewidth=1.1, alpha=0.7, zorder=2,
        )  # fmt: skip
    axes.set_title(f"{array} arrays", fontsize=SIZE, color=SOFT, loc="left", pad=4)
    axes.set_xlabel("cycles per image")
    axes.set_ylabel("test accuracy, %")
    axes.xaxis.set_major_locator(FixedLocator(round_numbers(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(count)
    return handles


def _heights(points: Sequence[Point]) -> tuple[float, float]:
    values = [100 * point.accuracy for point in points if any(series.holds(point) for series in SERIES)]
    room = max(0.5, 0.06 * (max(values) - min(values)))
    return max(0.0, min(values) - room), min(100.0, max(values) + room)
