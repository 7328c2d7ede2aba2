"""Accuracy on arrays of several runs, for several values of what arrays fall short in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import write_text
from rankfold.runs.simulate import LoadedRun, simulate_run
from rankfold.runs.simulation import Progress, SimulationSettings
from rankfold.simulator import ArrayNonIdealities

VARIED = ("adc_bits", "program_noise", "read_noise", "stuck", "ir_drop", "output_noise", "drift")


@dataclass(frozen=True)
class Variation:
    """One field of `ArrayNonIdealities` and the values it takes in turn, all others as given.

    Attributes:
        name: one of `VARIED`.
        values: at least one.
    """

    name: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.name not in VARIED:
            raise InputError(f"what varies (={self.name}) must be one of {', '.join(VARIED)}")
        if not self.values:
            raise InputError(f"{self.name} needs values, such as {self.name}=0.01,0.02")

    def apply(self, base: ArrayNonIdealities) -> tuple[ArrayNonIdealities, ...]:
        """`base` with each value.

        Raises:
            InputError: a value is out of range.
        """
        whole = self.name == "adc_bits"
        given: list[dict[str, Any]] = [{self.name: int(v) if whole and v.is_integer() else v} for v in self.values]
        return tuple(replace(base, **chosen) for chosen in given)


@dataclass(frozen=True)
class Point:
    """Accuracy of one run on arrays with one value.

    Attributes:
        run: its label.
        varied: name of the field.
        value: its value.
        ideal: accuracy of the quantised network, 0 to 1.
        mean: over chips.
        deviation: over chips; None of one.
        chips: how many.
        images: test images.
    """

    run: str
    varied: str
    value: float
    ideal: float
    mean: float
    deviation: float | None
    chips: int
    images: int


def measure_robustness(
    runs: dict[str, Path], variations: Sequence[Variation], base: SimulationSettings, out: Path, progress: Progress | None = None
) -> tuple[Point, ...]:
    """Simulate every run with every value, and write `robustness.csv` to `out`.

    Each simulation is kept in `out/points`; one that is there already is not done again.

    Args:
        runs: folders of finished, quantised runs, by label.
        variations: what varies, one after another.
        base: settings of all simulations.
        out: folder for the results.
        progress: hears how far it is.

    Raises:
        InputError: a run, the data or a value does not allow it, or `out` holds simulations with other settings.
    """
    chosen = [(variation, variation.apply(base.chosen)) for variation in variations]
    points = []
    for label, folder in runs.items():
        loaded = LoadedRun.load(folder, base.data, base.device)
        for variation, each in chosen:
            for value, arrays in zip(variation.values, each, strict=True):
                file = out / "points" / f"{label}-{variation.name}-{value!r}.json"
                settings = replace(base, folder=folder, chosen=arrays, layer_images=0, out=file, resume=True)
                found = simulate_run(settings, progress, loaded)
                points.append(
                    Point(
                        label,
                        variation.name,
                        value,
                        found.ideal,
                        found.mean,
                        found.deviation,
                        len(found.accuracies),
                        found.images,
                    )
                )
                write_points(out / "robustness.csv", points)
    return tuple(points)


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write one CSV row a point, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Point)]
    writer.writerow(names)
    for point in points:
        cells = (getattr(point, name) for name in names)
        writer.writerow(["" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells])
    write_text(path, text.getvalue())
