"""What the page says in words: headline, cards, comparison, and how to get the numbers again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankfold.report.runs import (
    Run,
    dense_cycles,
    float_baseline,
    ideal_cycles,
    pruned,
    summary_headers,
    summary_rows,
)

if TYPE_CHECKING:
    from rankfold.runs.result import Result

GAP = "\u00a0"  # a number and its unit stay on one line
MOST_IN_HEADLINE = 4  # runs; more are summed up


@dataclass(frozen=True)
class Card:
    """A number with what it is."""

    number: str
    what: str
    more: str = ""


def percent(value: float | None, digits: int = 2) -> str:
    """A share as `90.91 %`, None as a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f}{GAP}%"


def count(value: int | None) -> str:
    """A number as `12,345`, None as a dash."""
    return "–" if value is None else f"{value:,}"


def size(values: Sequence[int] | None) -> str:
    """Sizes as `64×64`, None as a dash."""
    return "–" if values is None else "×".join(str(value) for value in values)


def points(after: float, before: float) -> str:
    """The difference of two accuracies in percentage points, with its sign."""
    return f"{100 * (after - before):+.2f}".replace("-", "−")


def data_name(result: Result) -> str:
    """The data set in short: the last part of a path."""
    source = result.data.source.replace("\\", "/").rstrip("/")
    return source.rsplit("/", 1)[-1] or source


def bits_in_words(result: Result) -> str:
    """`at 4 bits`, the width of nearly all weights; `in float`; or `at mixed precision`."""
    return precision_in_words((layer.weight_bits, layer.parameters_after) for layer in result.layers)


def precision_in_words(layers: Iterable[tuple[int | None, int]]) -> str:
    """As `bits_in_words`, from the bits and the weights of each layer."""
    weights: Counter[int | None] = Counter()
    for bits, amount in layers:
        weights[bits] += amount
    width, amount = max(weights.items(), key=lambda item: item[1], default=(None, 0))
    if amount < 0.8 * sum(weights.values()):
        return "at mixed precision"
    return "in float" if width is None else f"at {width}{GAP}bits"


def times(ratio: float) -> str:
    """A ratio as `2.6×`, or `1.03×` where one digit would hide it."""
    return f"{ratio:.{2 if ratio < 1.1 else 1}f}×"


def fewer_cycles(result: Result) -> str:
    """The planned cycles against dense im2col, in words."""
    ratio = result.cycles["im2col"] / result.planned_cycles
    if abs(ratio - 1) < 0.005:
        return "as many cycles as im2col"
    if ratio < 1:
        return f"{1 / ratio:.2f}× more cycles than im2col"
    return f"{times(ratio)} fewer cycles than im2col"


def headline(runs: Sequence[Run]) -> str:
    """The page in one sentence."""
    first = runs[0].result
    name = f"{first.model} on {data_name(first)}"
    if len(runs) == 1:
        saved = 1 - first.parameters_after / first.parameters_before
        change = f", {abs(saved):.0%} {'fewer' if saved > 0 else 'more'} parameters".replace("%", f"{GAP}%")
        return (
            f"{name}: {percent(first.accuracy.final, 1)} {bits_in_words(first)}, {fewer_cycles(first)} "
            f"on {size(first.array)} arrays{change if abs(saved) >= 0.005 else ''}"
        )
    if len(runs) <= MOST_IN_HEADLINE:
        each = [
            f"{percent(run.result.accuracy.final, 1)} with {fewer_cycles(run.result).removesuffix(' than im2col')} ({run.label})"
            for run in runs
        ]
        return f"{name}, against dense im2col on {size(first.array)} arrays: {'; '.join(each)}"
    finals = [run.result.accuracy.final for run in runs]
    ratios = [run.result.cycles["im2col"] / run.result.planned_cycles for run in runs]
    return (
        f"{name}, {len(runs)} networks on {size(first.array)} arrays: {percent(min(finals), 1)} to {percent(max(finals), 1)}, "
        f"with {times(min(ratios))} to {times(max(ratios))} fewer cycles than dense im2col"
    )


def cards(runs: Sequence[Run]) -> list[Card]:
    """The numbers on top: of the run, or for several runs those of the dense network that they share."""
    first = runs[0].result
    baseline = float_baseline(runs)
    dense = dense_cycles(first)
    if len(runs) > 1:
        found = [] if baseline is None else [Card(percent(baseline), "test accuracy before", "dense, in float")]
        found += [Card(count(cycles), f"cycles per image before, {name}", "dense") for name, cycles in dense]
        return [*found, Card(count(first.parameters_before), "parameters before")]
    before = "of the network trained here" if baseline is None else f"{percent(baseline)} before, dense, in float"
    found = [Card(percent(first.accuracy.final), "test accuracy", before)]
    if baseline is not None:
        early = first.accuracy.decomposed
        found.append(
            Card(
                points(first.accuracy.final, baseline),
                "percentage points of accuracy",
                "" if early is None else f"{percent(early)} before fine-tuning",
            )
        )
    found.append(Card(count(first.planned_cycles), "cycles per image, as planned"))
    if pruned(runs[0]):
        plain = count(first.cycles["pruned-sdk"])
        found.append(
            Card(count(ideal_cycles(runs[0])), "cycles with ideal steering", f"{plain} with SDK, only empty rows skipped")
        )
    for name, cycles in dense:
        found.append(Card(f"{cycles / first.planned_cycles:.2f}×", f"speed-up against {name}", f"dense: {count(cycles)} cycles"))
    energy = first.energy
    if energy is not None:
        found.append(Card(f"{1e-3 * energy.energy:,.0f}{GAP}nJ", "energy per image", f"{less(energy.saving)} than dense im2col"))
    found.append(Card(percent(first.utilisation, 1), "utilisation", "of the cells, mean over all cycles"))
    found.append(Card(count(first.parameters_after), "parameters", f"{count(first.parameters_before)} before"))
    return found


