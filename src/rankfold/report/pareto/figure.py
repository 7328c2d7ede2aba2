"""The interactive figure of a Pareto front: the curve, and below it what every layer becomes along it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rankfold.planning.exact import LOSS, Candidate, total
from rankfold.planning.exact.candidate import in_letters
from rankfold.planning.exact.quantities import KNOWN, spoken
from rankfold.report.charts.drawing import count, round_numbers
from rankfold.report.numbers import GAP
from rankfold.report.palette import BLUE, EDGE, GREEN, INK, LINE, SOFT
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

# Pixels: the curve, a layer, the gap between both, and the margins.
CURVE, ROW, BETWEEN, TOP, BOTTOM = 400, 17, 66, 12, 64
# Pixels, of the colours' scale at most.
SCALE = 320
# Of an axis beyond its outermost points, in decades.
SPACE = 0.05
# How far the column of a single point reaches to both sides, as a ratio.
ALONE = 1.05
# Layers below each other in a label; more stand side by side.
LINES = 24
FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, '
    "sans-serif"
)
CODE = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'
# Of what is left of a layer's cost, from nothing to all of it.
SHARES = [
    [0.0, "#f3f6fa"],
    [0.25, "#b9d7ec"],
    [0.5, BLUE[2]],
    [0.75, BLUE[0]],
    [1.0, BLUE[1]],
]
# The page shows through, whose ground is dark where the reader asks for it.
CLEAR = "rgba(0,0,0,0)"
# Without the name of the series, which plotly would write beside it.
LABEL_ALONE = "%{text}<extra></extra>"


def figure(view: FrontView) -> Any:
    """A `plotly.graph_objects.Figure` of both panels, which share their horizontal axis."""
    import plotly.graph_objects as go

    front = view.front
    points = front.thinned(MOST_POINTS).tolist()
    x = amounts(front.quantity, front.costs[points]).tolist()
    floor = loss_floor(front.losses)
    drawn = go.Figure()
    _add_curve(drawn, view, points, x, floor)
    _add_network(drawn, view, view.dense, DENSE, floor)
    if view.chosen is not None:
        _add_network(drawn, view, view.chosen, CHOSEN, floor)
    if view.open_layers:
        drawn.add_trace(_heatmap(view, points, x))
    _lay_out(drawn, view, floor)
    return drawn


def _add_curve(
    drawn: Any,
    view: FrontView,
    points: Sequence[int],
    x: Sequence[float],
    floor: float,
) -> None:
    front = view.front
    mark = 4
    if len(points) <= FEW_POINTS:
        mark = 6
    drawn.add_scatter(
        x=x,
        y=np.maximum(front.losses[points], floor).tolist(),
        mode="lines+markers",
        name="best plans",
        line={"color": GREEN[0], "width": 2},
        marker={"size": mark},
        hovertemplate=LABEL_ALONE,
        text=[_label(view, "", front.chosen(point)) for point in points],
    )


def _add_network(
    drawn: Any,
    view: FrontView,
    network: Sequence[Candidate],
    mark: Mark,
    floor: float,
) -> None:
    quantity = view.front.quantity
    cost = float(amounts(quantity, total(network, quantity)))
    drawn.add_scatter(
        x=[cost],
        y=[max(total(network, LOSS), floor)],
        mode="markers",
        name=mark.name,
        marker={
            "symbol": mark.symbol,
            "size": 12,
            "color": mark.colour,
            "line": {"width": 0},
        },
        hovertemplate=LABEL_ALONE,
        text=[_label(view, mark.name, network)],
        cliponaxis=False,
    )


def _heatmap(view: FrontView, points: Sequence[int], x: Sequence[float]) -> Any:
    """The lower panel: a row for each layer that changes, a column for each point.

    Cells are coloured by what is left of the layer's cost.
    """
    import plotly.graph_objects as go

    quantity = view.front.quantity
    shares = []
    words = []
    for index in view.open_layers:
        picks = view.front.picks[points, index].tolist()
        shares.append(_shares(view, index, picks))
        words.append(_words(view, index, picks))
    highest = max(max(row) for row in shares)
    return go.Heatmap(
        x=_edges(x),
        # Names are the user's, and plotly takes what looks like tags for tags.
        y=[html.escape(view.names[index]) for index in view.open_layers],
        z=shares,
        text=words,
        yaxis="y2",
        zmin=0,
        zmax=max(1.0, highest),
        colorscale=SHARES,
        ygap=1,
        hovertemplate=f"%{{y}}: %{{text}}<br>%{{z:.1%}} of its dense {quantity}<extra></extra>",
        colorbar=_colour_bar(view),
    )


def _shares(view: FrontView, index: int, picks: Sequence[int]) -> list[float]:
    """The cost of a layer at some points of the front, over that of the dense layer."""
    quantity = view.front.quantity
    before = view.dense[index].cost(quantity)
    if not before:
        return [1.0] * len(picks)
    # Once for each candidate, which many points have in common.
    shares = [candidate.cost(quantity) / before for candidate in view.front.choices[index]]
    return [shares[pick] for pick in picks]


def _words(view: FrontView, index: int, picks: Sequence[int]) -> list[str]:
    """What a layer becomes at some points of the front, and what it costs then."""
    quantity = view.front.quantity
    unit = KNOWN[quantity].unit or spoken(quantity)
    words = []
    candidates = view.front.choices[index]
    for structure, candidate in zip(view.structures[index], candidates, strict=True):
        amount = float(amounts(quantity, candidate.cost(quantity)))
        words.append(f"{structure}, {amount:,.6g} {unit}")
    return [words[pick] for pick in picks]


def _colour_bar(view: FrontView) -> dict[str, Any]:
    """The scale of the colours, at the right of the lower panel."""
    # On two lines, as the scale of a few layers is short, and a long title beside it would be cut.
    title = f"share of the layer's<br>dense {view.front.quantity}"
    return {
        "title": {
            "text": title,
            "side": "right",
            "font": {"size": 12, "color": SOFT},
        },
        "tickformat": ".0%",
        "thickness": 12,
        "outlinewidth": 0,
        "lenmode": "pixels",
        "len": min(SCALE, ROW * len(view.open_layers)),
        "y": 0,
        "yanchor": "bottom",
    }


def _lay_out(drawn: Any, view: FrontView, floor: float) -> None:
    """Set axes, fonts and margins."""
    # Letters of one width, as the columns of labels are laid out in letters.
    labels = {
        "font": {"family": CODE, "size": 12, "color": INK},
        "bgcolor": "white",
        "bordercolor": EDGE,
        "align": "left",
    }
    # In the upper right corner, which the falling curve leaves free.
    legend = {
        "x": 0.99,
        "y": 0.99,
        "xanchor": "right",
        "yanchor": "top",
        "bgcolor": "rgba(255,255,255,0.8)",
    }
    drawn.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        hovermode="closest",
        height=TOP + BOTTOM + _inner_height(view),
        margin={"l": 10, "r": 10, "t": TOP, "b": BOTTOM},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hoverlabel=labels,
        legend=legend,
        xaxis=_cost_axis(view),
        yaxis=_loss_axis(view, floor),
    )
    if view.open_layers:
        drawn.update_layout(yaxis2=_layer_axis(view))


def _logarithmic() -> dict[str, Any]:
    """What both axes of the curve have in common."""
    return {
        "type": "log",
        "showline": True,
        "linecolor": EDGE,
        "gridcolor": LINE,
        "ticks": "outside",
        "tickcolor": EDGE,
    }


def _cost_axis(view: FrontView) -> dict[str, Any]:
    """The horizontal axis, below the lower panel where there is one.

    Its labels are costs, and below them their shares of the dense network's.
    """
    front = view.front
    costs = [
        *front.costs[[0, -1]],
        *(total(network, front.quantity) for network in view.networks),
    ]
    shown = amounts(front.quantity, np.array(costs))
    low = np.log10(shown.min()) - SPACE
    high = np.log10(shown.max()) + SPACE
    ticks = round_numbers(10**low, 10**high, least=4, most=10)
    dense = float(amounts(front.quantity, view.dense_cost))
    texts = []
    for tick in ticks:
        share = f"{100 * tick / dense:.0f}{GAP}%"
        texts.append(f"{count(tick)}<br><span style='color:{SOFT}'>{share}</span>")
    # It is drawn below the lower panel, if there is one.
    anchor = "y"
    if view.open_layers:
        anchor = "y2"
    title = f"{axis(front.quantity)}, and share of the dense network's"
    return {
        **_logarithmic(),
        "range": [low, high],
        "tickvals": ticks,
        "anchor": anchor,
        "automargin": True,
        "ticktext": texts,
        "title": {"text": title, "font": {"color": SOFT}},
    }


def _loss_axis(view: FrontView, floor: float) -> dict[str, Any]:
    """The vertical axis of the curve, above the lower panel where there is one."""
    losses = [
        *view.front.losses.tolist(),
        *(total(network, LOSS) for network in view.networks),
    ]
    # An axis has some length, even where nothing loses more than its floor.
    top = max(*losses, 10 * floor)
    ticks = loss_ticks(floor, top)
    # A panel's place is given in parts of the height, from below.
    bottom: float = 0
    if view.open_layers:
        bottom = _share_of_layers(view) + BETWEEN / _inner_height(view)
    return {
        **_logarithmic(),
        "range": [np.log10(floor) - SPACE, np.log10(top) + SPACE],
        "automargin": True,
        "domain": [bottom, 1],
        "tickvals": ticks,
        "ticktext": [count(tick) for tick in ticks],
        "title": {"text": "<br>".join(view.axis_of_loss), "font": {"color": SOFT}},
    }


def _layer_axis(view: FrontView) -> dict[str, Any]:
    """The vertical axis of the lower panel: the layers' names, first on top."""
    return {
        "domain": [0, _share_of_layers(view)],
        "autorange": "reversed",
        "automargin": True,
        "showgrid": False,
        "tickfont": {"size": 11},
        "anchor": "x",
        "type": "category",
    }


