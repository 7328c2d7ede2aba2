"""Simulations of runs on their arrays, and sweeps of them, among other things."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rankfold.cost.energy import ACCURACY, AGREEMENT, note_of
from rankfold.documents import in_schema
from rankfold.errors import InputError
from rankfold.records.schema import schema_validator
from rankfold.records.typed import is_typed
from rankfold.report.card import Card
from rankfold.report.charts.drawing import Chart
from rankfold.report.charts.robustness import WORDS, robustness_chart
from rankfold.report.charts.rows import BAR, rows_svg
from rankfold.report.mixed.section import Row, Section
from rankfold.report.numbers import DASH, count, percent, plural
from rankfold.report.palette import BLUE
from rankfold.report.tables import table
from rankfold.runs.on_arrays import TYPE, VERSION
from rankfold.runs.robustness import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SimulationResult:
    """What `rankfold simulate` found.

    Attributes:
        label: its name.
        content: what it wrote.
    """

    label: str
    content: Mapping[str, Any]

    @property
    def mean(self) -> float:
        """Accuracy on arrays, mean over the chips."""
        return fmean(self.content["accuracies"])

    @property
    def spread(self) -> str:
        """Standard deviation over the chips; a dash of a single one."""
        chips = self.content["accuracies"]
        if len(chips) < 2:
            return DASH
        return percent(stdev(chips))


@dataclass(frozen=True)
class Sweep:
    """What `rankfold robustness` found: its label and its points."""

    label: str
    points: tuple[Point, ...]


def is_simulation(content: Any) -> bool:
    """Whether a JSON file is of `rankfold simulate`: its `--out`, or what `--json` prints."""
    if not isinstance(content, dict):
        return False
    return content.get("_type") == TYPE or {"ideal", "accuracies", "chosen"} <= content.keys()


def simulation_result(path: Path, content: Mapping[str, Any], label: str) -> SimulationResult:
    """Check what was read from a file.

    Raises:
        InputError: it is not complete, or not what `rankfold simulate` writes.
    """
    if "_type" in content:
        if not is_typed(content, TYPE, VERSION):
            raise InputError(f"{path} is a simulation of another version; simulate the run again")
        if "simulation" not in content:
            raise InputError(f"{path} is an unfinished simulation; simulate to its end first")
        content = content["simulation"]
    validator = schema_validator("rankfold.report.mixed", "simulation_result.schema.json")
    in_schema(content, validator, f"{path} is not what rankfold simulate writes")
    return SimulationResult(label, content)


def read_sweep(path: Path, label: str) -> Sweep:
    """Read the table that `rankfold robustness` wrote.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            points = tuple(_point(row) for row in csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no table of rankfold robustness: {error}") from error
    if not points:
        raise InputError(f"{path} is no table of rankfold robustness: it has no row")
    return Sweep(label, points)


def _point(row: Mapping[str, str]) -> Point:
    """A row of such a table."""
    if row["varied"] not in WORDS:
        raise ValueError(f"nothing varies by the name {row['varied']}")
    shares = [float(row[name]) for name in ("ideal", "mean")]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError("accuracies lie between 0 and 1")
    measured = row.get("measured", ACCURACY)
    if measured not in (ACCURACY, AGREEMENT):
        raise ValueError(f"what was measured (={measured}) must be {ACCURACY} or {AGREEMENT}")
    deviation = None
    if row["deviation"]:
        deviation = float(row["deviation"])
    return Point(
        run=row["run"],
        varied=row["varied"],
        value=float(row["value"]),
        ideal=shares[0],
        mean=shares[1],
        deviation=deviation,
        chips=int(row["chips"]),
        images=int(row["images"]),
        hardware=row["hardware"],
        measured=measured,
    )


def simulation_section(result: SimulationResult) -> Section:
    """What arrays leave of the accuracy, chip by chip, and which layers err most."""
    content = result.content
    measured, images = content["measured"], count(content["images"])
    chips = content["accuracies"]
    cards = [
        Card(percent(result.mean, 1), f"{measured} on arrays", f"deviation {result.spread}"),
        Card(percent(content["ideal"], 1), "of the quantised network", f"{images} test images"),
        Card(count(len(chips)), f"{plural('chip', len(chips))}, each programmed anew"),
    ]
    rows = [[str(number), percent(share)] for number, share in enumerate(chips)]
    tables = [("Every chip", table(["chip", measured], rows))]
    charts = []
    if content["layers"]:
        charts.append(("Error of the network if one layer alone falls short", _layers(content["layers"])))
    about = f"Simulated on {content['array']}; {content['hardware'].get('name', 'default')}."
    return Section(f"{result.label}: a simulation", about, cards=cards, charts=charts, tables=tables)


def simulation_row(result: SimulationResult) -> Row:
    """A simulation in the table on top."""
    content = result.content
    note = note_of(content["measured"])
    return Row(
        name=result.label,
        sort="simulation",
        arrays=content["array"].partition(",")[0],
        accuracy=percent(content["ideal"], 1) + note,
        on_arrays=percent(result.mean, 1) + note,
    )


def sweep_section(sweep: Sweep) -> Section:
    """Accuracy against what arrays fall short in, of several runs."""
    varied = ", ".join(dict.fromkeys(WORDS[point.varied] for point in sweep.points))
    charts = [("On worse arrays", robustness_chart(sweep.points))]
    return Section(f"{sweep.label}: worse and worse arrays", f"What varies: {varied}.", charts=charts)


def sweep_rows(sweep: Sweep) -> list[Row]:
    """The runs of a sweep in the table on top, with the worst and the best that arrays leave of them."""
    rows = []
    for run in dict.fromkeys(point.run for point in sweep.points):
        own = [point for point in sweep.points if point.run == run]
        means = sorted(point.mean for point in own)
        note = note_of(own[0].measured)
        kept = f"{percent(means[0], 1)} to {percent(means[-1], 1)}{note}"
        name = f"{sweep.label}, {run}"
        rows.append(Row(name=name, sort="sweep", accuracy=percent(own[0].ideal, 1) + note, on_arrays=kept))
    return rows


def _layers(layers: Sequence[Mapping[str, Any]]) -> Chart:
    """Blame of every layer, the worst first."""
    worst = sorted(layers, key=lambda layer: -layer["blame"])
    names = [layer["name"] for layer in worst]
    blames = [layer["blame"] for layer in worst]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(worst)), blames, BAR, color=BLUE[0])
        axes.set_xlim(0, 1.02 * max(blames) or 1.0)
        axes.set_xlabel("relative error of the logits")

    rows = []
    for layer in worst:
        snr = "exact"
        if layer["snr"] is not None:
            snr = f"{layer['snr']:.1f} dB"
        rows.append([layer["name"], f"{layer['blame']:.3f}", percent(layer["alone"]), snr])
    drawn = rows_svg("blame", "Relative error of the logits if a layer alone falls short", names, 1, draw)
    return Chart(drawn, table=table(["layer", "error alone", "accuracy alone", "SNR"], rows))
