"""The picture of a Pareto front: predicted loss against cycles (or arrays, or energy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankfold.planning.exact import LOSS, Candidate, total
from rankfold.report.charts.drawing import SIZE, count, frame, round_numbers, svg
from rankfold.report.charts.picture import HEAD
from rankfold.report.palette import INK, SHADES
from rankfold.report.pareto.view import AXES, FrontView, amounts, loss_floor, loss_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 330.0
MARGIN = (54.0, 24.0, 34.0, 50.0)  # left, right, top, bottom
MOST = 400  # points drawn; the line has no more pixels
FEW = 60  # points that get a mark each
ROOM = 1.12  # of an axis beyond its outermost points


def picture(view: FrontView) -> str:
    """The picture as an SVG file; the same front gives the same bytes."""
    front = view.front
    points = front.thinned(MOST)

    def draw(figure: Figure) -> None:
        axes = frame(figure, *MARGIN)
        floor = loss_floor(front.losses)
        x, y = amounts(front.quantity, front.costs[points]), np.maximum(front.losses[points], floor)
        marks = "o" if len(points) <= FEW else ""
        axes.plot(x, y, color=SHADES["mixed"][0], linewidth=1.8, marker=marks, markersize=3.5, zorder=3, clip_on=False)
        _scales(axes, view, floor)
        _network(axes, view, view.dense, "dense network", "D", SHADES["dense"][1], floor)
        if view.chosen is not None:
            _network(axes, view, view.chosen, "chosen plan", "o", SHADES["plain"][0], floor)
        title = f"{view.setting}: the best of all plans, {len(front):,} points"
        figure.text(MARGIN[0] / figure.get_figwidth() / 72, 1 - 14 / HEIGHT, title, va="center", fontsize=SIZE + 2, color=INK)

    return svg("front", _told(view), HEIGHT, draw).replace("<svg ", HEAD, 1) + "\n"


def _scales(axes: Axes, view: FrontView, floor: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    front = view.front
    unit = float(amounts(front.quantity, 1.0))
    costs = (*front.costs[[0, -1]], *(total(plan, front.quantity) for plan in _plans(view)))
    low, high = min(costs) / ROOM * unit, max(costs) * ROOM * unit
    axes.set(xscale="log", yscale="log", xlabel=f"{AXES[front.quantity]}, and share of the dense network's")
    axes.set_ylabel("predicted increase of the loss, nats per image")
    axes.set_xlim(low, high)
    losses = (floor, *front.losses, *(total(plan, LOSS) for plan in _plans(view)))
    axes.set_ylim(floor / 1.3, max(losses) * 1.3 if max(losses) > floor else 10 * floor)
    ticks = round_numbers(low, high, least=4, most=7)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{count(value)}\n{100 * view.share(value / unit):.0f} %")
    axes.yaxis.set_major_locator(FixedLocator(loss_ticks(*axes.get_ylim())))
    axes.yaxis.set_major_formatter(count)
    axes.yaxis.set_minor_locator(NullLocator())


def _network(axes: Axes, view: FrontView, chosen: Sequence[Candidate], words: str, mark: str, colour: str, floor: float) -> None:
    """A mark with its name, which stands off the falling curve: above and to the right, or below and to the left."""
    x = float(amounts(view.front.quantity, total(chosen, view.front.quantity)))
    loss = total(chosen, LOSS)
    y = max(loss, floor)
    axes.plot(x, y, mark, color=colour, markersize=7.5, zorder=5, clip_on=False)
    low, high = axes.get_xlim()
    left = x * x > low * high  # in the right half there may be no room to the right
    below = left and y > floor
    axes.annotate(
        f"{words}, +{loss:.3g}" if loss else f"{words}, no loss", (x, y), (-9 if left else 9, -6 if below else 6),
        textcoords="offset points", ha="right" if left else "left", va="top" if below else "bottom", color=colour,
        fontweight="bold", zorder=5,
    )  # fmt: skip


def _plans(view: FrontView) -> tuple[tuple[Candidate, ...], ...]:
    return (view.dense,) if view.chosen is None else (view.dense, view.chosen)


def _told(view: FrontView) -> str:
    """The picture in words."""
    front = view.front
    ends = "; ".join(", ".join(view.sums(front.chosen(point))) for point in dict.fromkeys((0, len(front) - 1)))
    plans = [f"dense network: {', '.join(view.sums(view.dense))}"]
    if view.chosen is not None:
        plans.append(f"chosen plan: {', '.join(view.sums(view.chosen))}")
    return f"{view.setting}: predicted loss against {front.quantity}, from {ends}. {'. '.join(plans)}"
