"""Finished runs, and the table that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.report.palette import method
from rankfold.report.table import format_table

if TYPE_CHECKING:
    from rankfold.pipeline.result import Result
    from rankfold.plan import Plan
    from rankfold.training.loop import EpochRecord

SUMMARY_HEADERS = (
    "network", "accuracy", "im2col", "SDK", "VW-SDK", "as planned", "vs im2col", "utilisation", "parameters",
)  # fmt: skip
DENSE_MAPPINGS = (("im2col", "im2col"), ("sdk", "SDK"), ("vw-sdk", "VW-SDK"))


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
    from rankfold.pipeline.folder import RunFolder, load_history
    from rankfold.pipeline.result import Result
    from rankfold.plan import Plan

    folder = RunFolder(Path(path), "")
    result = Result.load(folder.result)
    return Run(label or method_name(result), result, Plan.load(folder.plan), load_history(folder.history))


def method_name(result: Result) -> str:
    """What the run did, in a few words: `dense`, `plain low-rank`, `group low-rank, g = 4` or `mixed plan`."""
    groups = next((layer.groups for layer in result.layers if layer.kind == "low-rank"), None)
    names = {"dense": "dense", "plain": "plain low-rank", "group": f"group low-rank, g = {groups}", "mixed": "mixed plan"}
    return names[method(result)]


def dense_cycles(result: Result) -> tuple[tuple[str, int], ...]:
    """(name, cycles per image) of the dense network under im2col, SDK and VW-SDK."""
    return tuple((name, result.cycles[key]) for key, name in DENSE_MAPPINGS)


def float_baseline(runs: Sequence[Run]) -> float | None:
    """Test accuracy of the dense float network that the runs started from; None where the run trains it."""
    return next((run.result.accuracy.baseline for run in runs if run.result.accuracy.baseline is not None), None)


def array_size(result: Result) -> str:
    """The array as R x C, for example `64x64`."""
    return "x".join(str(side) for side in result.array)


def summary_rows(runs: Sequence[Run]) -> list[list[str]]:
    """One row per run under `SUMMARY_HEADERS`.

    The columns im2col, SDK and VW-SDK are the cycles of the network as it is with all its layers mapped so; a low-rank
    pair has no published VW-SDK mapping, shown as a dash.
    """
    rows = []
    for run in runs:
        result = run.result
        low_rank = "low-rank-sdk" in result.cycles
        shown = ("low-rank-im2col", "low-rank-sdk", None) if low_rank else ("im2col", "sdk", "vw-sdk")
        rows.append(
            [
                run.label,
                f"{result.accuracy.final:.2%}",
                *(f"{result.cycles[key]:,}" if key else "-" for key in shown),
                f"{result.planned_cycles:,}",
                f"{result.cycles['im2col'] / result.planned_cycles:.2f}x",
                f"{result.utilisation:.1%}",
                f"{result.parameters_after:,}",
            ]
        )
    return rows


def summary_table(runs: Sequence[Run]) -> str:
    """The comparison as text: cycles are array activations per image; `vs im2col` is against the dense network."""
    first = runs[0].result
    baseline = float_baseline(runs)
    heading = f"{first.model} on {first.data.source}, {array_size(first)} arrays, cycles per image (float baseline "
    heading += f"{baseline:.2%})" if baseline is not None else "trained here)"
    return f"{heading}\n\n{format_table(SUMMARY_HEADERS, summary_rows(runs))}\n"