def _edges(x: Sequence[float]) -> list[float]:
    """Borders of the columns of points, half way between them on a logarithmic axis."""
    if len(x) == 1:
        return [float(x[0]) / ALONE, float(x[0]) * ALONE]
    logs = np.log(x)  # (P,)
    middle = (logs[1:] + logs[:-1]) / 2  # (P - 1,)
    # The outermost points lie in the middle of their columns.
    first = logs[0] - (middle[0] - logs[0])
    last = logs[-1] + (logs[-1] - middle[-1])
    # One border more than there are points.
    return np.exp([first, *middle, last]).tolist()


def _label(view: FrontView, name: str, network: Sequence[Candidate]) -> str:
    """Costs, loss, and what each layer becomes that is not always dense, in columns of a fixed width."""
    lines = []
    if name:
        lines.append(f"<b>{name}</b>")
    lines += [html.escape(line) for line in view.sums(network)]
    cells = []
    for index in view.open_layers:
        cells.append((view.names[index], in_letters(network[index], view.dense[index])))
    for line in _columns(cells):
        # Columns stay in line where no space is dropped.
        lines.append(html.escape(line).replace(" ", GAP))
    return "<br>".join(lines)


def _columns(cells: Sequence[tuple[str, str]]) -> list[str]:
    """(layer, what it becomes) as lines of equal letters; more than `LINES` stand side by side."""
    if not cells:
        return []
    width = max(len(layer) for layer, _ in cells)
    texts = [f"{layer:{width}}  {becomes}" for layer, becomes in cells]
    widest = max(len(text) for text in texts)
    # As few columns as can be, and those as long as each other; they are filled from top to bottom.
    columns = math.ceil(len(texts) / LINES)
    rows = math.ceil(len(texts) / columns)
    lines = []
    for row in range(rows):
        beside = [f"{text:{widest}}" for text in texts[row::rows]]
        lines.append("   ".join(beside).rstrip())
    return lines


def _inner_height(view: FrontView) -> int:
    """Pixels between the margins."""
    if not view.open_layers:
        return CURVE
    return CURVE + BETWEEN + ROW * len(view.open_layers)


def _share_of_layers(view: FrontView) -> float:
    """The lower panel's part of the height; 0 where there is none."""
    return ROW * len(view.open_layers) / _inner_height(view)
