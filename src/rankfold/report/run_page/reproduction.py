"""How to get the numbers of a page again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.numbers import count, plural, size
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from rankfold.runs.result import Result


def reproduction(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(what, value) of everything the numbers depend on; what differs between runs is given for each."""
    conditions = [_conditions(run.result) for run in runs]
    # The data are the same for all of them, or they would not be on one page.
    told = [("data", _data(runs[0].result))]
    for what in conditions[0]:
        values = [each[what] for each in conditions]
        if len(set(values)) == 1:
            told.append((what, values[0]))
            continue
        for run, value in zip(runs, values, strict=True):
            told.append((f"{what}, {run.label}", value))
    return told


def commands(runs: Sequence[Run]) -> list[str]:
    """The command lines that made the runs, each once."""
    given = [run.result.command for run in runs if run.result.command]
    return list(dict.fromkeys(given))


def _conditions(result: Result) -> dict[str, str]:
    """What the numbers of one run depend on beside the data, in the order of the page."""
    return {
        "baseline": result.baseline,
        "seed": str(result.recipe.get("seed", "not recorded")),
        "hardware": _hardware(result),
        "weights": _bits_of_layers(result),
        "device": result.device,
        "precision": f"training in {result.precision}, evaluation in float32",
        "recipe": _recipe(result),
        "training": _training(result),
        "run": result.run,
        "versions": ", ".join(f"{name} {version}" for name, version in result.versions.items()),
    }


def _data(result: Result) -> str:
    data = result.data
    images = f"{count(data.train_images)} training and {count(data.test_images)} test images"
    decoded = ", decoded while training" if data.streamed else ""
    return (
        f"{data.source}: {images} of {size(result.input)} (channels × height × width) "
        f"in {len(data.classes)} classes; digest {data.digest}{decoded}"
    )


def _hardware(result: Result) -> str:
    """What costs are counted for, by its name."""
    if result.hardware is None:
        return "not recorded"
    return result.hardware.name


def _bits_of_layers(result: Result) -> str:
    """`4 bits in 18 layers, 8 bits in 2 layers`, the most frequent width first."""
    widths = Counter((layer.weight_bits, layer.input_bits) for layer in result.layers)
    told = []
    for (width, inputs), number in widths.most_common():
        bits = "float"
        if width is not None:
            bits = f"{width} bits"
        if inputs != width:
            bits += f" ({inputs} of inputs)"
        told.append(f"{bits} in {number} {plural('layer', number)}")
    return ", ".join(told)


def _recipe(result: Result) -> str:
    settings = []
    for key, value in result.recipe.items():
        if key != "seed":  # it has a line of its own
            settings.append(f"{key.replace('_', ' ')} {value}")
    return ", ".join(settings)


def _training(result: Result) -> str:
    if result.images_per_second is None:
        return "none"
    return f"{result.seconds:,.0f} s, {result.images_per_second:,.0f} images/s"
