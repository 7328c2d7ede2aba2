"""The charts with one row for each layer: cycles, and decomposition error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart, Key, count, frame, shorten, svg, text_width
from rankfold.report.palette import INK, PALE, SOFT, colours
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 0.8  # height of a bar over that of a row
MANY = 30  # layers from which on rows are lower and the axis is written above, too


def cycles_chart(runs: Sequence[Run]) -> Chart:
    """Cycles of every convolution: pale bars dense im2col, ticks dense SDK, coloured bars as planned in each run."""
    layers = [layer for layer in runs[0].result.layers if layer.cycles]
    names = [layer.name for layer in layers]
    im2col = [(layer.cycles or {})["im2col"] for layer in layers]
    sdk = [(layer.cycles or {})["sdk"] for layer in layers]
    found = [
        (run, shade, [_planned(run, name) for name in names])
        for run, shade in zip(runs, colours([run.result for run in runs]), strict=True)
    ]
    # Beside others, a run that is just one of the dense mappings would be drawn twice.
    found = [item for item in found if item[2] not in (im2col, sdk)] or found[:1]
    thick = BAR * (0.5 if len(found) == 1 else 0.8) / len(found)

    def draw(axes: Axes) -> None:
        rows = range(len(names))
        axes.barh(rows, im2col, BAR, color=PALE)
        for number, (_, shade, values) in enumerate(found):
            middle = (number - (len(found) - 1) / 2) * thick
            axes.barh([row + middle for row in rows], values, 0.86 * thick, color=shade)
        axes.vlines(sdk, [row - BAR / 2 for row in rows], [row + BAR / 2 for row in rows], color=INK, linewidth=1.3)
        axes.set_xlim(0, 1.02 * max(*im2col, *sdk, *(value for _, _, values in found for value in values)))
        axes.set_xlabel("cycles per image")

    keys = [Key("dense, im2col", PALE, "bar"), Key("dense, SDK", INK, "tick")]
    keys += [Key(f"{run.label}, as planned" if len(runs) > 1 else "as planned", shade, "bar") for run, shade, _ in found]
    drawn = svg("cycles", "Cycles per image of every convolution, before and after", *rows_chart(names, draw, len(found)))
    return Chart(drawn, tuple(keys))


def error_chart(runs: Sequence[Run]) -> Chart | None:
    """Relative error of every decomposed or pruned layer: dots; diamonds: the bound of Theorem 1. None without any."""
    shades = dict(zip((id(run) for run in runs), colours([run.result for run in runs]), strict=True))
    split = [run for run in runs if any(layer.error is not None for layer in run.result.layers)]
    if not split:
        return None
    names = list(dict.fromkeys(layer.name for run in split for layer in run.result.layers if layer.error is not None))
    grouped = [run for run in split if any(layer.groups != 1 and layer.plain_error is not None for layer in run.result.layers)]

    def draw(axes: Axes) -> None:
        for number, run in enumerate(split):
            shade = shades[id(run)]
            middle = (number - (len(split) - 1) / 2) * 0.62 / len(split)
            layers = [layer for layer in run.result.layers if layer.error is not None]
            rows = [names.index(layer.name) + middle for layer in layers]
            errors = [100 * (layer.error or 0.0) for layer in layers]
            if run in grouped:
                bounds = [100 * (layer.plain_error or layer.error or 0.0) for layer in layers]
                axes.hlines(rows, errors, bounds, color=shade, linewidth=1.2, alpha=0.45)
                axes.plot(bounds, rows, "D", color=shade, markerfacecolor="white", markersize=4.2, markeredgewidth=1.1)
            axes.plot(errors, rows, "o", color=shade, markersize=5.2)
        axes.grid(visible=True, axis="y", linewidth=0.5)
        # Factors made for data may be further from the weights than nothing is, where the data do not show it.
        axes.set_xlim(0, max(100, 104 * max(layer.error or 0.0 for run in split for layer in run.result.layers)))
        axes.set_xlabel("relative error of the weights before fine-tuning, %")

    keys = [Key(run.label if len(runs) > 1 else "error", shades[id(run)], "dot") for run in split]
    if grouped:
        bound = shades[id(grouped[0])] if len(grouped) == 1 else SOFT
        keys.append(Key("bound: the error of one group at equal rank", bound, "diamond"))
    drawn = svg("error", "Error of the weights of every decomposed or pruned layer", *rows_chart(names, draw, len(split)))
    return Chart(drawn, tuple(keys))


def arrays_chart(runs: Sequence[Run]) -> Chart | None:
    """The costliest layer on its arrays, as planned: one of most groups where a run has any.

    None for results without shapes, and for runs pruned by patterns, whose masks are with the weights.
    """
    from rankfold.cost import planned_shape
    from rankfold.report.arrays.picture import layer_chart, planned_panels  # NumPy, which tables do without

    known = [
        (run, layer, planned_shape(layer.shape, entry), entry)
        for run in runs
        if all(entry.pruning is None or entry.support is not None for entry in run.plan.layers)
        for layer in run.result.layers
        for entry in run.plan.layers
        if layer.shape is not None and entry.name == layer.name
    ]
    if not known:
        return None
    run, _, shape, entry = max(known, key=lambda item: (item[1].groups or 0, item[1].planned_cycles or 0))
    panels = planned_panels(shape, run.plan.array, entry)
    return layer_chart(shape, run.plan.array, panels, run.result.model)


def _planned(run: Run, name: str) -> int:
    return next((layer.planned_cycles or 0 for layer in run.result.layers if layer.name == name), 0)


def rows_chart(names: Sequence[str], draw: Callable[[Axes], None], marks: int) -> tuple[float, Callable[[Figure], None]]:
    """The height of a chart with a row of `marks` bars or dots for each of `names`, first on top, and what draws it."""
    many = len(names) > MANY
    shown = [shorten(name) for name in names]
    left = 10 + max(text_width(name) for name in shown)
    top, bottom = 18.0 if many else 4.0, 34.0
    pitch = max(11.5 if many else 14.5, 4.5 * marks)

    def whole(figure: Figure) -> None:
        axes = frame(figure, left, 16, top, bottom)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_yticks(range(len(names)), shown)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", length=0, labeltop=many)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(count)
        draw(axes)

    return top + bottom + pitch * (len(names) + 0.2), whole
