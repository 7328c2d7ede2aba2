"""The headline: the page in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.numbers import (
    GAP,
    percent,
    precision_in_words,
    size,
    times,
)
from rankfold.report.runs import Run, speed_up

if TYPE_CHECKING:
    from rankfold.runs.result import Result

# Runs that are told one by one; more are summed up.
MOST_RUNS = 4
# Changes of less are none.
SAME = 0.005


def headline(runs: Sequence[Run]) -> str:
    """The page in one sentence."""
    first = runs[0].result
    name = f"{first.model} on {_data_name(first)}"
    arrays = f"on {size(first.array)} arrays"
    if len(runs) == 1:
        return f"{name}: {_one_run(first)} {arrays}{_fewer_parameters(first)}"
    if len(runs) <= MOST_RUNS:
        return f"{name}, against dense im2col {arrays}: {_each_run(runs)}"
    return f"{name}, {len(runs)} networks {arrays}: {_range_of_runs(runs)}"


def _one_run(result: Result) -> str:
    """`90.9 % at 4 bits, 2.6× fewer cycles than im2col`."""
    precision = precision_in_words((layer.weight_bits, layer.parameters_after) for layer in result.layers)
    return f"{percent(result.accuracy.final, 1)} {precision}, {_against_im2col(result)}"


def _each_run(runs: Sequence[Run]) -> str:
    told = []
    for run in runs:
        accuracy = percent(run.result.accuracy.final, 1)
        # The headline says once what all of them are compared with.
        cycles = _against_im2col(run.result).removesuffix(" than im2col")
        told.append(f"{accuracy} with {cycles} ({run.label})")
    return "; ".join(told)


def _range_of_runs(runs: Sequence[Run]) -> str:
    accuracies = [run.result.accuracy.final for run in runs]
    ratios = [speed_up(run.result) for run in runs]
    return (
        f"{percent(min(accuracies), 1)} to {percent(max(accuracies), 1)}, "
        f"with {times(min(ratios))} to {times(max(ratios))} fewer cycles than dense im2col"
    )


def _against_im2col(result: Result) -> str:
    """The planned cycles against those of the dense network under im2col, in words."""
    ratio = speed_up(result)
    if abs(ratio - 1) < SAME:
        return "as many cycles as im2col"
    if ratio < 1:
        return f"{1 / ratio:.2f}× more cycles than im2col"
    return f"{times(ratio)} fewer cycles than im2col"


def _fewer_parameters(result: Result) -> str:
    """`, 70 % fewer parameters`, or nothing where they are about as many."""
    saved = 1 - result.parameters_after / result.parameters_before
    if abs(saved) < SAME:
        return ""
    words = "fewer"
    if saved < 0:
        words = "more"
    share = f"{abs(saved):.0%}".replace("%", f"{GAP}%")
    return f", {share} {words} parameters"


def _data_name(result: Result) -> str:
    """The data set in short: the last part of a path."""
    # Folders are separated in another way on Windows.
    source = result.data.source.replace("\\", "/").rstrip("/")
    return source.rsplit("/", 1)[-1] or source