def comparison(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The table of several runs: that of the command line, with the loss against the baseline in points."""
    baseline = float_baseline(runs)
    every = summary_headers(runs)
    headers = [*every[:2], "points", *every[2:]]
    rows = []
    for run, (name, accuracy, *rest) in zip(runs, summary_rows(runs), strict=True):
        lost = "–" if baseline is None else points(run.result.accuracy.final, baseline)
        cells = [name, accuracy, lost, *("–" if cell == "-" else cell for cell in rest)]
        rows.append([cells[0], *(cell.replace("%", f"{GAP}%").replace("x", "×") for cell in cells[1:])])
    return headers, rows


def energy_notes(runs: Sequence[Run]) -> list[str]:
    """Totals, saving with its band, and conditions of every run with energy, one note each; then where the ADC's comes from."""
    notes, sources = [], []
    for run in runs:
        energy = run.result.energy
        if energy is None:
            continue
        start = f"{run.label}: " if len(runs) > 1 else ""
        notes.append(
            f"{start}{1e-3 * energy.energy:,.0f}{GAP}nJ an image, {less(energy.saving)} than dense im2col "
            f"({less(energy.least_saving)} to {less(energy.most_saving)} where ADCs take 30{GAP}% to 80{GAP}% of the latter); "
            f"{count(energy.conversions)} ADC conversions, {energy.tops_per_watt:.1f}{GAP}TOPS/W; "
            f"{count(energy.arrays)} arrays, {energy.area:.2f}{GAP}mm² in all, {energy.leakage:.1f}{GAP}µW leakage; "
            f"{energy.latency:,.0f}{GAP}µs from in to out, an image every {energy.interval:,.0f}{GAP}µs with layers pipelined."
        )
        sources += [f"With {energy.conditions}.", f"ADC: {energy.adc_source}."]
    return notes + list(dict.fromkeys(sources))


def less(saving: float) -> str:
    """A saving as `25 % less`, or `3 % more`."""
    return f"{100 * abs(saving):.0f}{GAP}% {'less' if saving >= 0 else 'more'}"


def error_notes(runs: Sequence[Run]) -> list[str]:
    """The errors of the weights of every low-rank or pruned run in one sentence."""
    notes = []
    for run in runs:
        pairs = [(layer.error, layer.plain_error) for layer in run.result.layers if layer.error is not None]
        bounded = [(error, bound) for error, bound in pairs if bound is not None]
        if not pairs:
            continue
        start = f"{run.label}: mean" if len(runs) > 1 else "Mean"
        words = f"{start} error {percent(sum(error for error, _ in pairs) / len(pairs), 1)}"
        if bounded and any(layer.groups != 1 for layer in run.result.layers if layer.error is not None):
            mean = percent(sum(bound for _, bound in bounded) / len(bounded), 1)
            below = sum(error <= bound for error, bound in bounded)
            words += f", mean bound {mean}; not above the bound in {below} of {len(bounded)} layers"
        known = [layer.output_error for layer in run.result.layers if layer.output_error is not None]
        if known:
            mean = percent(sum(known) / len(known), 1)
            words += f"; mean error of the outputs on calibration images, for which the factors were made, {mean}"
        notes.append(f"{words}.")
    return notes


def reproduction(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(what, value) of everything the numbers depend on; what differs between runs is given for each."""
    data, image = runs[0].result.data, runs[0].result.input
    found = [
        (
            "data",
            f"{data.source}: {count(data.train_images)} training and {count(data.test_images)} test images of {size(image)} "
            f"(channels × height × width) in {len(data.classes)} classes; digest {data.digest}",
        )
    ]
    found += _shared(runs, "baseline", [run.result.baseline for run in runs])
    found += _shared(runs, "seed", [str(run.result.recipe.get("seed", "not recorded")) for run in runs])
    found += _shared(runs, "weights", [_bits_of_layers(run.result) for run in runs])
    found += _shared(runs, "device", [run.result.device for run in runs])
    found += _shared(runs, "precision", [f"training in {run.result.precision}, evaluation in float32" for run in runs])
    found += _shared(runs, "recipe", [_recipe(run.result.recipe) for run in runs])
    found += _shared(runs, "training", [_training(run.result) for run in runs])
    found += _shared(runs, "run", [run.result.run for run in runs])
    return found + _shared(runs, "versions", [", ".join(f"{k} {v}" for k, v in run.result.versions.items()) for run in runs])


def commands(runs: Sequence[Run]) -> list[str]:
    """The command lines that made the runs, each once."""
    return list(dict.fromkeys(run.result.command for run in runs if run.result.command))


def _shared(runs: Sequence[Run], what: str, values: Sequence[str]) -> list[tuple[str, str]]:
    if len(set(values)) == 1:
        return [(what, values[0])]
    return [(f"{what}, {run.label}", value) for run, value in zip(runs, values, strict=True)]


def _bits_of_layers(result: Result) -> str:
    widths = Counter(layer.weight_bits for layer in result.layers)
    each = (
        f"{'float' if width is None else f'{width} bits'} in {number} layer{'s' * (number != 1)}"
        for width, number in widths.most_common()
    )
    return ", ".join(each)


def _recipe(recipe: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in recipe.items() if key != "seed")


def _training(result: Result) -> str:
    if result.images_per_second is None:
        return "none"
    return f"{result.seconds:,.0f} s, {result.images_per_second:,.0f} images/s"
