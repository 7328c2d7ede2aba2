"""Finished runs, and the table that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.report.palette import method
from rankfold.report.table import format_table

if TYPE_CHECKING:
    from rankfold.plan import Plan
    from rankfold.runs.result import Result
    from rankfold.training.loop import EpochRecord

SUMMARY_HEADERS = (
    "network", "accuracy", "im2col", "SDK", "VW-SDK", "as planned", "vs im2col",
    "ADC conversions", "energy, nJ", "utilisation", "parameters",
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
    from rankfold.plan import Plan
    from rankfold.runs.folder import RunFolder, load_history
    from rankfold.runs.result import Result

    folder = RunFolder(Path(path), "")
    result = Result.load(folder.result)
    return Run(label or method_name(result), result, Plan.load(folder.plan), load_history(folder.history))


def method_name(result: Result) -> str:
    """What the run did, in a few words: `dense`, `group low-rank, g = 4`, `PatDNN, e = 4`, `mixed plan`, ..."""
    groups = next((layer.groups for layer in result.layers if layer.kind == "low-rank"), None)
    entries = next((layer.entries for layer in result.layers if layer.entries is not None), None)
    names = {
        "dense": "dense",
        "plain": "plain low-rank",
        "group": f"group low-rank, g = {groups}",
        "mixed": "mixed plan",
        "patdnn": f"PatDNN, e = {entries}",
        "pairs": f"PAIRS, e = {entries}",
        "support": f"shared support, e = {entries}",
        "sparse": f"row-sparse low-rank, {'' if groups == 1 else f'g = {groups}, '}e = {entries}",
        "channel": "channel pruning",
    }
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


def pruned(run: Run) -> bool:
    """Whether any layer is pattern-pruned, so that cycles have two readings."""
    return "ideal-sdk" in run.result.cycles


def summary_headers(runs: Sequence[Run]) -> tuple[str, ...]:
    """`SUMMARY_HEADERS`, with a column for ideal steering after the planned cycles where any run is pattern-pruned."""
    if not any(pruned(run) for run in runs):
        return SUMMARY_HEADERS
    place = SUMMARY_HEADERS.index("as planned") + 1
    return *SUMMARY_HEADERS[:place], "ideal steering", *SUMMARY_HEADERS[place:]


def summary_rows(runs: Sequence[Run]) -> list[list[str]]:
    """One row per run under `summary_headers`.

    The columns im2col, SDK and VW-SDK are the cycles of the network as it is with all its layers mapped so, rows skipped only
    where nothing in a tile needs them; a low-rank pair and a pattern-pruned layer have no published VW-SDK mapping, shown as
    a dash. Ideal steering: every column of an array with inputs of its own, for nothing.
    """
    rows = []
    headers = summary_headers(runs)
    for run in runs:
        result = run.result
        prefix = next((prefix for prefix in ("low-rank-", "pruned-", "channel-") if f"{prefix}sdk" in result.cycles), "")
        shown = [result.cycles.get(f"{prefix}{key}") for key, _ in DENSE_MAPPINGS]
        row = [
            run.label,
            f"{result.accuracy.final:.2%}",
            *("-" if cycles is None else f"{cycles:,}" for cycles in shown),
            f"{result.planned_cycles:,}",
            f"{result.cycles['im2col'] / result.planned_cycles:.2f}x",
            "-" if result.planned_conversions is None else f"{result.planned_conversions:,}",
            "-" if result.energy is None else f"{1e-3 * result.energy.energy:,.0f}",
            f"{result.utilisation:.1%}",
            f"{result.parameters_after:,}",
        ]
        if headers != SUMMARY_HEADERS:
            row.insert(headers.index("ideal steering"), f"{ideal_cycles(run):,}" if pruned(run) else "-")
        rows.append(row)
    return rows


def ideal_cycles(run: Run) -> int:
    """Cycles of a pattern-pruned run with ideal steering, with the mapping of its pruned layers."""
    single = all(layer.mapping == "im2col" for layer in run.plan.layers if layer.pruning is not None)
    return run.result.cycles["ideal-im2col" if single else "ideal-sdk"]


def summary_table(runs: Sequence[Run]) -> str:
    """The comparison as text: cycles are array activations per image; `vs im2col` is against the dense network."""
    first = runs[0].result
    baseline = float_baseline(runs)
    heading = f"{first.model} on {first.data.source}, {array_size(first)} arrays, cycles per image (float baseline "
    heading += f"{baseline:.2%})" if baseline is not None else "trained here)"
    return f"{heading}\n\n{format_table(summary_headers(runs), summary_rows(runs))}\n"
