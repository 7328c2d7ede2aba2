"""What the page says in sentences of energy and of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.methods import bound_says_more
from rankfold.report.numbers import GAP, count, less, nanojoules, percent
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from rankfold.runs.energy_record import EnergyRecord
    from rankfold.runs.result import Result


def energy_notes(runs: Sequence[Run]) -> list[str]:
    """Totals and saving of every run with energy; then its conditions, and the source of the ADC's."""
    totals = []
    sources = []
    for run in runs:
        energy = run.result.energy
        if energy is None:
            continue
        start = ""
        if len(runs) > 1:
            start = f"{run.label}: "
        # A single run need not be named on its own page.
        totals.append(start + _energy_in_words(energy))
        sources.append(f"With {energy.conditions}.")
        sources.append(f"ADC: {energy.adc_source}.")
    # Runs mostly share their conditions, which are then said once.
    return totals + list(dict.fromkeys(sources))


def error_notes(runs: Sequence[Run]) -> list[str]:
    """The errors of the weights of every low-rank or pruned run in one sentence."""
    notes = []
    for run in runs:
        words = _errors_in_words(run.result)
        if not words:
            continue
        start = "Mean"
        if len(runs) > 1:
            start = f"{run.label}: mean"
        notes.append(f"{start} {words}.")
    return notes


def _energy_in_words(energy: EnergyRecord) -> str:
    # Here, not above: it brings NumPy, which `import rankfold.report` does without.
    from rankfold.cost.energy import accuracy_in_words

    saving = f"{less(energy.saving)} than dense im2col"
    if energy.best_saving is not None:
        saving = (
            f"{less(energy.best_saving)} than the dense network under its best mapping "
            f"({energy.best_mapping}), {saving}"
        )
    band = f"{less(energy.least_saving)} to {less(energy.most_saving)}"
    parts = [
        f"{nanojoules(energy.energy):,.0f}{GAP}nJ an image, {saving} "
        f"({band} where ADCs take 30{GAP}% to 80{GAP}% of the latter)",
        f"{count(energy.conversions)} ADC conversions, {energy.tops_per_watt:.1f}{GAP}TOPS/W",
        f"{count(energy.arrays)} arrays, {energy.area:.2f}{GAP}mm² in all, "
        f"{energy.leakage:.1f}{GAP}µW leakage",
        f"{energy.latency:,.0f}{GAP}µs from in to out, "
        f"an image every {energy.interval:,.0f}{GAP}µs with layers pipelined",
        f"accuracy on these arrays: {accuracy_in_words(energy.accuracy_on_arrays)}",
    ]
    return "; ".join(parts) + "."


def _errors_in_words(result: Result) -> str:
    """Mean errors of weights, bounds and errors of outputs, as far as they are known; empty without any."""
    errors = [layer.error for layer in result.layers if layer.error is not None]
    if not errors:
        return ""
    words = f"error {percent(_mean(errors), 1)}"
    words += _bounds_in_words(result)
    # Known only of layers whose weights were made for data.
    outputs = [layer.output_error for layer in result.layers if layer.output_error is not None]
    if outputs:
        mean = percent(_mean(outputs), 1)
        words += f"; mean error of the outputs on calibration images, for which the factors were made, {mean}"
    return words


def _bounds_in_words(result: Result) -> str:
    """How errors compare with the bound of Theorem 1; empty where they equal it, or none has one."""
    bounds = []
    below = 0
    telling = False
    for layer in result.layers:
        if layer.error is None:
            continue
        telling |= bound_says_more(layer)
        if layer.plain_error is not None:
            bounds.append(layer.plain_error)
            below += layer.error <= layer.plain_error
    if not bounds or not telling:
        return ""
    # Over the layers that have a bound, which may be fewer than those that have an error.
    mean = percent(_mean(bounds), 1)
    return f", mean bound {mean}; not above the bound in {below} of {len(bounds)} layers"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
