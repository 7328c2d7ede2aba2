"""What a run did with all layers of a network, in a few words and as a colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.runs.result import LayerResult, Result


@dataclass(frozen=True)
class RunMethod:
    """What was done with every layer that was changed.

    Attributes:
        hue: its colours, a key of `palette.SHADES`.
        words: its name in tables, such as `group low-rank, g = 4`.
        spares_pointwise: whether 1x1 convolutions, whose kernels have but one position, cannot be so; what
            becomes of them says nothing then.
    """

    hue: str
    words: str
    spares_pointwise: bool = False


# What is said where no layer was changed, and where they were changed in different ways.
NOTHING = RunMethod("dense", "dense")
MIXED = RunMethod("mixed", "mixed plan")


def run_method(result: Result) -> RunMethod:
    """What the run did with all layers that it changed; `MIXED` where that differs from layer to layer."""
    changed: list[tuple[LayerResult, RunMethod]] = []
    for layer in result.layers:
        method = _layer_method(layer)
        if method is not None:
            changed.append((layer, method))
    # They became what such layers can, by the same setting.
    if any(method.spares_pointwise for _, method in changed):
        changed = [(layer, method) for layer, method in changed if not _is_pointwise(layer)]
    methods = {method for _, method in changed}
    if not methods:
        return NOTHING
    if len(methods) > 1:
        return MIXED
    return methods.pop()


def method_name(result: Result) -> str:
    """What the run did, in a few words: `dense`, `group low-rank, g = 4`, `mixed plan`, ..."""
    return run_method(result).words


def _layer_method(layer: LayerResult) -> RunMethod | None:
    """What was done with one layer; None where it stayed as it was."""
    # Here, not above: it brings NumPy, which the import of this package does without.
    from rankfold.report.kinds import picture_of

    kind = layer.layer_kind
    if kind is None:
        return MIXED  # an older result, which does not say it
    return picture_of(kind).method(kind)


def _is_pointwise(layer: LayerResult) -> bool:
    return layer.shape is not None and layer.shape.kernel == (1, 1)
