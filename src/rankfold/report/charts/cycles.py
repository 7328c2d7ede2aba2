"""The chart of cycles, with one row for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart, Key
from rankfold.report.charts.rows import (
    BAR,
    SLIM,
    draw_ticks,
    offset,
    rows_svg,
)
from rankfold.report.methods import coloured
from rankfold.report.numbers import count
from rankfold.report.palette import INK, PALE
from rankfold.report.runs import Run
from rankfold.report.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESCRIBE = "Cycles per image of every convolution, before and after"


@dataclass(frozen=True)
class Bars:
    """The cycles of every layer as planned in one run, with its name and colour."""

    name: str
    colour: str
    cycles: list[int]


def cycles_chart(runs: Sequence[Run]) -> Chart:
    """Cycles of every convolution: pale bars dense im2col, ticks dense SDK, coloured bars as planned."""
    names: list[str] = []
    im2col: list[int] = []
    sdk: list[int] = []
    for layer in runs[0].result.layers:
        if layer.cycles:  # fully connected layers have none, unless they count
            names.append(layer.name)
            im2col.append(layer.cycles["im2col"])
            sdk.append(layer.cycles["sdk"])
    return layer_chart(names, im2col, sdk, _distinct(_planned_bars(runs, names), im2col, sdk))


def layer_chart(names: Sequence[str], im2col: list[int], sdk: list[int], bars: Sequence[Bars]) -> Chart:
    """Cycles of layers as planned beside those of the dense ones.

    Args:
        names: of the layers.
        im2col: cycles of each dense layer.
        sdk: likewise.
        bars: as planned, at least one.
    """
    # Several bars in a row are allowed more of its height than one alone.
    share = 0.8
    if len(bars) == 1:
        share = 0.5
    thick = BAR * share / len(bars)
    # Of all bars, whichever run they are of.
    longest = max(*im2col, *sdk, *(max(each.cycles) for each in bars))

    def draw(axes: Axes) -> None:
        rows = range(len(names))
        axes.barh(rows, im2col, BAR, color=PALE)
        for number, each in enumerate(bars):
            middle = offset(number, len(bars)) * thick
            places = [row + middle for row in rows]
            axes.barh(
                places,
                each.cycles,
                SLIM * thick,
                color=each.colour,
            )
        # Above the bars, most of which are longer.
        draw_ticks(axes, sdk, INK)
        axes.set_xlim(0, 1.02 * longest)
        axes.set_xlabel("cycles per image")

    headers = ["layer", "dense, im2col", "dense, SDK", *(each.name for each in bars)]
    columns = zip(im2col, sdk, *(each.cycles for each in bars), strict=True)
    numbers = [[name, *map(count, cycles)] for name, cycles in zip(names, columns, strict=True)]
    keys = [Key("dense, im2col", PALE, "bar"), Key("dense, SDK", INK, "tick")]
    for each in bars:
        keys.append(Key(each.name, each.colour, "bar"))
    drawn = rows_svg("cycles", DESCRIBE, names, len(bars), draw)
    return Chart(drawn, tuple(keys), table(headers, numbers))


def _planned_bars(runs: Sequence[Run], names: Sequence[str]) -> list[Bars]:
    bars = []
    for run, colour in coloured(runs):
        planned = {layer.name: layer.planned_cycles for layer in run.result.layers}
        # A layer that does not count in this run has a bar of no length.
        cycles = [planned.get(layer) or 0 for layer in names]
        name = "as planned"
        if len(runs) > 1:
            name = f"{run.label}, as planned"
        bars.append(Bars(name, colour, cycles))
    return bars


def _distinct(bars: Sequence[Bars], im2col: list[int], sdk: list[int]) -> list[Bars]:
    """The runs without those that are just a dense mapping, and would be drawn twice; one in any case."""
    others = [each for each in bars if each.cycles not in (im2col, sdk)]
    if others:
        return others
    return list(bars[:1])
