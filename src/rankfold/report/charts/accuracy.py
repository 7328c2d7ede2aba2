"""The chart of accuracy against cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import SIZE, Chart, count, frame, shorten, svg, text_width
from rankfold.report.palette import SOFT, colours
from rankfold.report.placement import LINE_HEIGHT, Box, place_names
from rankfold.report.runs import Run, dense_cycles, float_baseline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 300.0
BOLD = 1.12  # how much wider bold letters are
MARGIN = (46.0, 20.0, 12.0, 38.0)  # left, right, top, bottom


@dataclass(frozen=True)
class _Point:
    """A network: cycles, accuracy in percent, its name, colour, and whether it is a ring (not of this report)."""

    x: float
    y: float
    name: str
    colour: str
    ring: bool


def accuracy_chart(runs: Sequence[Run]) -> Chart:
    """Rings: the dense float network under each mapping; dots: every run as planned. Each has its name beside it."""
    points = _points(runs)

    def draw(figure: Figure) -> None:
        axes = frame(figure, *MARGIN)
        axes.set(xlabel="cycles per image", ylabel="test accuracy, %")
        axes.set_xlim(0, 1.12 * max(point.x for point in points))
        heights = [point.y for point in points]
        room = max(0.5, 0.22 * (max(heights) - min(heights)))
        axes.set_ylim(max(0.0, min(heights) - room), max(heights) + room)
        axes.xaxis.set_major_formatter(count)
        baseline = float_baseline(runs)
        if baseline is not None:
            axes.axhline(100 * baseline, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        for point in points:
            face = "white" if point.ring else point.colour
            axes.plot(
                point.x, point.y, "o", color=point.colour, markersize=7.5, markerfacecolor=face, markeredgewidth=1.5, zorder=3
            )
        _write_names(axes, points)

    told = "; ".join(f"{point.name}: {point.y:.2f} % at {point.x:,.0f} cycles" for point in points)
    return Chart(svg("accuracy", f"Test accuracy against cycles per image. {told}", HEIGHT, draw))


def _points(runs: Sequence[Run]) -> list[_Point]:
    points = []
    for run, shade in zip(runs, colours([run.result for run in runs]), strict=True):
        final = 100 * run.result.accuracy.final
        points.append(_Point(run.result.planned_cycles, final, f"{shorten(run.label)}, {final:.1f} %", shade, ring=False))
    baseline = float_baseline(runs)
    if baseline is not None:
        # Mappings with the same number of cycles share one ring.
        rings: dict[int, list[str]] = {}
        for name, cycles in dense_cycles(runs[0].result):
            rings.setdefault(cycles, []).append(name)
        points += [
            _Point(cycles, 100 * baseline, f"dense float, {' = '.join(names)}", SOFT, ring=True)
            for cycles, names in rings.items()
        ]
    return points


def _write_names(axes: Axes, points: Sequence[_Point]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    plain = IdentityTransform()
    places = [(float(x), float(y)) for x, y in axes.transData.transform([(point.x, point.y) for point in points])]
    frame_box = axes.get_window_extent()
    area: Box = (frame_box.x0 + 2, frame_box.y0 + 2, frame_box.x1 + MARGIN[1], frame_box.y1 + MARGIN[2])
    sizes = [(text_width(point.name) * (1 if point.ring else BOLD), LINE_HEIGHT * SIZE) for point in points]
    baseline = [(area[0], y - 1, area[2], y + 1) for point, (_, y) in zip(points, places, strict=True) if point.ring]
    boxes = place_names(places, sizes, area, baseline[:1])
    for point, (x, y), (left, bottom, right, top) in zip(points, places, boxes, strict=True):
        side = "left" if left >= x else "right" if right <= x else "center"
        anchor = {"left": left, "right": right, "center": (left + right) / 2}[side]
        axes.text(
            anchor, (bottom + top) / 2, point.name, color=point.colour, ha=side, va="center", transform=plain, zorder=4,
            fontweight="normal" if point.ring else "bold",
        )  # fmt: skip
        near_x, near_y = min(max(x, left), right), min(max(y, bottom), top)
        if (near_x - x) ** 2 + (near_y - y) ** 2 > 20**2:
            axes.add_artist(Line2D((x, near_x), (y, near_y), color=point.colour, linewidth=0.6, transform=plain, zorder=2))
