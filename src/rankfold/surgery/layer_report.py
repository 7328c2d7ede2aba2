"""`LayerReport`: what surgery did to one layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rankfold.calibration.moments import PatchMoments
from rankfold.nn.masked import dropped_weights
from rankfold.plan.kinds import LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.surgery.kinds import Replacement


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What surgery did to one layer.

    Attributes:
        name: the layer.
        kind: what it became.
        reason: why, as in the plan.
        error: relative Frobenius error of the weight, None for a layer that keeps its weight, or loses
            channels.
        plain_error: the bound of Theorem 1, the error at equal rank without groups; None where R_ keeps only
            some positions.
        output_error: relative error of the layer's output on calibration data, None where the factors do not
            know them.
        parameters_before: weights and biases before.
        parameters_after: weights and biases after; of a pruned layer those that are kept.
        coverage: of the data that the weight was made for, see `PatchMoments.coverage`; None: for none.
    """

    name: str
    kind: LayerKind
    reason: str
    error: float | None = None
    plain_error: float | None = None
    output_error: float | None = None
    parameters_before: int
    parameters_after: int
    coverage: float | None = None


def report(
    layer: LayerPlan, made: Replacement, before: int, moments: PatchMoments | None = None
) -> LayerReport:
    """That of a layer that was made.

    Args:
        layer: as the plan says it.
        made: what stands in for it.
        before: weights and biases that it had.
        moments: of the data that it was made for; None: for none.
    """
    coverage = None if moments is None else moments.coverage
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        reason=layer.reason,
        error=made.error,
        plain_error=made.plain_error,
        output_error=made.output_error,
        parameters_before=before,
        parameters_after=kept_parameters(made.module),
        coverage=coverage,
    )


def left_alone(layer: LayerPlan, size: int) -> LayerReport:
    """The report of a layer that is no module, but a parameter in a function call."""
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        reason=layer.reason,
        parameters_before=size,
        parameters_after=size,
    )


def kept_parameters(model: nn.Module) -> int:
    """Weights and biases of all layers; of masked ones those that are kept."""
    dropped = sum(dropped_weights(module) for module in model.modules())
    return sum(parameter.numel() for parameter in model.parameters()) - dropped
