"""Plans as notebooks show them."""

from __future__ import annotations

from rankfold.plan import LayerPlan, Plan
from rankfold.report.rich.sheet import Sheet, sheet_of


@sheet_of.register
def _of_plan(plan: Plan) -> Sheet:
    facts = [("layers changed", f"{len(plan.changed)} of {len(plan.layers)}")]
    if plan.hardware is not None:
        facts.append(("hardware", plan.hardware.name))
    if plan.prediction is not None and plan.predicted_loss is not None:
        facts.append(("predicted loss", f"{plan.predicted_loss:.4g} {plan.prediction.unit}"))
    rows = []
    for layer in plan.layers:
        rows.append((layer.name, layer.kind.short(), layer.mapping, _bits(layer), layer.reason))
    return Sheet(
        title=f"Plan of {plan.model} for {plan.array} arrays",
        facts=tuple(facts),
        headers=("layer", "becomes", "mapping", "bits (weights/inputs)", "because"),
        rows=tuple(rows),
        words=("becomes", "mapping", "because"),
    )


def _bits(layer: LayerPlan) -> str:
    if layer.weight_bits is None:
        return "float"
    return f"{layer.weight_bits}/{layer.input_bits}"
