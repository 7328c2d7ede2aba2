"""What figures are of, in words: the hardware, and the layers that none of them counts."""

from __future__ import annotations

from rankfold.plan import Plan
from rankfold.records.text_table import with_short_names
from rankfold.workload import Network


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


def not_counted_in_words(network: Network) -> list[str]:
    """One line for each layer that is left alone, with long names shortened as in tables."""
    rows = with_short_names([[other.name, other.what] for other in network.untouched])
    return [f"not counted: {name}: {what}" for name, what in rows]
