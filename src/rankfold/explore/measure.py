"""The accuracy of points as it is measured, on the arrays of their chips."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.explore.evaluate import Evaluator
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

    Points that have plan and arrays in common are measured once: neither mappings nor anything around the
    arrays changes what these compute.

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
    for number in points:
        alike.setdefault(_arrays_of(evaluator, number, images), []).append(number)
    accuracies: dict[int, float] = {}
    with _records(folder) as lines:
        known = {} if lines is None else {line["arrays"]: line["accuracy"] for line in lines.found}
        progress.begin(f"accuracy on {images:,} images", len(alike), "arrays")
        for key, numbers in alike.items():
            if key not in known:
                network, plan, hardware = _simulated(evaluator, numbers[0])
                known[key] = trained.accuracy(network, plan, hardware, images)
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
    """Network, plan and arrays of a point."""
    point = evaluator.space.point(number, len(evaluator.networks))
    chip = evaluator.space.chip(point)
    plan = evaluator.planned(point, chip).plan
    assert plan is not None  # `planned` has said so
    return point.network, plan, chip.hardware


def _arrays_of(evaluator: Evaluator, number: int, images: int) -> str:
    """The same for points that compute the same on the same images."""
    network, _, hardware = _simulated(evaluator, number)
    plan = evaluator.space.point(number, len(evaluator.networks)).plan
    own = network, plan, hardware.array, hardware.technology, hardware.adc_bits, hardware.noise, images
    return hashlib.sha256(repr(own).encode()).hexdigest()[:16]
