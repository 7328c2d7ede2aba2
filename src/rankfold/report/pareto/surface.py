"""What is written of a front in three quantities: a CSV file, a page to brush through, a table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.files import write_text
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan.prediction import NATS
from rankfold.planning.exact import ARRAYS, CYCLES, Candidate, Surface, total
from rankfold.planning.exact.candidate import has_other_bits, in_letters
from rankfold.planning.exact.quantities import KNOWN
from rankfold.records.csv_table import write_csv
from rankfold.records.text_table import format_table
from rankfold.report.numbers import GAP
from rankfold.report.pareto.columns import (
    LOSS_DIGITS,
    cost_cells,
    cost_column,
    loss_column,
    number_column,
    word_column,
)
from rankfold.report.pareto.page import SETTINGS
from rankfold.report.pareto.view import WORDS, amounts, axis, column, loss_floor, loss_ticks, setting_in_words
from rankfold.report.template import template

# Points of the page: each is a line through all axes.
MOST_LINES = 2000
ROWS = 20
CLEAR = "rgba(0,0,0,0)"
# From dark to middle tones, so that lightness alone tells them apart: readable on white, and turned into
# light ones on a dark page.
COLOURS = ["#2b0a57", "#7a1f7a", "#c04552", "#d9731a"]
# Bands on the axes of the upper panel choose the points of the lower one. Plotly keeps a band in
# `constraintrange`, one interval or several; a point is within where each axis has it in one of its own.
BRUSH = """
const page = document.getElementById("front");
page.on("plotly_restyle", ([, traces]) => {
  // To choose points restyles the lower panel, which is no brush.
  if (!traces.includes(0)) { return; }
  const axes = page.data[0].dimensions;
  const within = (axis, value) => {
    const bands = axis.constraintrange;
    if (!bands) { return true; }
    const each = Array.isArray(bands[0]) ? bands : [bands];
    return each.some(([low, high]) => low <= value && value <= high);
  };
  const chosen = [];
  for (let point = 0; point < axes[0].values.length; point += 1) {
    if (axes.every((axis) => within(axis, axis.values[point]))) { chosen.push(point); }
  }
  const all = chosen.length === axes[0].values.length;
  Plotly.restyle(page, { selectedpoints: [all ? null : chosen] }, [1]);
});
"""


@dataclass(frozen=True)
class SurfaceView:
    """A front in three quantities, with what its files say beside it.

    Attributes:
        surface: all best trades.
        dense: every layer kept as it is.
        setting: network, array and bits in words.
        hardware: the name of what energy is counted for.
        unit: of losses.
    """

    surface: Surface
    dense: tuple[Candidate, ...]
    setting: str
    hardware: str
    unit: str = NATS

    @property
    def told(self) -> tuple[str, ...]:
        """The quantities that are told of every point: cycles and arrays, and what the front trades."""
        return tuple(dict.fromkeys([*self.surface.quantities, CYCLES, ARRAYS]))


def write_surface(
    out: str | Path,
    surface: Surface,
    network: str,
    array: ArraySpec,
    dense: Sequence[Candidate],
    *,
    hardware: Hardware = DEFAULT_HARDWARE,
    unit: str = NATS,
) -> tuple[Path, ...]:
    """Write `front.csv`, with every point, and `front.html` into a folder, each atomically.

    Args:
        out: the folder, made where it is missing.
        surface: all best trades.
        network: the network's name, for titles.
        array: R x C, for titles.
        dense: every layer kept as it is, in the front's order.
        hardware: what energy is counted for, which every file names.
        unit: of losses.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written.
    """
    setting = setting_in_words(network, array, dense)
    view = SurfaceView(surface, tuple(dense), setting, hardware.name, unit)
    # Made before anything is written: all files or none.
    page = surface_page(view)
    folder = Path(out)
    header, rows = _points(view)
    write_csv(folder / "front.csv", header, rows)
    write_text(folder / "front.html", page)
    # The picture of a front in one cost, which an earlier call left here, is of another one.
    (folder / "front.svg").unlink(missing_ok=True)
    return folder / "front.csv", folder / "front.html"


def surface_table(surface: Surface, most: int = ROWS) -> str:
    """At most `most` points of the front as a table, by rising first cost."""
    view = SurfaceView(surface, (), "", "")
    headers = _headers(view)
    return format_table(headers, _rows(view, most), ">" * len(headers))


def _points(view: SurfaceView) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the CSV file."""
    surface = view.surface
    header = [*(column(quantity) for quantity in view.told), loss_column(view.unit)]
    header += [layer[0].entry.name for layer in surface.choices]
    header += ["hardware"]
    columns = [cost_column(quantity, surface.totals(quantity)) for quantity in view.told]
    columns.append(number_column(surface.losses, LOSS_DIGITS))
    for layer, dense, picks in zip(surface.choices, view.dense, surface.picks.T, strict=True):
        columns.append(word_column([_becomes(candidate, dense) for candidate in layer], picks))
    columns.append([view.hardware] * len(surface))
    return header, [list(row) for row in zip(*columns, strict=True)]


