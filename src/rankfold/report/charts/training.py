"""The training curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import SIZE, Chart, count, frame, shorten, svg, text_width
from rankfold.report.palette import SOFT, colours
from rankfold.report.placement import LINE_HEIGHT, spread
from rankfold.report.runs import Run, float_baseline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 230.0
LEFT, BETWEEN, TOP, BOTTOM = 40.0, 56.0, 26.0, 38.0


def training_chart(runs: Sequence[Run]) -> Chart | None:
    """Training loss and accuracies against epochs, each line named at its end; None where nothing was trained."""
    trained = [
        (run, shade) for run, shade in zip(runs, colours([run.result for run in runs]), strict=True) if run.history
    ]  # fmt: skip
    if not trained:
        return None
    alone = len(trained) == 1
    baseline = float_baseline(runs)
    names = ["test", "train"] if alone else [shorten(run.label, 26) for run, _ in trained]
    names += ["float baseline"] if baseline is not None else []
    right = 14 + max(text_width(name) for name in names)

    def draw(figure: Figure) -> None:
        wide = (figure.get_size_inches()[0] * 72 - LEFT - BETWEEN - right) / 2
        losses = frame(figure, LEFT, right + wide + BETWEEN, TOP, BOTTOM)
        accuracies = frame(figure, LEFT + wide + BETWEEN, right, TOP, BOTTOM)
        ends: list[tuple[float, str, str]] = []
        for run, shade in trained:
            epochs = [record.epoch for record in run.history]
            mark = "o" if len(epochs) < 2 else ""
            losses.plot(epochs, [record.train_loss for record in run.history], color=shade, marker=mark, markersize=4)
            train = [100 * record.train_accuracy for record in run.history]
            tested = [(record.epoch, 100 * record.test_accuracy) for record in run.history if record.test_accuracy is not None]
            accuracies.plot(epochs, train, color=shade, linewidth=1.2, linestyle=(0, (1, 1.5)), marker=mark, markersize=2)
            accuracies.plot([x for x, _ in tested], [y for _, y in tested], color=shade, marker="o", markersize=4)
            if alone:
                ends.append((train[-1], "train", shade))
            if tested:
                ends.append((tested[-1][1], "test" if alone else shorten(run.label, 26), shade))
        if baseline is not None:
            accuracies.axhline(100 * baseline, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
            ends.append((100 * baseline, "float baseline", SOFT))
        last = max(record.epoch for run, _ in trained for record in run.history)
        for axes, title in ((losses, "training loss"), (accuracies, "accuracy, %")):
            _finish(axes, title, last)
        _name_ends(accuracies, ends)

    told = "; ".join(f"{run.label}: {len(run.history)} epochs" for run, _ in trained)
    return Chart(svg("training", f"Training loss and accuracy of every epoch. {told}", HEIGHT, draw))


def _finish(axes: Axes, title: str, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=SIZE, color=SOFT)
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5 if last == 1 else 1 - 0.03 * last, last + (0.5 if last == 1 else 0.02 * last))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_formatter(count)
    axes.margins(y=0.08)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each (height, name, colour) right of the axes, moved apart where they would touch."""
    from matplotlib.transforms import IdentityTransform

    box = axes.get_window_extent()
    wanted = [float(axes.transData.transform((0, y))[1]) for y, _, _ in ends]
    heights = spread(wanted, LINE_HEIGHT * SIZE, float(box.y0), float(box.y1))
    for height, (_, name, shade) in zip(heights, ends, strict=True):
        axes.text(box.x1 + 6, height, name, color=shade, va="center_baseline", transform=IdentityTransform())
