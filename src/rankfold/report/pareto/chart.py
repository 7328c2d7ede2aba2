"""The picture of a Pareto front: predicted loss against cycles (or arrays, or energy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rankfold.planning.exact import LOSS, Candidate, total
from rankfold.report.charts.drawing import (
    INCH,
    SIZE,
    count,
    frame,
    round_numbers,
    svg,
    svg_file,
)
from rankfold.report.palette import GREEN, INK
from rankfold.report.pareto.view import (
    CHOSEN,
    DENSE,
    FEW_POINTS,
    MOST_POINTS,
    FrontView,
    Mark,
    amounts,
    axis,
    loss_floor,
    loss_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points: of the picture, and its margins.
HEIGHT = 330.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 24.0, 34.0, 50.0
# Of the axes beyond their outermost points, as ratios.
ROOM, LOSS_ROOM = 1.12, 1.3


# Matplotlib's names of the symbols.
SIGNS = {"diamond": "D", "circle": "o"}


def picture(view: FrontView) -> str:
    """The picture as an SVG file; the same front gives the same bytes."""
    front = view.front
    floor = loss_floor(front.losses)

    def draw(figure: Figure) -> None:
        axes = frame(figure, LEFT, RIGHT, TOP, BOTTOM)
        _draw_curve(axes, view, floor)
        _set_costs(axes, view)
        _set_losses(axes, view, floor)
        # After the scales, which say on which side of a mark there is room for its name.
        _draw_network(axes, view, view.dense, DENSE, floor)
        if view.chosen is not None:
            _draw_network(axes, view, view.chosen, CHOSEN, floor)
        left = LEFT / figure.get_figwidth() / INCH
        title = f"{view.setting}: the best of all plans, {len(front):,} points"
        figure.text(
            left,
            1 - 14 / HEIGHT,
            title,
            va="center",
            fontsize=SIZE + 2,
            color=INK,
        )

    return svg_file(svg("front", _told(view), HEIGHT, draw))


def _draw_curve(axes: Axes, view: FrontView, floor: float) -> None:
    front = view.front
    points = front.thinned(MOST_POINTS)
    mark = ""
    if len(points) <= FEW_POINTS:
        mark = "o"
    axes.plot(
        amounts(front.quantity, front.costs[points]),
        np.maximum(front.losses[points], floor),
        color=GREEN[0],
        linewidth=1.8,
        marker=mark,
        markersize=3.5,
        zorder=3,
        clip_on=False,
    )


def _set_costs(axes: Axes, view: FrontView) -> None:
    """The horizontal axis: each cost, and below it its share of the dense network's."""
    from matplotlib.ticker import FixedLocator, NullLocator

    front = view.front
    unit = float(amounts(front.quantity, 1.0))
    # All that is drawn lies between the ends of the front and the networks beside it.
    costs = [
        *front.costs[[0, -1]],
        *(total(network, front.quantity) for network in view.networks),
    ]
    low = min(costs) / ROOM * unit
    high = max(costs) * ROOM * unit

    def label(value: float, _: object) -> str:
        # Labels are in the axis's unit, shares are of costs as the front has them.
        share = 100 * view.share(value / unit)
        return f"{count(value)}\n{share:.0f} %"

    axes.set_xscale("log")
    axes.set_xlabel(f"{axis(front.quantity)}, and share of the dense network's")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(round_numbers(low, high, least=4, most=7)))
    # matplotlib's own minor ticks would have labels, too.
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(label)


def _set_losses(axes: Axes, view: FrontView, floor: float) -> None:
    """The vertical axis."""
    from matplotlib.ticker import FixedLocator, NullLocator

    losses = [
        *view.front.losses,
        *(total(network, LOSS) for network in view.networks),
    ]
    highest = max(losses)
    # An axis has some length, even where nothing loses more than its floor.
    top = 10 * floor
    if highest > floor:
        top = highest * LOSS_ROOM
    axes.set_yscale("log")
    axes.set_ylabel(" ".join(view.axis_of_loss))
    axes.set_ylim(floor / LOSS_ROOM, top)
    axes.yaxis.set_major_locator(FixedLocator(loss_ticks(*axes.get_ylim())))
    axes.yaxis.set_major_formatter(count)
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_network(
    axes: Axes,
    view: FrontView,
    network: Sequence[Candidate],
    mark: Mark,
    floor: float,
) -> None:
    """Draw a mark with its name, which stands off the falling curve.

    That is above it and to the right, or below it and to the left.
    """
    quantity = view.front.quantity
    x = float(amounts(quantity, total(network, quantity)))
    loss = total(network, LOSS)
    y = max(loss, floor)
    axes.plot(
        x,
        y,
        SIGNS[mark.symbol],
        color=mark.colour,
        markersize=7.5,
        zorder=5,
        clip_on=False,
    )
    words = f"{mark.name}, no loss"
    if loss:
        words = f"{mark.name}, +{loss:.3g}"
    low, high = axes.get_xlim()
    side: dict[str, Any] = {"ha": "left", "va": "bottom"}
    right, up = 9, 6
    # In the right half of the logarithmic axis there may be no room to the right. At the left the curve is
    # above the mark, so the name goes below it, if there is room between it and the axis.
    if x * x > low * high:
        side["ha"] = "right"
        right = -9
        if y > floor:
            side["va"] = "top"
            up = -6
    axes.annotate(
        words,
        (x, y),
        (right, up),
        textcoords="offset points",
        color=mark.colour,
        fontweight="bold",
        zorder=5,
        **side,
    )


def _told(view: FrontView) -> str:
    """The picture in words."""
    front = view.front
    ends = []
    for point in dict.fromkeys((0, len(front) - 1)):  # once, of a single point
        sums = view.sums(front.chosen(point))
        ends.append(", ".join(sums))
    plans = [f"{DENSE.name}: {', '.join(view.sums(view.dense))}"]
    if view.chosen is not None:
        plans.append(f"{CHOSEN.name}: {', '.join(view.sums(view.chosen))}")
    whole = f"predicted loss against {front.quantity}, from {'; '.join(ends)}"
    return f"{view.setting}: {whole}. {'. '.join(plans)}"
