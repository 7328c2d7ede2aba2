"""The chart of one layer on its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankfold.report.charts.drawing import Chart
from rankfold.report.runs import Run

if TYPE_CHECKING:
    from rankfold.plan import LayerPlan
    from rankfold.runs.layer_result import LayerResult


def arrays_chart(runs: Sequence[Run]) -> Chart | None:
    """The costliest layer on its arrays, as planned: of those that their kinds find most interesting, such as
    low-rank pairs of many groups.

    None for results without shapes, and for runs pruned by patterns, whose masks are with the weights.
    """
    # Here, not above: they bring NumPy, which tables do without.
    from rankfold.cost import planned_shape
    from rankfold.report.arrays.picture import layer_chart, planned_panels

    drawable = [(run, layer, entry) for run in runs for layer, entry in _drawable_layers(run)]
    if not drawable:
        return None
    run, layer, entry = max(drawable, key=lambda item: _interest(*item[1:]))
    assert layer.shape is not None  # those without a shape are not drawable
    shape = planned_shape(layer.shape, entry)
    panels = planned_panels(shape, run.plan.array, entry)
    return layer_chart(shape, run.plan.array, panels, run.result.model)


def _drawable_layers(run: Run) -> list[tuple[LayerResult, LayerPlan]]:
    """The layers that can be drawn from the result and the plan alone, if those of this run can."""
    from rankfold.report.kinds import picture_of

    entries = {}
    for entry in run.plan.layers:
        # Of the others alone, what is drawn might not be the costliest.
        if picture_of(entry.kind).needs_saved_mask(entry.kind):
            return []
        entries[entry.name] = entry
    drawable = []
    for layer in run.result.layers:
        if layer.shape is not None and layer.name in entries:
            drawable.append((layer, entries[layer.name]))
    return drawable


def _interest(layer: LayerResult, entry: LayerPlan) -> tuple[int, int]:
    """Layers with most to be seen first, then costly ones."""
    from rankfold.report.kinds import picture_of

    return picture_of(entry.kind).interest(entry.kind), layer.planned_cycles or 0
