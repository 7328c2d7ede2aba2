"""Why a layer becomes what it becomes, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rankfold.plan import LayerPlan
from rankfold.plan.prediction import NATS
from rankfold.planning.exact import USUAL, Candidate, LayerChoices, in_units
from rankfold.planning.exact.candidate import Need, bits_in_letters, has_other_bits


def explained(layer: LayerChoices, chosen: Candidate, limited: Sequence[str], unit: str = NATS) -> LayerPlan:
    """The entry of a choice, with the reason in words.

    Args:
        layer: what the layer may become.
        chosen: what it becomes.
        limited: the quantities that saving counts for, one or more.
        unit: of losses.
    """
    reason = _reason(layer, chosen, limited, unit)
    if layer.why_bits:
        reason += f"; keeps its bits: {layer.why_bits}"
    return replace(chosen.entry, reason=reason)


def why_it_stays(layer: LayerChoices, chosen: Candidate) -> str:
    """Why a layer can only stay as it is, where it does; else empty."""
    return "" if chosen.entry.kind.changes_weight else layer.why_dense


def _reason(layer: LayerChoices, chosen: Candidate, limited: Sequence[str], unit: str) -> str:
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
        savings = _savings(layer.dense, chosen, limited) or ["costs as much as dense"]
        saved = ", ".join(savings)
        lost = f"predicted loss +{chosen.loss:.2g} {unit}"
        # What rounding loses at the layer's own bits counts in losses as well.
        if layer.dense.loss > 0:
            lost += f", as it is +{layer.dense.loss:.2g}"
        if chosen.needs is not None:
            lost = _without(chosen.needs, lost)
        return f"{what}: {saved}; {lost}"
    if layer.why_dense:
        return layer.why_dense
    # It stays though it need not. That it is dense stands beside the reason wherever one is shown.
    cheaper = [
        name for name in limited if any(one.cost(name) < chosen.cost(name) for one in layer.candidates)
    ]
    if not cheaper:
        names = " or ".join(name.replace("_", " ") for name in limited)
        return f"nothing that it may become needs less of {names}"
    return "what it could save costs more loss here than elsewhere"


def _without(need: Need, lost: str) -> str:
    """What is lost where another layer reads no more than it may."""
    if need.most == 0:
        return f"all that reads it is {need.layer}, which is idle"
    return f"{lost} in what {need.layer} reads, which is all that reads it"


def _savings(dense: Candidate, chosen: Candidate, limited: Sequence[str]) -> list[str]:
    """What the layer costs less than before, or more, of what is usually told and of what counts."""
    savings = []
    for quantity in dict.fromkeys((*USUAL, *limited)):
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
