"""The table that compares finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.records.text_table import format_table
from rankfold.report.numbers import nanojoules
from rankfold.report.runs import (
    DENSE_MAPPINGS,
    Run,
    array_size,
    float_baseline,
    measured_by,
    speed_up,
    speed_up_over_im2col,
)

if TYPE_CHECKING:
    from rankfold.runs.result import Result

ON_ARRAYS = "accuracy on arrays"  # beside every energy, which is that of these arrays
SUMMARY_HEADERS = (
    "network",
    "accuracy",
    "im2col",
    "SDK",
    "VW-SDK",
    "as planned",
    "vs dense best",
    "vs im2col",
    "ADC conversions",
    "energy, nJ",
    ON_ARRAYS,
    "utilisation",
    "parameters",
)
# A column of its own, for what only some runs have.
IDEAL_STEERING = "ideal steering"
# In cells of what is not known, or not defined.
MISSING = "-"

# A network that mixes families is compared under the mappings of the first of these that it has, then of any
# other than dense; each of them counts the layers of the others as they are.
SHOWN_FAMILIES = ("low-rank", "pruned", "channel")


def summary_headers(runs: Sequence[Run]) -> tuple[str, ...]:
    """`SUMMARY_HEADERS`, with ideal steering after the planned cycles where any run counts it, and metrics of
    users after the accuracy; without labels the accuracy is called what it is.
    """
    network, _, *others = SUMMARY_HEADERS
    if any(counts_ideal_steering(run.result) for run in runs):
        others.insert(others.index("as planned") + 1, IDEAL_STEERING)
    return network, measured_by(runs), *_metrics(runs), *others


def summary_rows(runs: Sequence[Run]) -> list[list[str]]:
    """One row per run under `summary_headers`.

    The columns im2col, SDK and VW-SDK are the cycles of the network as it is with all its layers mapped so,
    rows skipped only where nothing in a tile needs them; a low-rank pair and a pattern-pruned layer have no
    published VW-SDK mapping, shown as a dash. Ideal steering: every column of an array with inputs of its
    own, for nothing.
    """
    headers = summary_headers(runs)
    rows = []
    for run in runs:
        # With a column that only some of the runs need, all of them have a cell for it.
        cells = _cells(run)
        cells[measured_by(runs)] = cells.pop("accuracy")
        for name in _metrics(runs):
            cells[name] = MISSING
        if run.result.metric is not None:
            cells[_column(run.result.metric.name)] = f"{run.result.metric.final:.4g}"
        rows.append([cells[header] for header in headers])
    return rows


def _metrics(runs: Sequence[Run]) -> list[str]:
    """The columns of the metrics of users that any of the runs was measured by, each once."""
    names = [run.result.metric.name for run in runs if run.result.metric is not None]
    return [_column(name) for name in dict.fromkeys(names)]


def _column(metric: str) -> str:
    """The title of a metric's column, which no other column has."""
    if metric in (*SUMMARY_HEADERS, IDEAL_STEERING):
        return f"metric {metric}"
    return metric


def summary_table(runs: Sequence[Run]) -> str:
    """The comparison as text.

    Cycles are array activations per image; `vs dense best` is against the dense network under its best
    mapping, `vs im2col` against the same one pixel at a time.
    """
    first = runs[0].result
    baseline = float_baseline(runs)
    started = "trained here" if first.data.labelled else "not known without labels"
    if baseline is not None:
        started = f"{baseline:.2%}"
    elif any(run.result.accuracy.baseline is not None for run in runs):
        started = "of each run its own"
    about = f"{first.model} on {first.data.source}, {array_size(first)} arrays"
    heading = f"{about}, cycles per image (float baseline {started})"
    return f"{heading}\n\n{format_table(summary_headers(runs), summary_rows(runs))}\n"


def counts_ideal_steering(result: Result) -> bool:
    """Whether any layer is pattern-pruned, so that cycles have two readings."""
    return "ideal" in _families(result)


def steered_cycles(run: Run) -> int:
    """Cycles of a pattern-pruned run with ideal steering, with the mapping of its pruned layers."""
    # Here, not above: they bring NumPy, which the import of this package does without.
    from rankfold.cost.keys import CostKey
    from rankfold.report.kinds import picture_of

    mappings = set()
    for layer in run.plan.layers:
        if picture_of(layer.kind).counts_steering:
            mappings.add(layer.mapping)
    # Steering is counted with im2col and SDK alone; SDK stands for what differs from layer to layer, too.
    mapping = "sdk"
    if mappings <= {"im2col"}:
        mapping = "im2col"
    return run.result.cycles[str(CostKey("ideal", mapping))]


def skipping_cycles(result: Result) -> int:
    """Cycles of a pattern-pruned run with SDK, rows skipped only where nothing in a tile needs them."""
    from rankfold.cost.keys import CostKey

    return result.cycles[str(CostKey("pruned", "sdk"))]


def _cells(run: Run) -> dict[str, str]:
    """What the table says of a run, by column."""
    # Here, not above: it brings NumPy, which `import rankfold.report` does without.
    from rankfold.cost.energy import NOT_SIMULATED

    result = run.result
    cells = {
        "network": run.label,
        "accuracy": f"{result.accuracy.final:.2%}",
        "as planned": f"{result.planned_cycles:,}",
        IDEAL_STEERING: MISSING,
        "vs dense best": f"{speed_up(result):.2f}x",
        "vs im2col": f"{speed_up_over_im2col(result):.2f}x",
        "ADC conversions": _number(result.planned_conversions),
        "energy, nJ": MISSING,
        ON_ARRAYS: MISSING,
        "utilisation": f"{result.utilisation:.1%}",
        "parameters": f"{result.parameters_after:,}",
    }
    cells.update(_mapped_cells(result))
    if counts_ideal_steering(result):
        cells[IDEAL_STEERING] = f"{steered_cycles(run):,}"
    if result.energy is not None:
        cells["energy, nJ"] = f"{nanojoules(result.energy.energy):,.0f}"
        kept = result.energy.accuracy_on_arrays
        cells[ON_ARRAYS] = NOT_SIMULATED
        if kept is not None:
            cells[ON_ARRAYS] = f"{kept.accuracy:.1%}{kept.note}"
    return cells


def _mapped_cells(result: Result) -> dict[str, str]:
    """Cycles of the network as it is under im2col, SDK and VW-SDK."""
    from rankfold.cost.keys import CostKey

    # Dense costs are in every result, so that some family is found.
    families = _families(result)
    others = [family for family in families if family != "dense"]
    family = next((name for name in (*SHOWN_FAMILIES, *others) if name in families), "dense")
    cells = {}
    for mapping, name in DENSE_MAPPINGS:
        key = CostKey(family, mapping)
        cells[name] = _number(result.cycles.get(str(key)))
    return cells


def _families(result: Result) -> tuple[str, ...]:
    """The families of layers whose cycles a result has, in its order."""
    from rankfold.cost.keys import CostKey

    return tuple(dict.fromkeys(CostKey.parse(key).family for key in result.cycles))


def _number(value: int | None) -> str:
    if value is None:
        return MISSING
    return f"{value:,}"
