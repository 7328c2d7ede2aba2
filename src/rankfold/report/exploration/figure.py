"""The picture of a front: lines through all that varies and all that it costs, and a plane of two costs."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rankfold.explore.exploration import Exploration
from rankfold.explore.front import Quantity
from rankfold.report.exploration.rows import cells, headers, labels_of, shown_quantities, value_of
from rankfold.report.palette import GREY

COLOURS = "Viridis"
# Points beside the front that are drawn, in grey.
MOST_OTHERS = 2000
# From so many times on, an axis shows decades.
WIDE = 20.0
AXIS = 84  # pixels of an axis of the upper panel
LONGEST = 20  # letters of a value at an axis
PALE = {"marker": {"opacity": 0.35}}
# Points beside the front, which no brush chooses.
OTHERS: dict[str, Any] = {
    "mode": "markers",
    "marker": {"color": GREY[1], "size": 3, "opacity": 0.35},
    "hoverinfo": "skip",
    "selected": PALE,
    "unselected": PALE,
}
LAYOUT: dict[str, Any] = {
    "template": "none",
    "height": 900,
    "showlegend": False,
    "dragmode": "select",
    "margin": {"l": 130, "r": 60, "t": 40, "b": 50},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY[1], "activecolor": GREY[0]},
}


def in_signs(title: str) -> str:
    """A title with the signs of its unit instead of letters that stand for them."""
    return title.replace(", us", ", µs").replace(", mm2", ", mm²")


def width(found: Exploration) -> int:
    """Pixels that the upper panel needs at least."""
    axes = len(found.space.varying(len(found.networks))) + len(shown_quantities(found))
    return max(640, AXIS * axes)


def figure(found: Exploration, points: Sequence[int], others: Sequence[int]) -> Any:
    """The figure.

    Args:
        found: the exploration.
        points: of the front, which are drawn as lines and marks.
        others: that run, which are drawn as grey marks.
    """
    import plotly.graph_objects as go

    quantities = shown_quantities(found)
    first, second, third = _panels(quantities)
    values = {one: [value_of(found, number, one) for number in points] for one in (first, second, third)}
    behind = {one: [value_of(found, number, one) for number in others] for one in (first, second)}
    colours = {"color": values[third], "colorscale": COLOURS}
    drawn = go.Figure()
    drawn.add_parcoords(
        dimensions=[*_varying_axes(found, points), *(_cost_axis(found, points, one) for one in quantities)],
        line=colours,
        domain={"y": [0.58, 0.91]},
        labelangle=-15,
        labelside="top",
    )
    # Below the front, as they come before it.
    drawn.add_scatter(x=behind[first], y=behind[second], name="other points", **OTHERS)
    colourbar = {"title": {"text": in_signs(third.title)}, "len": 0.5, "y": 0.24}
    drawn.add_scatter(
        x=values[first],
        y=values[second],
        mode="markers",
        marker={**colours, "size": 8, "colorbar": colourbar},
        unselected={"marker": {"opacity": 0.06}},
        text=[_label(found, number) for number in points],
        hovertemplate="%{text}<extra></extra>",
        name="front",
    )
    drawn.update_layout(
        xaxis=_plane_axis(first, values[first] + behind[first]),
        yaxis=_plane_axis(second, values[second] + behind[second], domain=[0, 0.48]),
        **LAYOUT,
    )
    return drawn


def _panels(quantities: Sequence[Quantity]) -> tuple[Quantity, Quantity, Quantity]:
    """What is drawn to the right, upwards, and as colour."""
    return quantities[0], quantities[min(1, len(quantities) - 1)], quantities[min(2, len(quantities) - 1)]


def _varying_axes(found: Exploration, points: Sequence[int]) -> list[dict[str, Any]]:
    """An axis for everything that varies, its values in the order of the space."""
    axes = []
    labels = [labels_of(found, number) for number in points]
    sizes = found.space.sizes(len(found.networks))
    indices = []
    for number in points:
        point = found.space.point(number, len(found.networks))
        indices.append((point.network, point.plan, point.chip, *point.values))
    for place, name in enumerate(("network", "plan", "chip", *(axis.place for axis in found.space.axes))):
        if sizes[place] == 1:
            continue
        words = {index[place]: label[name] for index, label in zip(indices, labels, strict=True)}
        ticks = sorted(words)
        axes.append(
            {
                "label": html.escape(name),
                "values": [index[place] for index in indices],
                "range": [-0.3, sizes[place] - 0.7],
                "tickvals": ticks,
                "ticktext": [html.escape(_short(words[tick])) for tick in ticks],
            }
        )
    return axes


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 1]}…"


def _cost_axis(found: Exploration, points: Sequence[int], quantity: Quantity) -> dict[str, Any]:
    """An axis of a cost, of decades where it spans several."""
    values = [value_of(found, number, quantity) for number in points]
    label = html.escape(in_signs(quantity.title))
    if _scale(values) != "log":
        return {"label": label, "values": values}
    ticks = _ticks(values)
    return {
        "label": label,
        "values": np.log10(values).tolist(),
        "tickvals": np.log10(ticks).tolist(),
        "ticktext": [f"{tick:,g}" for tick in ticks],
    }


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 of every decade that lie within values; several, as values span more than one decade."""
    exponents = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
    ticks = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    return [tick for tick in ticks if min(values) <= tick <= max(values)]


def _plane_axis(quantity: Quantity, values: Sequence[float], **others: Any) -> dict[str, Any]:
    """An axis of the lower panel."""
    axis = {
        "title": {"text": html.escape(in_signs(quantity.title))},
        "type": _scale(values),
        "automargin": True,
        **others,
    }
    if axis["type"] == "log":
        ticks = _ticks(values)
        axis |= {"tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}
    return axis


def _scale(values: Sequence[float]) -> str:
    if min(values) > 0 and max(values) > WIDE * min(values):
        return "log"
    return "linear"


def _label(found: Exploration, number: int) -> str:
    """What a point is, and what it costs."""
    lines = [
        f"{in_signs(name)}: {cell}" for name, cell in zip(headers(found), cells(found, number), strict=True)
    ]
    figures = found.outcomes[number].figures
    assert figures is not None  # it is on the front
    lines.append(f"what limits: {figures.limit}")
    return "<br>".join(html.escape(line) for line in lines)