def _becomes(candidate: Candidate, dense: Candidate) -> str:
    """What a layer becomes, its bits where they are other ones, and its mapping."""
    return f"{in_letters(candidate, dense)} {candidate.entry.mapping}"


def _headers(view: SurfaceView) -> list[str]:
    return [*(KNOWN[quantity].title for quantity in view.told), "predicted loss"]


def _rows(view: SurfaceView, most: int) -> list[list[str]]:
    surface = view.surface
    totals = {quantity: amounts(quantity, surface.totals(quantity)) for quantity in view.told}
    rows = []
    for point in surface.thinned(most).tolist():
        rows.append([*cost_cells(totals, point), f"{surface.losses[point]:.4f}"])
    return rows


def surface_page(view: SurfaceView) -> str:
    """The page as text: both panels, and some of the plans."""
    drawn = _figure(view).to_html(
        config=SETTINGS, include_plotlyjs=True, full_html=False, div_id="front", post_script=BRUSH
    )
    first, second = view.surface.quantities
    near = None
    if not view.surface.exact:
        near = view.surface.in_words()
    return template("surface.html").render(
        title=f"{view.setting}: Pareto front of plans in three quantities",
        headline=f"{view.setting}: {len(view.surface):,} best trades of {WORDS[first]}, {WORDS[second]} and "
        "predicted loss",
        figure=drawn,
        near=near,
        points=len(view.surface),
        shown=len(view.surface.thinned(MOST_LINES)),
        hardware=view.hardware,
        headers=_headers(view),
        rows=_rows(view, ROWS),
    )


def _figure(view: SurfaceView) -> Any:
    """Lines through all quantities, on whose axes one brushes, and the points that are left below them."""
    import plotly.graph_objects as go

    surface = view.surface
    points = surface.thinned(MOST_LINES)
    floor = loss_floor(surface.losses)
    losses = np.log10(np.maximum(surface.losses[points], floor))
    first, second = surface.quantities
    shown = {name: amounts(name, surface.totals(name)[points]).tolist() for name in view.told}
    ticks = loss_ticks(floor, max(float(surface.losses.max()), 10 * floor))
    axes = [{"label": axis(name), "values": values} for name, values in shown.items()]
    axes.append(
        {
            "label": f"predicted loss, {view.unit}",
            "values": losses.tolist(),
            "tickvals": np.log10(ticks).tolist(),
            "ticktext": [f"{tick:g}" for tick in ticks],
        }
    )
    colours = {"color": shown[second], "colorscale": COLOURS}
    drawn = go.Figure()
    drawn.add_parcoords(dimensions=axes, line=colours, domain={"y": [0.58, 0.93]})
    drawn.add_scatter(
        x=shown[first],
        y=(10.0**losses).tolist(),
        mode="markers",
        marker={**colours, "size": 6, "colorbar": {"title": {"text": axis(second)}, "len": 0.5, "y": 0.24}},
        unselected={"marker": {"opacity": 0.03}},
        text=[_label(view, int(point)) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    drawn.update_layout(
        template="none",
        height=900,
        xaxis={"title": {"text": axis(first)}, "type": "log", "automargin": True},
        yaxis={
            "title": {"text": f"predicted loss, {view.unit}"},
            "type": "log",
            "domain": [0, 0.48],
            "automargin": True,
        },
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
    )
    return drawn


def _label(view: SurfaceView, point: int) -> str:
    """What a plan costs and loses, and what becomes of each layer that does not stay."""
    surface = view.surface
    chosen = surface.chosen(point)
    lines = []
    for quantity in view.told:
        cost = total(chosen, quantity)
        known = KNOWN[quantity]
        share = ""
        if dense := total(view.dense, quantity):
            share = f" ({100 * cost / dense:.1f}{GAP}% of dense)"
        lines.append(f"{axis(quantity)}: {known.shown(cost):,.{known.digits}f}{share}")
    lines.append(f"predicted loss +{surface.losses[point]:.3g} {view.unit}")
    for candidate, kept in zip(chosen, view.dense, strict=True):
        if candidate.entry.kind.changes_weight or has_other_bits(candidate, kept):
            lines.append(f"{candidate.entry.name}: {_becomes(candidate, kept)}")
    return "<br>".join(html.escape(line) for line in lines)
