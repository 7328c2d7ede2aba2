"""Why a layer becomes what it becomes, in words."""

from __future__ import annotations

from dataclasses import replace

from rankfold.plan import LayerPlan
from rankfold.planning.exact import USUAL, Candidate, LayerChoices, in_units
from rankfold.planning.exact.candidate import bits_in_letters, has_other_bits


def explained(layer: LayerChoices, chosen: Candidate) -> LayerPlan:
    """The entry of a choice, with the reason in words.

    Args:
        layer: what the layer may become.
        chosen: what it becomes.
    """
    return replace(chosen.entry, reason=_reason(layer, chosen))


def _reason(layer: LayerChoices, chosen: Candidate) -> str:
    kind = chosen.entry.kind
    changes = []
    if kind.changes_weight:
        changes.append(kind.short())  # such as `g4 r8`
    if has_other_bits(chosen, layer.dense):
        changes.append(
            f"bits of weights/inputs {bits_in_letters(chosen)}, not {bits_in_letters(layer.dense)}"
        )
    if changes:
        if layer.why_dense:
            changes.insert(0, layer.why_dense)
        what = ", ".join(changes)
        savings = _savings(layer.dense, chosen) or ["costs as much as dense"]
        saved = ", ".join(savings)
        return f"{what}: {saved}; predicted loss +{chosen.loss:.2g} nats"
    if layer.why_dense:
        return layer.why_dense
    # It stays though it need not. That it is dense stands beside the reason wherever one is shown.
    if all(candidate.cycles >= chosen.cycles for candidate in layer.candidates):
        return "nothing that it may become has fewer cycles"
    return "what it could save costs more loss here than elsewhere"


def _savings(dense: Candidate, chosen: Candidate) -> list[str]:
    """What the layer costs less than before, or more, of each quantity that was counted."""
    savings = []
    for quantity in USUAL:
        before = getattr(dense, quantity)
        after = getattr(chosen, quantity)
        if before is None or after is None or before == after:
            continue
        amount = in_units(quantity, abs(before - after))
        if after < before:
            savings.append(f"{amount} fewer")
        else:
            # A low-rank pair may need more arrays than the dense layer, each for fewer cycles.
            savings.append(f"{amount} more")
    return savings
