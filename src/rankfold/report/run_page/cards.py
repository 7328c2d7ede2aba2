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
from rankfold.report.run_page.on_arrays import images_per_second
from rankfold.report.runs import Run, dense_best, dense_cycles, float_baseline, measured_in_full
from rankfold.report.summary import (
    counts_ideal_steering,
    skipping_cycles,
    steered_cycles,
)

if TYPE_CHECKING:
    from rankfold.cost.energy import ArrayAccuracy
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
        *_metric_cards(run.result),
        *_cycle_cards(run),
        *_energy_cards(run.result),
        *_size_cards(run.result),
    ]


def _shared_cards(result: Result, baseline: float | None) -> list[Card]:
    """The dense network that several runs started from."""
    shown = []
    if baseline is not None:
        shown.append(Card(percent(baseline), "test accuracy before", "dense, in float"))
    best = dense_best(result)
    shown.append(Card(count(best), "cycles per image before, best mapping", "dense"))
    for name, cycles in dense_cycles(result):
        shown.append(Card(count(cycles), f"cycles per image before, {name}", "dense"))
    shown.append(Card(count(result.parameters_before), "parameters before"))
    return shown


def _accuracy_cards(result: Result, baseline: float | None) -> list[Card]:
    final = result.accuracy.final
    if not result.data.labelled:
        return [Card(percent(final), measured_in_full(result), "on held-out samples without labels")]
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


def _metric_cards(result: Result) -> list[Card]:
    """What the user's metric says, where the run has one."""
    found = result.metric
    if found is None:
        return []
    before = f"{found.decomposed:.4g} before fine-tuning, {found.baseline:.4g} dense, in float"
    return [Card(f"{found.final:.4g}", found.name, before)]


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
    # The best one first: it is what there is without compression.
    for name, cycles in (("best mapping", dense_best(result)), ("im2col", result.cycles["im2col"])):
        ratio = f"{cycles / result.planned_cycles:.2f}×"
        shown.append(
            Card(
                count(cycles),
                f"cycles of the dense network, {name}",
                f"{ratio} those of the plan",
            )
        )
    return shown


def _energy_cards(result: Result) -> list[Card]:
    """What the network keeps and needs on its arrays."""
    energy = result.energy
    if energy is None:
        return []
    than = f"{less(energy.saving)} than dense im2col"
    if energy.best_saving is not None:
        than = f"{less(energy.best_saving)} than the best dense mapping, {than}"
    return [
        _on_arrays_card(energy.accuracy_on_arrays),
        Card(f"{nanojoules(energy.energy):,.0f}{GAP}nJ", "energy per image", than),
        Card(count(energy.arrays), "arrays", "one for each tile of the weights"),
        Card(f"{energy.area:.2f}{GAP}mm²", "area of the arrays", energy.conditions.split(";")[0]),
        Card(f"{energy.latency:,.0f}{GAP}µs", "latency of an image", "from its first read to its last"),
        Card(count(images_per_second(energy)), "images per second", "with layers pipelined"),
    ]


def _on_arrays_card(found: ArrayAccuracy | None) -> Card:
    if found is None:
        # Here, not above: it brings NumPy, which `import rankfold.report` does without.
        from rankfold.cost.energy import NOT_SIMULATED

        return Card(NOT_SIMULATED, "test accuracy on these arrays", "rankfold simulate does it")
    tested = f"{percent(found.ideal, 1)} on exact arrays; {count(found.images)} images"
    return Card(percent(found.accuracy, 1), f"test {found.measured} on these arrays", tested)


def _size_cards(result: Result) -> list[Card]:
    utilisation = percent(result.utilisation, 1)
    before = f"{count(result.parameters_before)} before"
    return [
        Card(utilisation, "utilisation", "of the cells, mean over all cycles"),
        Card(count(result.parameters_after), "parameters", before),
    ]
