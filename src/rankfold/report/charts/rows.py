"""Charts with a row of bars or dots for each layer or network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import (
    count,
    frame,
    shorten,
    svg,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Height of a bar over that of a row.
BAR = 0.8
# Of a bar among others, so that they do not touch.
SLIM = 0.86
# Rows; of more than that they are lower, and the axis is written above, too.
MANY = 30
# Margins, points.
RIGHT, BOTTOM = 16.0, 34.0


def rows_svg(
    name: str,
    describe: str,
    rows: Sequence[str],
    marks: int,
    draw: Callable[[Axes], None],
) -> str:
    """A chart with a row for each name, first on top.

    Args:
        name: of the drawing, for its ids.
        describe: what it shows, for readers who cannot see it.
        rows: what is written at the left of each row.
        marks: bars or dots in a row, below each other.
        draw: draws them; the first row is at height 0, the next at 1.
    """
    many = len(rows) > MANY
    labels = [shorten(row) for row in rows]
    left = 10 + max(text_width(label) for label in labels)
    # Points: of a row, and above the first one.
    top = 4.0
    pitch = 14.5
    if many:
        top = 18.0
        pitch = 11.5
    # Bars and dots of several runs need some height each.
    pitch = max(pitch, 4.5 * marks)

    def draw_all(figure: Figure) -> None:
        axes = frame(figure, left, RIGHT, top, BOTTOM)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", length=0, labeltop=many)
        # Downwards, with a little room above the first row and below the last one.
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(count)
        draw(axes)

    height = top + BOTTOM + pitch * (len(rows) + 0.2)
    return svg(name, describe, height, draw_all)


def offset(number: int, marks: int) -> float:
    """How far the middle of one of a row's marks is below the middle of all, in marks."""
    return number - (marks - 1) / 2


def draw_ticks(axes: Axes, values: Sequence[float], colour: str) -> None:
    """Draw a tick as high as a bar in each row."""
    tops = [row - BAR / 2 for row in range(len(values))]
    bottoms = [row + BAR / 2 for row in range(len(values))]
    axes.vlines(values, tops, bottoms, color=colour, linewidth=1.3)
