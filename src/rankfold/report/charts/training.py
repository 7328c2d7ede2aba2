"""The training curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import (
    INCH,
    SIZE,
    Chart,
    count,
    dotted_line,
    frame,
    shorten,
    svg,
    text_width,
)
from rankfold.report.charts.placement import LINE_HEIGHT, spread
from rankfold.report.methods import coloured
from rankfold.report.numbers import percent
from rankfold.report.palette import SOFT
from rankfold.report.runs import Run, float_baseline, measured_by
from rankfold.report.tables import Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points: of the chart, its margins, and between both panels.
HEIGHT = 230.0
LEFT, BETWEEN, TOP, BOTTOM = 40.0, 56.0, 26.0, 38.0
# Letters.
LONGEST_NAME = 26
BASELINE = "float baseline"


@dataclass(frozen=True)
class _End:
    """The end of a line, with its height in percent, its name and its colour."""

    height: float
    name: str
    colour: str


def training_chart(runs: Sequence[Run]) -> Chart | None:
    """Training loss and accuracies against epochs, lines named at their ends; None without any."""
    trained = [(run, colour) for run, colour in coloured(runs) if run.history]
    if not trained:
        return None
    baseline = float_baseline(runs)
    alone = len(trained) == 1
    # The right margin holds the longest name.
    names = _names(trained, baseline)
    right = 14 + max(text_width(name) for name in names)

    def draw(figure: Figure) -> None:
        width = figure.get_size_inches()[0] * INCH
        # Both panels are equally wide.
        wide = (width - LEFT - BETWEEN - right) / 2
        losses = frame(figure, LEFT, right + wide + BETWEEN, TOP, BOTTOM)
        accuracies = frame(figure, LEFT + wide + BETWEEN, right, TOP, BOTTOM)
        ends: list[_End] = []
        for run, colour in trained:
            _draw_losses(losses, run, colour)
            ends += _draw_accuracies(accuracies, run, colour, alone)
        if baseline is not None:
            dotted_line(accuracies, 100 * baseline)
            ends.append(_End(100 * baseline, BASELINE, SOFT))
        last = max(record.epoch for run, _ in trained for record in run.history)
        _finish(losses, "training loss", last)
        _finish(accuracies, f"{measured_by(runs)}, %", last)
        _name_ends(accuracies, ends)

    told = "; ".join(f"{run.label}: {len(run.history)} epochs" for run, _ in trained)
    drawn = svg("training", f"Training loss and {measured_by(runs)} of every epoch. {told}", HEIGHT, draw)
    return Chart(drawn, table=_table([run for run, _ in trained], measured_by(runs)))


def _table(trained: Sequence[Run], measured: str) -> Table:
    """Every epoch of every run."""
    rows = []
    for run in trained:
        for record in run.history:
            shares = percent(record.train_accuracy), percent(record.test_accuracy)
            rows.append([run.label, str(record.epoch), f"{record.train_loss:.4g}", *shares])
    headers = ["network", "epoch", "training loss", f"{measured}, training", f"{measured}, test"]
    return table(headers, rows)


def _names(trained: Sequence[tuple[Run, str]], baseline: float | None) -> list[str]:
    """What may be written at the ends of lines."""
    names = ["test", "train"]
    if len(trained) > 1:
        names = [shorten(run.label, LONGEST_NAME) for run, _ in trained]
    if baseline is not None:
        names.append(BASELINE)
    return names


def _mark(run: Run) -> str:
    """A line of a single epoch is a point, which only a mark shows."""
    if len(run.history) < 2:
        return "o"
    return ""


def _draw_losses(axes: Axes, run: Run, colour: str) -> None:
    epochs = [record.epoch for record in run.history]
    losses = [record.train_loss for record in run.history]
    axes.plot(epochs, losses, color=colour, marker=_mark(run), markersize=4)


def _draw_accuracies(axes: Axes, run: Run, colour: str, alone: bool) -> list[_End]:
    """Draw both lines of a run; returns the ends that get a name: of a run among others, the tests alone."""
    epochs = [record.epoch for record in run.history]
    train = []
    for record in run.history:
        share = record.train_accuracy
        # Of outputs that are no scores nothing is right or wrong while they are trained.
        if share is None:
            share = math.nan
        train.append(100 * share)
    # Not every epoch need be tested.
    tested_epochs = []
    tests = []
    for record in run.history:
        if record.test_accuracy is not None:
            tested_epochs.append(record.epoch)
            tests.append(100 * record.test_accuracy)
    axes.plot(
        epochs,
        train,
        color=colour,
        linewidth=1.2,
        linestyle=(0, (1, 1.5)),
        marker=_mark(run),
        markersize=2,
    )
    axes.plot(tested_epochs, tests, color=colour, marker="o", markersize=4)
    # Of several runs the training accuracies have no names, for which there is no room.
    ends = []
    name = shorten(run.label, LONGEST_NAME)
    if alone:
        name = "test"
        if math.isfinite(train[-1]):
            ends.append(_End(train[-1], "train", colour))
    if tests:
        ends.append(_End(tests[-1], name, colour))
    return ends


def _finish(axes: Axes, title: str, last: int) -> None:
    """Write the title and the epochs up to the last one."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=SIZE, color=SOFT)
    axes.set_xlabel("epoch")
    if last == 1:
        # A single epoch has no width of its own.
        axes.set_xlim(0.5, 1.5)
    else:
        # With room for the marks of the first epoch and of the last one.
        axes.set_xlim(1 - 0.03 * last, last + 0.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_formatter(count)
    axes.margins(y=0.08)


def _name_ends(axes: Axes, ends: Sequence[_End]) -> None:
    """Write the names right of the axes, moved apart where they would touch."""
    from matplotlib.transforms import IdentityTransform

    box = axes.get_window_extent()
    # Heights on the figure, in points: names stand outside the axes.
    wanted = []
    for end in ends:
        _, y = axes.transData.transform((0, end.height))
        wanted.append(float(y))
    heights = spread(wanted, LINE_HEIGHT * SIZE, float(box.y0), float(box.y1))
    for end, height in zip(ends, heights, strict=True):
        axes.text(
            box.x1 + 6,
            height,
            end.name,
            color=end.colour,
            va="center_baseline",
            transform=IdentityTransform(),
        )
