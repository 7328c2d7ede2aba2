"""Accuracy against cycles of the runs in results/windows/runs.csv: the picture, and its points as a table.

Usage: python benchmarks/window_picture.py [--runs results/windows/runs.csv] [--arrays 64x64 128x128]
    [--simulated results/windows/on_arrays.csv] [--elsewhere results/windows/other_arrays.csv]
    [--picture docs/images/windows.svg]

One panel for each of `--arrays`, whose sizes are counted in weights. Drawn are 4-bit networks that the dense
network taught, of the methods in `FAMILIES`; rows that differ in seed alone are one mark, their mean. Full
marks had one epoch of training, empty ones more, which the table says. Rings: the uncompressed 4-bit network
under im2col and under its best mapping; where no such network was taught by the float one, the best of those
that were trained on labels alone. Prints the table in Markdown, with all arrays, methods and recipes, and
beside each energy the accuracy on the arrays that it is counted for (window_on_arrays.py).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rankfold.files import write_text
from rankfold.report.charts.drawing import (
    SIZE,
    WIDTH,
    count,
    dotted_line,
    frame,
    round_numbers,
    svg,
    svg_file,
)
from rankfold.report.palette import BLUE, GREEN, MOSS, OCHRE, SOFT, TEAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What tables call a method that is drawn: words for readers who know none of them, colour, mark. PAIRS with
# the published patterns is 28 points below the lowest of them, and in the table alone.
FAMILIES = {
    "window": ("window layers", TEAL[0], "o"),
    "planned, windows among them": ("planned, with window layers", TEAL[1], "D"),
    "planned, windows and their pairs among them": (
        "planned, with window layers and pairs of windows",
        OCHRE[1],
        "P",
    ),
    "planned": ("planned, without window layers", GREEN[0], "s"),
    "support": ("weights left out, the same for all outputs", MOSS[0], "h"),
    "pairs": ("weights left out by patterns (PAIRS, positions free)", OCHRE[0], "v"),
    "low-rank": ("low-rank pairs", BLUE[0], "^"),
}
DENSE = "dense"
HEIGHT, LEFT, BETWEEN, RIGHT, TOP, BOTTOM = 360.0, 42.0, 34.0, 14.0, 84.0, 38.0
COLUMNS = 2  # of the legend


@dataclass(frozen=True)
class Mark:
    """Runs of one setting under one recipe, over their seeds; accuracies in percent.

    `on_arrays` is the accuracy on the arrays that the energy is counted for, None where it was not simulated.
    """

    method: str
    array: str
    cycles: int
    epochs: int
    rate: float
    teacher: float
    before: float
    accuracy: float
    deviation: float | None
    train: float
    seeds: int
    parameters: int
    energy: float | None
    on_arrays: float | None
    dense_best: int
    im2col: int

    @property
    def told(self) -> str:
        """The mark in words, for readers who cannot see it."""
        words = FAMILIES.get(self.method, (self.method,))[0]
        return f"{words}, {self.array}, {self.epochs} epochs: {self.accuracy:.2f} % at {self.cycles:,} cycles"


def simulated_accuracies(path: Path) -> dict[tuple[str, str], float]:
    """In percent, on the arrays that energies are counted for, by the names of runs and arrays."""
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["name"], row["array"]): 100 * float(row["on_arrays"]) for row in csv.DictReader(file)}


def recorded_runs(path: Path, elsewhere: Path) -> list[dict[str, str]]:
    """The rows of the table, and those that are the same network on arrays of other sizes once more."""
    with path.open(newline="", encoding="utf-8") as file:
        runs = {row["name"]: row for row in csv.DictReader(file)}
    rows = list(runs.values())
    with elsewhere.open(newline="", encoding="utf-8") as file:
        for counted in csv.DictReader(file):
            run = runs[counted["name"]]
            if counted["array"] != run["array"]:
                name = f"{run['name']} on {counted['array']}"
                figures = {key: counted[key] for key in ("array", "cycles", "dense_best", "im2col")}
                rows.append(run | figures | {"name": name, "energy_nj": ""})
    return rows


def marks(runs: list[dict[str, str]], simulated: dict[tuple[str, str], float]) -> list[Mark]:
    """The runs that are of 4 bits, those of one setting and recipe as one."""
    alike = defaultdict(list)
    for row in runs:
        if row["bits"] == "4":
            key = [row[name] for name in ("array", "method", "cycles", "epochs", "rate", "teacher")]
            alike[tuple(key)].append(row)
    found = []
    for (array, method, cycles, epochs, rate, teacher), rows in alike.items():
        energies = [float(row["energy_nj"]) for row in rows if row["energy_nj"]]
        keys = [(row["name"], row["array"]) for row in rows]
        on_arrays = [simulated[key] for key in keys if key in simulated]
        finals = [100 * float(row["accuracy"]) for row in rows]
        found.append(
            Mark(
                method=method,
                array=array,
                cycles=int(cycles),
                epochs=int(epochs),
                rate=float(rate),
                teacher=float(teacher),
                before=fmean(100 * float(row["before"]) for row in rows),
                accuracy=fmean(finals),
                deviation=stdev(finals) if len(finals) > 1 else None,
                train=fmean(100 * float(row["train_accuracy"]) for row in rows),
                seeds=len(rows),
                parameters=round(fmean(int(row["parameters"]) for row in rows)),
                energy=fmean(energies) if len(energies) == len(rows) else None,
                on_arrays=fmean(on_arrays) if len(on_arrays) == len(rows) else None,
                dense_best=int(rows[0]["dense_best"]),
                im2col=int(rows[0]["im2col"]),
            )
        )
    return sorted(found, key=lambda mark: (int(mark.array.split("x")[0]), -mark.cycles, -mark.accuracy))


def draw_panel(axes: Axes, here: list[Mark], dense: Mark | None) -> None:
    """The networks on one array, and the uncompressed one."""
    for method, (words, colour, sign) in FAMILIES.items():
        # A line joins networks of equally many epochs.
        for epochs in sorted({mark.epochs for mark in here if mark.method == method}):
            line = [mark for mark in here if (mark.method, mark.epochs) == (method, epochs)]
            axes.plot(
                [mark.cycles for mark in line],
                [mark.accuracy for mark in line],
                marker=sign,
                color=colour,
                markersize=6.5,
                markerfacecolor=colour if epochs == 1 else "white",
                markeredgewidth=1.4,
                linewidth=1.1,
                label=words + (", more epochs" if epochs > 1 else ""),
            )
    places: list[int] = []
    if dense is not None:
        dotted_line(axes, dense.accuracy)
        # The network is the same on every array.
        places = [here[0].dense_best, here[0].im2col]
        axes.plot(
            places,
            [dense.accuracy] * 2,
            "o",
            color=SOFT,
            markersize=6.5,
            markerfacecolor="white",
            label=f"uncompressed, best mapping and im2col, {dense.epochs} epochs",
        )
    reach = [*places, *(mark.cycles for mark in here)]
    low, high = 0.85 * min(reach), 1.15 * max(reach)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.minorticks_off()
    axes.set_xticks(round_numbers(low, high))
    axes.xaxis.set_major_formatter(count)
    axes.set_xlabel(f"cycles per image on {here[0].array} arrays, left is faster")


def uncompressed(found: list[Mark]) -> Mark | None:
    """The uncompressed network that was trained like the others, or else the best one that there is."""
    dense = [mark for mark in found if mark.method == DENSE]
    return max(dense, key=lambda mark: (mark.teacher > 0, mark.accuracy), default=None)


def picture(drawn: list[Mark], dense: Mark | None) -> str:
    """The picture as an SVG file."""
    arrays = list(dict.fromkeys(mark.array for mark in drawn))

    def draw(figure: Figure) -> None:
        wide = (WIDTH - LEFT - RIGHT - BETWEEN * (len(arrays) - 1)) / len(arrays)
        entries = {}
        heights = [mark.accuracy for mark in (*drawn, *([dense] if dense else []))]
        room = max(0.5, 0.06 * (max(heights) - min(heights)))
        for number, array in enumerate(arrays):
            left = LEFT + number * (wide + BETWEEN)
            axes = frame(figure, left, WIDTH - left - wide, TOP, BOTTOM)
            draw_panel(axes, [mark for mark in drawn if mark.array == array], dense)
            axes.set_ylim(min(heights) - room, max(heights) + room)
            if number == 0:
                axes.set_ylabel("test accuracy, %")
            handles, labels = axes.get_legend_handles_labels()
            entries.update(zip(labels, handles, strict=True))
        figure.legend(
            entries.values(), entries.keys(), loc="upper left", ncols=COLUMNS, frameon=False, fontsize=SIZE
        )

    told = "; ".join(mark.told for mark in drawn)
    title = "ResNet-20 on CIFAR-10 in 4 bits, test accuracy against cycles per image"
    return svg_file(svg("windows", f"{title}. {told}", HEIGHT, draw))


HEADS = (
    "array",
    "network",
    "cycles",
    "dense best / it (im2col / it)",
    "epochs, peak rate, teacher",
    "before",
    "test",
    "train",
    "parameters",
    "energy, nJ",
    "on these arrays",
    "seeds",
)


def cells(mark: Mark) -> list[str]:
    """A mark's row."""
    spread = "" if mark.deviation is None else f" +- {mark.deviation:.2f}"
    return [
        mark.array,
        FAMILIES.get(mark.method, (mark.method,))[0],
        f"{mark.cycles:,}",
        f"{mark.dense_best / mark.cycles:.2f}x ({mark.im2col / mark.cycles:.2f}x)",
        f"{mark.epochs}, {mark.rate:g}, {'the dense network' if mark.teacher else 'none'}",
        f"{mark.before:.2f} %",
        f"{mark.accuracy:.2f}{spread} %",
        f"{mark.train:.2f} %",
        f"{mark.parameters:,}",
        "" if mark.energy is None else f"{mark.energy:,.0f}",
        "not simulated" if mark.on_arrays is None else f"{mark.on_arrays:.1f} %",
        str(mark.seeds),
    ]


def table(found: list[Mark]) -> str:
    """The marks as a table in Markdown."""
    lines = [HEADS, *(cells(mark) for mark in found)]
    lines.insert(1, ["---", "---", "--:", "--:", "---", *["--:"] * 7])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("results/windows/runs.csv"))
    parser.add_argument("--simulated", type=Path, default=Path("results/windows/on_arrays.csv"))
    parser.add_argument("--elsewhere", type=Path, default=Path("results/windows/other_arrays.csv"))
    parser.add_argument("--arrays", nargs="+", default=["64x64", "128x128"])
    parser.add_argument("--picture", type=Path, default=Path("docs/images/windows.svg"))
    options = parser.parse_args()
    runs = recorded_runs(options.runs, options.elsewhere)
    found = marks(runs, simulated_accuracies(options.simulated))
    dense = uncompressed(found)
    drawn = []
    for mark in found:
        if mark.array in options.arrays and mark.teacher > 0 and mark.method in FAMILIES:
            drawn.append(mark)
    write_text(options.picture, picture(drawn, dense))
    print(table(found))


if __name__ == "__main__":
    main()
