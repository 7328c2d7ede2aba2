"""The numbers on top of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.card import Card
from rankfold.report.numbers import (
    GAP,
    count,
    less,
    nanojoules,
    percent,
    points,
)
from rankfold.report.runs import Run, dense_best, dense_cycles, float_baseline
from rankfold.report.summary import (
    counts_ideal_steering,
    skipping_cycles,
    steered_cycles,
)

if TYPE_CHECKING:
    from rankfold.runs.result import Result


def cards(runs: Sequence[Run]) -> list[Card]:
    """The numbers on top: of the run, or for several runs those of the dense network that they share."""
    baseline = float_baseline(runs)
    if len(runs) > 1:
        return _shared_cards(runs[0].result, baseline)
    run = runs[0]
    # What is kept, what is saved, what it takes.
    return [
        *_accuracy_cards(run.result, baseline),
        *_cycle_cards(run),
        *_energy_cards(run.result),
        *_size_cards(run.result),
    ]


def _shared_cards(result: Result, baseline: float | None) -> list[Card]:
    """The dense network that several runs started from."""
    shown = []
    if baseline is not None:
        shown.append(Card(percent(baseline), "test accuracy before", "dense, in float"))
    for name, cycles in (("best mapping", dense_best(result)), *dense_cycles(result)):
        shown.append(Card(count(cycles), f"cycles per image before, {name}", "dense"))
    shown.append(Card(count(result.parameters_before), "parameters before"))
    return shown


def _accuracy_cards(result: Result, baseline: float | None) -> list[Card]:
    final = result.accuracy.final
    if baseline is None:
        return [Card(percent(final), "test accuracy", "of the network trained here")]
    decomposed = ""
    if result.accuracy.decomposed is not None:
        decomposed = f"{percent(result.accuracy.decomposed)} before fine-tuning"
    return [
        Card(
            percent(final),
            "test accuracy",
            f"{percent(baseline)} before, dense, in float",
        ),
        Card(
            points(final, baseline),
            "percentage points of accuracy",
            decomposed,
        ),
    ]


def _cycle_cards(run: Run) -> list[Card]:
    result = run.result
    shown = [Card(count(result.planned_cycles), "cycles per image, as planned")]
    # Two readings of the same network, side by side.
    if counts_ideal_steering(result):
        plain = f"{count(skipping_cycles(result))} with SDK, only empty rows skipped"
        shown.append(
            Card(
                count(steered_cycles(run)),
                "cycles with ideal steering",
                plain,
            )
        )
    for name, cycles in (("its best mapping", dense_best(result)), *dense_cycles(result)):
        ratio = f"{cycles / result.planned_cycles:.2f}×"
        shown.append(
            Card(
                ratio,
                f"speed-up against {name}, dense",
                f"{count(cycles)} cycles",
            )
        )
    return shown


def _energy_cards(result: Result) -> list[Card]:
    # Here, not above: it brings NumPy, which `import rankfold.report` does without.
    from rankfold.cost.energy import accuracy_in_words

    if result.energy is None:
        return []
    energy = f"{nanojoules(result.energy.energy):,.0f}{GAP}nJ"
    than = f"{less(result.energy.saving)} than dense im2col"
    if result.energy.best_saving is not None:
        than = f"{less(result.energy.best_saving)} than the best dense mapping, {than}"
    than += f"; accuracy on these arrays: {accuracy_in_words(result.energy.accuracy_on_arrays)}"
    return [Card(energy, "energy per image", than)]


def _size_cards(result: Result) -> list[Card]:
    utilisation = percent(result.utilisation, 1)
    before = f"{count(result.parameters_before)} before"
    return [
        Card(utilisation, "utilisation", "of the cells, mean over all cycles"),
        Card(count(result.parameters_after), "parameters", before),
    ]
