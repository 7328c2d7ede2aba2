"""The interactive figure of a Pareto front: the curve, and below it what every layer becomes along it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from rankfold.planning.exact import ENERGY, LOSS, Candidate, structure_in_words, total
from rankfold.report.charts.drawing import count, round_numbers
from rankfold.report.facts import GAP
from rankfold.report.palette import INK, LINE, SHADES, SOFT
from rankfold.report.pareto.view import AXES, FrontView, amounts, loss_floor, loss_ticks

MOST = 400  # points; all of them are in the CSV file
FEW = 60  # points that get a large mark each
CURVE, ROW, BETWEEN, TOP, BOTTOM = 400, 17, 66, 12, 64  # pixels: the curve, a layer, the gap between both, margins
SCALE = 320  # pixels, of the colours' scale at most
SPACE = 0.05  # of an axis beyond its outermost points, in decades
LINES = 24  # layers below each other in a label; more stand side by side
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif'
CODE = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'
EDGE = "#9ca3af"
SHARES = [[0.0, "#f3f6fa"], [0.25, "#b9d7ec"], [0.5, SHADES["group"][2]], [0.75, SHADES["group"][0]], [1.0, SHADES["group"][1]]]


def figure(view: FrontView) -> Any:
    """A `plotly.graph_objects.Figure` of both panels, which share their horizontal axis."""
    import plotly.graph_objects as go

    front = view.front
    points = front.thinned(MOST).tolist()
    floor = loss_floor(front.losses)
    x = amounts(front.quantity, front.costs[points]).tolist()
    drawn = go.Figure()
    drawn.add_scatter(
        x=x, y=np.maximum(front.losses[points], floor).tolist(), mode="lines+markers", name="best plans",
        line={"color": SHADES["mixed"][0], "width": 2}, marker={"size": 6 if len(points) <= FEW else 4},
        hovertemplate="%{text}<extra></extra>", text=[_label(view, "", front.chosen(point)) for point in points],
    )  # fmt: skip
    for name, chosen, symbol, colour in (
        ("dense network", view.dense, "diamond", SHADES["dense"][1]),
        ("chosen plan", view.chosen, "circle", SHADES["plain"][0]),
    ):
        if chosen is not None:
            drawn.add_scatter(
                x=[float(amounts(front.quantity, total(chosen, front.quantity)))], y=[max(total(chosen, LOSS), floor)],
                mode="markers", name=name, marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 0}},
                hovertemplate="%{text}<extra></extra>", text=[_label(view, name, chosen)], cliponaxis=False,
            )  # fmt: skip
    if view.open_layers:
        drawn.add_trace(_layers(view, points, x))
    _lay_out(drawn, view, floor)
    return drawn


def _layers(view: FrontView, points: Sequence[int], x: Sequence[float]) -> Any:
    """The lower panel: a row for each layer that changes, a column for each point, coloured by what is left of its cost."""
    import plotly.graph_objects as go

    front, quantity = view.front, view.front.quantity
    shares, words = [], []
    for index in view.open_layers:
        before = view.dense[index].cost(quantity)
        costs = [candidate.cost(quantity) for candidate in front.choices[index]]
        picks = front.picks[points, index].tolist()
        shares.append([costs[pick] / before if before else 1.0 for pick in picks])
        words.append(
            [f"{view.structures[index][pick]}, {float(amounts(quantity, costs[pick])):,.6g} {_unit(quantity)}" for pick in picks]
        )
    return go.Heatmap(
        x=_edges(x), y=[html.escape(view.names[index]) for index in view.open_layers], z=shares, text=words, yaxis="y2",
        zmin=0, zmax=max(1.0, *(max(row) for row in shares)), colorscale=SHARES, ygap=1,
        hovertemplate=f"%{{y}}: %{{text}}<br>%{{z:.1%}} of its dense {quantity}<extra></extra>",
        colorbar={
            "title": {"text": f"share of the layer's dense {quantity}", "side": "right", "font": {"size": 12, "color": SOFT}},
            "tickformat": ".0%",
            "thickness": 12, "outlinewidth": 0, "lenmode": "pixels", "len": min(SCALE, ROW * len(view.open_layers)), "y": 0,
            "yanchor": "bottom",
        },
    )  # fmt: skip


def _lay_out(drawn: Any, view: FrontView, floor: float) -> None:
    front = view.front
    plans = [view.dense] if view.chosen is None else [view.dense, view.chosen]
    costs = amounts(front.quantity, np.array([*front.costs[[0, -1]], *(total(plan, front.quantity) for plan in plans)]))
    low, high = np.log10(costs.min()) - SPACE, np.log10(costs.max()) + SPACE
    ticks = round_numbers(10**low, 10**high, least=4, most=10)
    share = float(amounts(front.quantity, view.dense_cost))
    top = max(*front.losses.tolist(), *(total(plan, LOSS) for plan in plans), 10 * floor)
    heights = loss_ticks(floor, top)
    panel = _share_of_layers(view)
    plain = {"type": "log", "showline": True, "linecolor": EDGE, "gridcolor": LINE, "ticks": "outside", "tickcolor": EDGE}
    code = {"family": CODE, "size": 12, "color": INK}
    drawn.update_layout(
        template="none", font={"family": FONT, "size": 13, "color": INK}, hovermode="closest", height=_height(view),
        margin={"l": 10, "r": 10, "t": TOP, "b": BOTTOM}, paper_bgcolor="white", plot_bgcolor="white",
        hoverlabel={"font": code, "bgcolor": "white", "bordercolor": EDGE, "align": "left"},
        legend={"x": 0.99, "y": 0.99, "xanchor": "right", "yanchor": "top", "bgcolor": "rgba(255,255,255,0.8)"},
        xaxis={
            **plain, "range": [low, high], "tickvals": ticks, "anchor": "y2" if panel else "y", "automargin": True,
            "ticktext": [f"{count(tick)}<br><span style='color:{SOFT}'>{100 * tick / share:.0f}{GAP}%</span>" for tick in ticks],
            "title": {"text": f"{AXES[front.quantity]}, and share of the dense network's", "font": {"color": SOFT}},
        },
        yaxis={
            **plain, "range": [np.log10(floor) - SPACE, np.log10(top) + SPACE], "automargin": True,
            "domain": [panel + BETWEEN / _inner(view) if panel else 0, 1],
            "tickvals": heights, "ticktext": [count(tick) for tick in heights],
            "title": {"text": "predicted increase of the loss,<br>nats per image", "font": {"color": SOFT}},
        },
    )  # fmt: skip
    if panel:
        rows = {"domain": [0, panel], "autorange": "reversed", "automargin": True, "showgrid": False, "tickfont": {"size": 11}}
        drawn.update_layout(yaxis2={**rows, "anchor": "x", "type": "category"})


def _edges(x: Sequence[float]) -> list[float]:
    """Borders of the columns of points, half way between them on a logarithmic axis."""
    logs = np.log(x)
    if len(logs) == 1:
        return [float(x[0]) / 1.05, float(x[0]) * 1.05]
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp([logs[0] - (middle[0] - logs[0]), *middle, logs[-1] + (logs[-1] - middle[-1])]).tolist()


def _label(view: FrontView, name: str, chosen: Sequence[Candidate]) -> str:
    """Costs, loss, and what each layer becomes that is not always dense, in columns of a fixed width."""
    lines = [f"<b>{name}</b>"] if name else []
    lines += [html.escape(line) for line in view.sums(chosen)]
    cells = [(view.names[index], structure_in_words(chosen[index].entry)) for index in view.open_layers]
    width = max((len(layer) for layer, _ in cells), default=0)
    texts = [f"{layer:{width}}  {becomes}" for layer, becomes in cells]
    widest = max(map(len, texts), default=0)
    columns = -(-len(texts) // LINES)
    rows = -(-len(texts) // columns) if columns else 0
    for row in range(rows):
        line = "   ".join(f"{text:{widest}}" for text in texts[row::rows])
        lines.append(html.escape(line.rstrip()).replace(" ", GAP))
    return "<br>".join(lines)


def _unit(quantity: str) -> str:
    return "nJ" if quantity == ENERGY else quantity


def _inner(view: FrontView) -> int:
    """Pixels between the margins."""
    return CURVE + (BETWEEN + ROW * len(view.open_layers) if view.open_layers else 0)


def _height(view: FrontView) -> int:
    return TOP + BOTTOM + _inner(view)


def _share_of_layers(view: FrontView) -> float:
    """The lower panel's part of the height; 0 where there is none."""
    return ROW * len(view.open_layers) / _inner(view)
