"""Finished runs, as pages and tables compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.report.methods import method_name

if TYPE_CHECKING:
    from rankfold.plan import Plan
    from rankfold.runs.result import Result
    from rankfold.training.epoch_record import EpochRecord
    from rankfold.workload import ConvShape

# Keys of cycles, and the names that tables have for them.
DENSE_MAPPINGS = (("im2col", "im2col"), ("sdk", "SDK"), ("vw-sdk", "VW-SDK"))
BEST = "best"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        label: what it is called on the page.
        result: what it found.
        plan: what it made of every layer.
        history: one record per epoch; empty where nothing was trained.
    """

    label: str
    result: Result
    plan: Plan
    history: tuple[EpochRecord, ...]


def load_run(path: str | Path, label: str | None = None) -> Run:
    """Read the folder of a finished run.

    Raises:
        InputError: a file is missing or damaged.
    """
    # Here, not above: they bring torch, which printing a table does not need.
    from rankfold.plan import Plan
    from rankfold.runs.folder import RunFolder, load_history
    from rankfold.runs.on_arrays import with_accuracy
    from rankfold.runs.result import Result

    folder = RunFolder(Path(path), "")
    # Simulated after the run, as a rule, and so not in its own record.
    result = with_accuracy(Result.load(folder.result), path)
    plan = Plan.load(folder.plan)
    history = load_history(folder.history)
    return Run(label or method_name(result), result, plan, history)


def dense_cycles(result: Result) -> tuple[tuple[str, int], ...]:
    """(name, cycles per image) of the dense network under im2col, SDK and VW-SDK."""
    return tuple((name, result.cycles[key]) for key, name in DENSE_MAPPINGS)


def dense_best(result: Result) -> int:
    """Cycles per image of the dense network under its best mapping.

    Results of older versions do not have it, and their layers are mapped anew, by the shapes that they have
    or else by those of the built-in network of that name; where that is not possible (a weight that runs
    several times has one shape in them), it is the fewest of the mappings that they have.
    """
    known = result.cycles.get(BEST)
    if known is not None:
        return known
    # Here, not above: they bring NumPy, which the import of this package does without.
    from rankfold.mapping import ArraySpec, map_layer

    array = ArraySpec(*result.array)
    for shapes in (_own_shapes(result), _built_in_shapes(result)):
        # The right ones, and all of them, as they need the cycles that the run counted.
        if sum(map_layer(shape, array, "im2col").cycles for shape in shapes) == result.cycles["im2col"]:
            return sum(map_layer(shape, array, BEST).cycles for shape in shapes)
    return min(cycles for _, cycles in dense_cycles(result))


def _own_shapes(result: Result) -> list[ConvShape]:
    """The shapes of counted layers that a result has; the oldest have none."""
    return [layer.shape for layer in result.layers if layer.cycles is not None and layer.shape is not None]


def _built_in_shapes(result: Result) -> list[ConvShape]:
    """The convolutions of the built-in network that a result names; none where it names another network."""
    from rankfold.workload import ZOO, zoo_network

    if result.model not in ZOO:
        return []
    channels, height, width = result.input
    network = zoo_network(result.model, (channels, height, width))
    return list(network.convolutions)


def speed_up(result: Result) -> float:
    """Cycles of the dense network under its best mapping over those of the network as planned."""
    return dense_best(result) / result.planned_cycles


def speed_up_over_im2col(result: Result) -> float:
    """Cycles of the dense network under im2col over those of the network as planned."""
    return result.cycles["im2col"] / result.planned_cycles


def measured_by(runs: Sequence[Run]) -> str:
    """What the runs were measured by: `accuracy`, without labels `agreement` or `relative output error`."""
    return " and ".join(dict.fromkeys(run.result.accuracy.measured for run in runs))


def measured_in_full(result: Result) -> str:
    """The same of one run, for what is measured on the test split or on held-out samples without labels."""
    if result.accuracy.measured == "accuracy":
        return "test accuracy"
    link = "with" if result.accuracy.measured == "agreement" else "against"
    return f"{result.accuracy.measured} {link} the dense network"


def float_baseline(runs: Sequence[Run]) -> float | None:
    """Test accuracy of the dense float network that the runs started from; None where the run trains it, or
    where they started from different weights.
    """
    started = [run.result for run in runs if run.result.accuracy.baseline is not None]
    # Older runs do not say from which.
    weights = {result.dense_weights for result in started if result.dense_weights is not None}
    if not started or len(weights) > 1:
        return None
    return started[0].accuracy.baseline


def array_size(result: Result) -> str:
    """The array as R x C, for example `64x64`."""
    rows, columns = result.array
    return f"{rows}x{columns}"
