"""Accuracy on arrays of several runs, for several values of what arrays fall short in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rankfold.cost.energy import ACCURACY
from rankfold.errors import InputError
from rankfold.machine import NonIdealities
from rankfold.progress import Progress
from rankfold.records.csv_table import write_csv
from rankfold.runs.chips import LoadedRun
from rankfold.runs.simulate import simulate_run
from rankfold.runs.simulation import Simulation, SimulationOptions

VARIED = ("adc_bits", "program_noise", "read_noise", "stuck", "ir_drop", "output_noise", "drift")
WHOLE = "adc_bits"  # the one of them that has no fractions


@dataclass(frozen=True)
class Variation:
    """One field of the non-idealities and the values it takes in turn, all others as given.

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

    def apply(self, base: NonIdealities) -> tuple[NonIdealities, ...]:
        """`base` with each value.

        Raises:
            InputError: a value is out of range.
        """
        each = []
        for value in self.values:
            # Values are read as floats; bits that are no whole number stay so, and are refused.
            given: dict[str, Any] = {self.name: value}
            if self.name == WHOLE and float(value).is_integer():
                given = {self.name: int(value)}
            each.append(replace(base, **given))
        return tuple(each)


@dataclass(frozen=True, kw_only=True)
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
        measured: what `ideal` and `mean` are; of images without labels `agreement`, with the quantised
            network.
        hardware: the name of what it was simulated on, but for what varies.
    """

    run: str
    varied: str
    value: float
    ideal: float
    mean: float
    deviation: float | None
    chips: int
    images: int
    measured: str = ACCURACY
    hardware: str

    @classmethod
    def of(cls, run: str, varied: str, value: float, simulation: Simulation) -> Point:
        """What a simulation with one value found."""
        return cls(
            run=run,
            varied=varied,
            value=value,
            ideal=simulation.ideal,
            mean=simulation.mean,
            deviation=simulation.deviation,
            chips=len(simulation.accuracies),
            images=simulation.images,
            hardware=simulation.hardware.name,
            measured=simulation.measured,
        )


def measure_robustness(
    runs: Mapping[str, str | Path],
    data: str,
    variations: Sequence[Variation],
    options: SimulationOptions,
    *,
    out: Path,
    device: str = "auto",
    trust_code: bool = False,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """Simulate every run with every value, and write `robustness.csv` to `out`.

    Each simulation is kept in `out/points`; one that is there already is not done again.

    Args:
        runs: folders of finished, quantised runs, by label.
        data: a data source, as `load_images` takes it.
        variations: what varies, one after another.
        options: of all simulations; no layers' errors are found.
        out: folder for the results.
        device: `auto`, `cpu`, `cuda`, ...
        trust_code: whether factories that the runs name may be imported.
        progress: hears how far it is.

    Raises:
        InputError: a run, the data or a value does not allow it, or `out` holds others.
    """
    # All values first: one that is out of range is refused before anything is simulated.
    for variation in variations:
        variation.apply(options.chosen or NonIdealities())
    points: list[Point] = []
    for label, folder in runs.items():
        # Once a run: its network and data serve all values.
        loaded = LoadedRun.load(folder, data, device, trust_code=trust_code, progress=progress)
        base = options.on(loaded.plan).non_idealities
        for variation in variations:
            for value, chosen in zip(variation.values, variation.apply(base), strict=True):
                # All digits of the value: two that are alike in six would share a file.
                file = out / "points" / f"{label}-{variation.name}-{value!r}.json"
                # Layers' errors would take a pass over the images for each layer and value.
                own = replace(options, chosen=chosen, layer_images=0)
                simulation = simulate_run(loaded, own, out=file, resume=True, progress=progress)
                points.append(Point.of(label, variation.name, value, simulation))
                write_points(out / "robustness.csv", points)  # a sweep may take hours, and be looked at
    return tuple(points)


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write one CSV row a point, atomically."""
    names = [field.name for field in fields(Point)]
    rows = []
    for point in points:
        rows.append([_cell(getattr(point, name)) for name in names])
    write_csv(path, names, rows)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value
