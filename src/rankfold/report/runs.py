"""Finished runs, and the table that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankfold.pipeline.folder import RunFolder, load_history
from rankfold.pipeline.result import Result
from rankfold.plan import Plan
from rankfold.report.table import format_table
from rankfold.training.loop import EpochRecord

SUMMARY_HEADERS = (
    "network", "accuracy", "im2col", "SDK", "VW-SDK", "as planned", "vs im2col", "utilisation", "parameters",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run: what it is called here, what it found, its plan and its training history."""

    label: str
    result: Result
    plan: Plan
    history: tuple[EpochRecord, ...]


def load_run(path: str | Path, label: str | None = None) -> Run:
    """Read the folder of a finished run.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = RunFolder(Path(path), "")
    result = Result.load(folder.result)
    return Run(label or method_name(result), result, Plan.load(folder.plan), load_history(folder.history))


def method_name(result: Result) -> str:
    """What the run did, in a few words: `dense`, `plain low-rank`, `group low-rank` or `mixed plan`."""
    choices = {(layer.groups, layer.kind) for layer in result.layers if layer.kind == "low-rank"}
    if not choices:
        return "dense"
    if len(choices) > 1:
        return "mixed plan"
    groups, _ = choices.pop()
    return "plain low-rank" if groups == 1 else f"group low-rank, g = {groups}"


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
    size = "x".join(str(side) for side in first.array)
    heading = f"{first.model} on {first.data.source}, {size} arrays, cycles per image (float baseline "
    heading += f"{first.accuracy.baseline:.2%})" if first.accuracy.baseline is not None else "trained here)"
    return f"{heading}\n\n{format_table(SUMMARY_HEADERS, summary_rows(runs))}\n"
