"""The hardware that figures are of, in words."""

from __future__ import annotations

from rankfold.plan import Plan


def hardware_in_words(plan: Plan) -> str:
    """What a plan runs on, and how wide its weights and inputs are."""
    machine = plan.machine
    words = [f"hardware: {machine.name}"]
    widths: dict[tuple[int | None, int | None], None] = {}
    for layer in plan.layers:
        if layer.quantised:
            widths[layer.weight_bits, layer.input_bits] = None
    if widths:
        each = " and ".join(f"{weights}/{inputs}" for weights, inputs in sorted(widths))
        words.append(f"bits of weights/inputs: {each}")
    return "; ".join(words)
