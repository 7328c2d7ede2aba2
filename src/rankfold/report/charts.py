"""The report's charts, as SVG text drawn with matplotlib's object interface (no pyplot, no global state)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rankfold.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colour-blind safe palette: greys for dense, orange for plain low-rank, blue for group low-rank.
DENSE, PLAIN, GROUP, OTHER = "#6b7280", "#d55e00", "#0072b2", "#009e73"
PALE = "#c7ccd4"
INK = "#1f2937"
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "axes.edgecolor": "#9ca3af", "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e5e7eb", "grid.linewidth": 0.8, "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "path",
    "svg.hashsalt": "rankfold",
}  # fmt: skip


def colour(run: Run) -> str:
    """The colour of a run's method, the same in every chart."""
    groups = {layer.groups for layer in run.result.layers if layer.kind == "low-rank"}
    if not groups:
        return DENSE
    return PLAIN if groups == {1} else GROUP if len(groups) == 1 else OTHER


def accuracy_chart(runs: Sequence[Run]) -> str:
    """Accuracy against cycles: the dense float baseline under three mappings (rings), and every run as planned (dots)."""
    first = runs[0].result
    rings: dict[int, list[str]] = {}
    if first.accuracy.baseline is not None:
        for key, name in (("im2col", "im2col"), ("sdk", "SDK"), ("vw-sdk", "VW-SDK")):
            rings.setdefault(first.cycles[key], []).append(name)
    height = 100 * (first.accuracy.baseline or 0.0)
    dots = [(run.result.planned_cycles, 100 * run.result.accuracy.final, run) for run in runs]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for x, names in rings.items():
            axes.plot(x, height, "o", color=DENSE, markersize=9, markerfacecolor="white", markeredgewidth=1.6)
            # Names of rings go below and those of dots above, since a quantised dense dot lies on a ring.
            _name(axes, x, height, f"dense float, {' and '.join(names)}", DENSE, -13)
        for x, y, run in dots:
            axes.plot(x, y, "o", color=colour(run), markersize=8)
            _name(axes, x, y, f"{run.label}, {y:.2f} %", colour(run), 7)
        axes.set(xscale="log", xlabel="cycles per image (log scale)", ylabel="test accuracy, %")
        cycles = [*rings, *(x for x, _, _ in dots)]
        axes.set_xlim(min(cycles) / 1.25, max(cycles) * 1.7)
        values = [y for _, y, _ in dots] + ([height] if rings else [])
        room = max(0.6, 0.3 * (max(values) - min(values)))
        axes.set_ylim(max(0.0, min(values) - room), max(values) + room)
        _plain_log_ticks(axes)

    return _svg(draw, (9.2, 3.9))


def _name(axes: Axes, x: float, y: float, text: str, shade: str, above: float) -> None:
    axes.annotate(text, (x, y), (6, above), textcoords="offset points", color=shade, fontsize=9)


def cycles_chart(runs: Sequence[Run]) -> str:
    """Cycles of every convolution: dense im2col, dense SDK, and as planned in each run."""
    first = runs[0].result
    layers = [layer for layer in first.layers if layer.cycles is not None]
    series: list[tuple[str, str, dict[str, int]]] = [
        ("dense im2col", PALE, {layer.name: (layer.cycles or {})["im2col"] for layer in layers}),
        ("dense SDK", DENSE, {layer.name: (layer.cycles or {})["sdk"] for layer in layers}),
    ]
    for run in runs:
        if "low-rank-sdk" in run.result.cycles or len(runs) == 1:
            planned = {layer.name: layer.planned_cycles or 0 for layer in run.result.layers if layer.cycles is not None}
            series.append((run.label, GROUP if colour(run) == DENSE else colour(run), planned))
    return _bars([layer.name for layer in layers], series, "cycles per image")


def error_chart(runs: Sequence[Run]) -> str | None:
    """Relative error of every decomposed layer and the bound of Theorem 1; None without low-rank layers."""
    series: list[tuple[str, str, dict[str, float]]] = []
    for run in runs:
        layers = [layer for layer in run.result.layers if layer.error is not None]
        if not layers:
            continue
        series.append((f"{run.label}: error", colour(run), {layer.name: layer.error or 0.0 for layer in layers}))
        if any(layer.groups != 1 for layer in layers):
            bound = {layer.name: layer.plain_error or 0.0 for layer in layers}
            series.append((f"{run.label}: bound (equal rank, one group)", PALE, bound))
    if not series:
        return None
    names = list(dict.fromkeys(name for _, _, values in series for name in values))
    return _bars(names, series, "relative error, ||W - L R|| / ||W||")


def training_chart(runs: Sequence[Run]) -> str | None:
    """Loss and accuracies against epochs; None where nothing was trained."""
    trained = [run for run in runs if run.history]
    if not trained:
        return None

    def draw(figure: Figure) -> None:
        losses, accuracies = figure.subplots(1, 2)
        for run in trained:
            epochs = [record.epoch for record in run.history]
            marker = "o" if len(epochs) == 1 else None
            losses.plot(epochs, [record.train_loss for record in run.history], color=colour(run), marker=marker, label=run.label)
            train = [100 * record.train_accuracy for record in run.history]
            accuracies.plot(epochs, train, color=colour(run), marker=marker, linewidth=1, linestyle=":")
            tested = [(record.epoch, 100 * record.test_accuracy) for record in run.history if record.test_accuracy is not None]
            accuracies.plot(*zip(*tested, strict=True), color=colour(run), marker="o", markersize=3.5, label=run.label)
        losses.set(xlabel="epoch", ylabel="training loss")
        accuracies.set(xlabel="epoch", ylabel="accuracy, %")
        for axes in (losses, accuracies):
            axes.xaxis.get_major_locator().set_params(integer=True)
        accuracies.set_title("points: test, dotted: train", fontsize=9, loc="right")
        if len(trained) > 1:
            accuracies.legend(loc="lower right")

    return _svg(draw, (9.2, 3.3))


def _bars(names: Sequence[str], series: Sequence[tuple[str, str, dict[str, Any]]], quantity: str) -> str:
    """Grouped vertical bars, a group for each layer."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        width = 0.84 / len(series)
        for number, (label, shade, values) in enumerate(series):
            places = [index - 0.42 + width * (number + 0.5) for index in range(len(names))]
            axes.bar(places, [values.get(name, 0) for name in names], width, color=shade, label=label)
        axes.set_xticks(
            range(len(names)), list(names), rotation=60 if len(names) <= 30 else 90, ha="right" if len(names) <= 30 else "center"
        )
        axes.tick_params(axis="x", labelsize=8.5 if len(names) <= 30 else 6.5, length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.set_ylabel(quantity)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(4, len(series)), borderaxespad=0.2)

    return _svg(draw, (9.2, 4.1))


def _plain_log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


_COUNT = re.compile(r'(id="|href="#|url\(#)')


def _svg(draw: Any, size: tuple[float, float]) -> str:
    """Run `draw` on a fresh figure and return its SVG element, the same bytes for the same data."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def unique_ids(svg: str, prefix: str) -> str:
    """The same drawing with every id prefixed, so that several fit one page."""
    return _COUNT.sub(rf"\g<1>{prefix}-", svg)
