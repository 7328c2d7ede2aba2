"""The figures of docs/energy.md, from results/energy/networks.csv.

Usage: python benchmarks/energy_figures.py [--from results/energy] [--to docs/images]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.files import write_text
from rankfold.report.charts.drawing import SIZE, frame, svg, svg_file, text_width
from rankfold.report.charts.energy import GROUPS, OTHERS, grouped
from rankfold.report.palette import BLUE, GREEN, GREY, INK, OCHRE, SOFT, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ADC = "5-bit flash"
LINES = {  # method: (name, colour)
    "group low-rank, g = 4, r = m/8, SDK": ("group low-rank, g = 4, r = m/8, SDK", BLUE[0]),
    "group low-rank, g = 4, r = m/4, SDK": ("group low-rank, g = 4, r = m/4, SDK", BLUE[2]),
    "plain low-rank, r = m/8, im2col": ("plain low-rank, r = m/8, im2col", VERMILION[0]),
    "plain low-rank, r = m/4, im2col": ("plain low-rank, r = m/4, im2col", VERMILION[1]),
    "PAIRS, e = 4": ("PAIRS, e = 4", OCHRE[0]),
    "mixed plan, made by hand for 64x64": ("mixed plan (ResNet-20 only)", GREEN[0]),
    "dense, best windows": ("dense, best windows", GREY[0]),
}
Rows = list[dict[str, str]]


def picked(rows: Rows, **wanted: str) -> Rows:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def legend(figure: Figure, entries: list[tuple[str, str]], bottom: float) -> None:
    """Names with their colours, two to a line, the last line `bottom` points high."""
    height, lines = figure.get_size_inches()[1] * 72, (len(entries) + 1) // 2
    for number, (name, shade) in enumerate(entries):
        x, y = (0.01, 0.5)[number % 2], (bottom + 13 * (lines - 1 - number // 2)) / height
        figure.text(x, y, "■", color=shade, size=SIZE + 2, va="center")
        figure.text(x + 0.022, y, name, color=INK, va="center")


def name(row: dict[str, str]) -> str:
    """The method of a row, and its accuracy where it has one."""
    if not row["accuracy"]:
        return row["method"]
    return f"{row['method']} · {100 * float(row['accuracy']):.1f} %"


def components(rows: Rows) -> str:
    """ResNet-20 on 64x64 RRAM arrays at 22 nm, every method, stacked by component."""
    shown = picked(rows, network="resnet20", array="64x64", technology="rram-22nm", adc=ADC)
    names = [name(row) for row in shown]
    values = [
        grouped({key[:-3]: float(row[key]) for key in row if key.endswith("_nj") and key != "energy_nj"})
        for row in shown
    ]
    used = [group for group in values[0] if any(row[group] for row in values)]
    shades = {group: shade for group, (shade, _) in GROUPS.items()} | dict([OTHERS])
    above = 13.0 * (len(used) + 1) // 2 + 12

    def draw(figure: Figure) -> None:
        axes = frame(figure, 14 + max(text_width(name) for name in names), 16, above, 34)
        left = [0.0] * len(shown)
        for group in used:
            axes.barh(range(len(shown)), [row[group] for row in values], 0.7, left=left, color=shades[group])
            left = [start + row[group] for start, row in zip(left, values, strict=True)]
        axes.set_yticks(range(len(shown)), names)
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("energy per image, nJ")
        legend(
            figure, [(group, shades[group]) for group in used], figure.get_size_inches()[1] * 72 - above + 12
        )

    return svg("components", "Energy of ResNet-20 by component", above + 34 + 19 * len(shown), draw)


def sizes(rows: Rows) -> str:
    """Saving against dense im2col on arrays of 32 to 256, for both networks, RRAM at 22 nm."""

    def draw(figure: Figure) -> None:
        width, height = figure.get_size_inches() * 72
        for number, (network, title) in enumerate((("resnet20", "ResNet-20"), ("wrn16-4", "WRN16-4"))):
            axes = figure.add_axes(
                ((40 + 345 * number) / width, 90 / height, 295 / width, (height - 115) / height)
            )
            for method, (_, shade) in LINES.items():
                found = picked(rows, network=network, method=method, technology="rram-22nm", adc=ADC)
                if found:
                    axes.plot(
                        range(len(found)),
                        [100 * float(row["saving"]) for row in found],
                        "o-",
                        color=shade,
                        markersize=4,
                    )
            axes.axhline(0, color=SOFT, linewidth=0.8)
            axes.axhline(71, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.set_xticks(range(4), ["32x32", "64x64", "128x128", "256x256"])
            axes.set_ylim(-30, 90)
            axes.tick_params(length=0)
            axes.set_title(f"{title}: saving against dense im2col, %", loc="left", fontsize=SIZE, color=SOFT)
        legend(figure, list(LINES.values()), 12)

    return svg("sizes", "Energy saved on arrays of 32 to 256", 330, draw)


def shares(rows: Rows) -> str:
    """Saving of ResNet-20 against the ADC's share, 64x64 and 256x256, RRAM at 22 nm."""

    def draw(figure: Figure) -> None:
        width, height = figure.get_size_inches() * 72
        for number, array in enumerate(("64x64", "256x256")):
            axes = figure.add_axes(
                ((40 + 345 * number) / width, 108 / height, 295 / width, (height - 133) / height)
            )
            base = picked(
                rows, network="resnet20", method="dense, im2col", array=array, technology="rram-22nm", adc=ADC
            )[0]
            for method, (_, shade) in LINES.items():
                row = picked(
                    rows, network="resnet20", method=method, array=array, technology="rram-22nm", adc=ADC
                )[0]
                adc = float(row["adc_nj"]) / float(base["adc_nj"])
                others = (float(row["energy_nj"]) - float(row["adc_nj"])) / (
                    float(base["energy_nj"]) - float(base["adc_nj"])
                )
                axes.plot(
                    [30, 80],
                    [100 * (1 - (1 - share) * others - share * adc) for share in (0.3, 0.8)],
                    color=shade,
                )
            axes.axhline(0, color=SOFT, linewidth=0.8)
            axes.set_xlim(30, 80)
            axes.set_ylim(-40, 80)
            axes.tick_params(length=0)
            axes.tick_params(axis="x", pad=6)  # clear of the lowest label of y
            axes.set_xlabel("share of ADCs in the energy of dense im2col, %")
            axes.set_title(f"ResNet-20, {array}: saving, %", loc="left", fontsize=SIZE, color=SOFT)
        legend(figure, list(LINES.values()), 12)

    return svg("shares", "Energy saved against the share of ADCs", 345, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the figures of docs/energy.md.")
    parser.add_argument("--from", type=Path, default=Path("results/energy"), dest="source")
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with (options.source / "networks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, draw in (
        ("energy-components", components),
        ("energy-arrays", sizes),
        ("energy-sensitivity", shares),
    ):
        write_text(options.to / f"{name}.svg", svg_file(draw(rows)))


if __name__ == "__main__":
    main()
