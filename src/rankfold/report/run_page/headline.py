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
from rankfold.report.runs import Run, measured_in_full, speed_up, speed_up_over_im2col

if TYPE_CHECKING:
    from rankfold.runs.result import Result

# Runs that are told one by one; more are summed up.
MOST_RUNS = 4
# Changes of less are none.
SAME = 0.005
SAME_CYCLES = "as many cycles"


def headline(runs: Sequence[Run]) -> str:
    """The page in one sentence."""
    first = runs[0].result
    name = f"{first.model} on {_data_name(first)}"
    arrays = f"on {size(first.array)} arrays"
    if len(runs) == 1:
        return f"{name}: {_one_run(first)} {arrays}{_fewer_parameters(first)}"
    if len(runs) <= MOST_RUNS:
        return f"{name}, against the best mapping of the dense network {arrays}: {_each_run(runs)}"
    return f"{name}, {len(runs)} networks {arrays}: {_range_of_runs(runs)}"


def _one_run(result: Result) -> str:
    """`90.9 % at 4 bits, 1.4× fewer cycles than the dense network under its best mapping (...)`."""
    precision = precision_in_words((layer.weight_bits, layer.parameters_after) for layer in result.layers)
    return f"{_measured(result)} {precision}, {_against_dense(result)}"


def _measured(result: Result) -> str:
    """`90.9 %` of accuracy, and what else it is by its name."""
    final = percent(result.accuracy.final, 1)
    if result.data.labelled:
        return final
    return f"{final} {measured_in_full(result)}"


def _each_run(runs: Sequence[Run]) -> str:
    told = []
    for run in runs:
        accuracy = _measured(run.result)
        # The headline says once what all of them are compared with.
        told.append(f"{accuracy} with {_cycles_in_words(speed_up(run.result))} ({run.label})")
    return "; ".join(told)


def _range_of_runs(runs: Sequence[Run]) -> str:
    accuracies = [run.result.accuracy.final for run in runs]
    ratios = [speed_up(run.result) for run in runs]
    return (
        f"{percent(min(accuracies), 1)} to {percent(max(accuracies), 1)}, "
        f"with {_range_of_cycles(min(ratios), max(ratios))} the best mapping of the dense network"
    )


def _range_of_cycles(least: float, most: float) -> str:
    """`1.3× to 2.6× fewer cycles than`, or with more cycles on one side."""
    if least > 1 + SAME:
        return f"{times(least)} to {times(most)} fewer cycles than"
    ends = (_cycles_in_words(least), _cycles_in_words(most))
    return f"{' to '.join(dict.fromkeys(ends))}, against"


def _against_dense(result: Result) -> str:
    """The planned cycles against those of the dense network under its best mapping, and under im2col."""
    words = _cycles_in_words(speed_up(result))
    link = "than"
    if words == SAME_CYCLES:
        link = "as"
    im2col = _cycles_in_words(speed_up_over_im2col(result))
    return f"{words} {link} the dense network under its best mapping (under im2col: {im2col})"


def _cycles_in_words(ratio: float) -> str:
    if abs(ratio - 1) < SAME:
        return SAME_CYCLES
    if ratio < 1:
        return f"{1 / ratio:.2f}× more cycles"
    return f"{times(ratio)} fewer cycles"


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
