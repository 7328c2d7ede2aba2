"""The accuracy of points as it is measured, on the arrays of their chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.explore.evaluate import Evaluator
from rankfold.files import digest_of
from rankfold.machine import Hardware
from rankfold.plan import Plan
from rankfold.progress import Progress
from rankfold.records.lines import Lines
from rankfold.records.schema import strict_validator

if TYPE_CHECKING:
    from rankfold.explore.trained import TrainedNetworks

MEASURED = "measured.jsonl"
SCHEMA = {
    "type": "object",
    "required": ["arrays", "accuracy"],
    "additionalProperties": False,
    "properties": {"arrays": {"type": "string"}, "accuracy": {"type": "number"}},
}


def measured(
    evaluator: Evaluator,
    points: Sequence[int],
    trained: TrainedNetworks,
    images: int,
    folder: Path | None,
    progress: Progress,
) -> dict[int, float]:
    """The accuracy of points before any training, 0 to 1, by their numbers.

    Points that have plan, mappings and arrays in common are measured once: nothing around the arrays changes
    what these compute. Mappings do, as they say which rows are summed before they are converted.

    Args:
        evaluator: knows the points.
        points: their numbers; all of them run.
        trained: the networks.
        images: on which it is measured.
        folder: where what is measured is recorded, and found again; None: nowhere.
        progress: hears of each plan and arrays.

    Raises:
        InputError: see `TrainedNetworks.accuracy`.
    """
    alike: dict[str, list[int]] = {}
    simulated: dict[str, tuple[int, Plan, Hardware]] = {}
    for number in points:
        found = _simulated(evaluator, number)
        key = _digest(*found, images)
        alike.setdefault(key, []).append(number)
        simulated[key] = found
    accuracies: dict[int, float] = {}
    with _records(folder) as lines:
        known = {} if lines is None else {line["arrays"]: line["accuracy"] for line in lines.found}
        progress.begin(f"accuracy on {images:,} images", len(alike), "arrays")
        for key, numbers in alike.items():
            if key not in known:
                known[key] = trained.accuracy(*simulated[key], images)
                if lines is not None:
                    lines.append([{"arrays": key, "accuracy": known[key]}])
            accuracies |= dict.fromkeys(numbers, known[key])
            progress.advance(1, f"{known[key]:.2%}")
        progress.end()
    return accuracies


@contextmanager
def _records(folder: Path | None) -> Iterator[Lines | None]:
    if folder is None:
        yield None
        return
    with Lines(folder / MEASURED, strict_validator(SCHEMA)) as lines:
        yield lines


def _simulated(evaluator: Evaluator, number: int) -> tuple[int, Plan, Hardware]:
    """Network, plan with the mappings that it has there, and arrays of a point."""
    point = evaluator.space.point(number, len(evaluator.networks))
    chip = evaluator.space.chip(point)
    run = evaluator.run(point, chip, evaluator.planned(point, chip))
    return point.network, run.plan, chip.hardware


def _digest(network: int, plan: Plan, hardware: Hardware, images: int) -> str:
    """The same for points that compute the same on the same images."""
    arrays = hardware.array, hardware.technology, hardware.adc_bits, hardware.noise
    return digest_of(repr((network, plan.layers, *arrays, images)).encode())
