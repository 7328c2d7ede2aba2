"""What a run did with all layers of a network, in a few words and as a colour.

A method has the same colour in every chart and table of a page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankfold.errors import InputError
from rankfold.report.palette import GREEN, GREY, Shades

if TYPE_CHECKING:
    from rankfold.plan.kinds import LayerKind
    from rankfold.report.runs import Run
    from rankfold.runs.layer_result import LayerResult
    from rankfold.runs.result import Result

COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class RunMethod:
    """What was done with every layer that was changed.

    Attributes:
        shades: its colours, each `#rrggbb` in small letters, the first one for the first run of a page.
        words: its name in tables, such as `group low-rank, g = 4`.
        spares_pointwise: whether 1x1 convolutions, whose kernels have but one position, cannot be so; what
            becomes of them says nothing then.
    """

    shades: Shades
    words: str
    spares_pointwise: bool = False

    def __post_init__(self) -> None:
        # Kinds from outside bring their own; they are written into pages as they are.
        if not self.shades or not all(COLOUR.fullmatch(shade) for shade in self.shades):
            raise InputError(
                f"shades (={self.shades}) of {self.words} must be one colour or more, such as #0072b2"
            )


# What is said where no layer was changed, and where they were changed in different ways.
NOTHING = RunMethod(GREY, "dense")
MIXED = RunMethod(GREEN, "mixed plan")


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


def colours(results: Sequence[Result]) -> tuple[str, ...]:
    """A colour for each result, by its method; several results of one hue get different shades of it."""
    used: Counter[Shades] = Counter()
    chosen = []
    for result in results:
        shades = run_method(result).shades
        # With more results than shades, the first shade comes again.
        chosen.append(shades[used[shades] % len(shades)])
        used[shades] += 1
    return tuple(chosen)


def coloured(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Each run with its colour."""
    shades = colours([run.result for run in runs])
    return list(zip(runs, shades, strict=True))


def _layer_method(layer: LayerResult) -> RunMethod | None:
    """What was done with one layer; None where it stayed as it was."""
    # Here, not above: it brings NumPy, which the import of this package does without.
    from rankfold.report.kinds import picture_of

    kind = layer.layer_kind
    if kind is None:
        return MIXED  # an older result, which does not say it
    return picture_of(kind).method(kind)


def setting(kind: LayerKind | None) -> str:
    """What a layer became, in a few letters such as `g4 r8`; a dash for one that stayed as it was, or of
    which nobody knows.
    """
    if kind is None or not kind.changes_weight:
        return "–"
    return kind.short()


def done(layer: LayerResult) -> str:
    """What was done with a layer, and why.

    Reasons of version 0.1 begin with what was done, too.
    """
    reason = layer.reason.removeprefix(f"{layer.kind}: ")
    if not reason:
        return layer.kind
    return f"{layer.kind}: {reason}"


def bound_says_more(layer: LayerResult) -> bool:
    """Whether the bound of Theorem 1 on the error of a layer is not that error by definition."""
    from rankfold.report.kinds import picture_of

    kind = layer.layer_kind
    if kind is None:
        return True  # an older result, which does not say it
    return not picture_of(kind).bound_is_error(kind)


def _is_pointwise(layer: LayerResult) -> bool:
    return layer.shape is not None and layer.shape.kernel == (1, 1)
