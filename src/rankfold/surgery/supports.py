"""Layers whose outputs share a support: positions and weights for what is known of the layer's inputs, and both read back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors, decompose_for_data, nested_supports, refit, row_sparse
from rankfold.plan import LOW_RANK, LayerPlan, Plan, mask_to_support, support_to_text

Array = np.ndarray


@dataclass(frozen=True)
class SupportedWeight:
    """A weight that keeps the same positions in all outputs.

    Attributes:
        weight: (m, C_in/G, kh, kw), zero outside the support.
        support: (C_in, kh*kw) booleans.
        error: ||W - W'||_F / ||W||_F.
        output_error: ||(W - W') X||_F / ||W X||_F on calibration data X; None where nothing is known of them.
    """

    weight: Array
    support: Array
    error: float
    output_error: float | None


def supported_weight(
    weight: Array, conv_groups: int, entries: int, moments: PatchMoments | None = None, support: Array | None = None
) -> SupportedWeight:
    """The weight nearest to a layer's output on data that keeps e positions of each input channel, by least squares.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        entries: e.
        moments: of the layer's inputs; None: all inputs count alike, so that the nearest weight is found.
        support: (C_in, kh*kw) booleans; None: chosen here.

    Raises:
        InputError: the weight or the moments are not finite, or do not fit each other.
    """
    second, cross = (None, None) if moments is None else (moments.second, moments.cross)
    # Where earlier layers have changed, the weight that is best on the inputs as they now are takes the place of the dense one.
    target = weight
    if cross is not None:
        target = refit(weight, conv_groups, second, np.ones((conv_groups * weight.shape[1], weight[0, 0].size), bool), cross)
    if support is None:
        support = nested_supports(target, conv_groups, second)[entries]
    found = refit(target, conv_groups, second, support)
    output_error = None
    if second is not None:
        output_error = _ratio(_power(target - found, conv_groups, second), _power(target, conv_groups, second))
    return SupportedWeight(found, support, _ratio(_power(weight - found, conv_groups), _power(weight, conv_groups)), output_error)


def row_sparse_factors(
    weight: Array, conv_groups: int, groups: int, rank: int, entries: int, moments: PatchMoments | None = None,
    support: Array | None = None,
) -> tuple[LowRankFactors, Array]:  # fmt: skip
    """Factors of which R_ keeps e positions of each input channel, and these positions, (C_in, kh*kw) booleans.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g.
        rank: r.
        entries: e.
        moments: of the layer's inputs; None: all inputs count alike.
        support: the positions; None: chosen together with the factors.

    Raises:
        InputError: the weight or the moments are not finite, or groups or rank do not fit.
    """
    n = weight[0].size
    second, cross = (np.tile(np.eye(n), (conv_groups, 1, 1)), None) if moments is None else (moments.second, moments.cross)
    if support is None:
        factors, support = row_sparse(weight, conv_groups, groups, rank, second, entries, cross)
    else:
        factors = decompose_for_data(weight, conv_groups, groups, rank, second, cross, support=support)
    return (factors if moments is not None else replace(factors, output_error=None)), support


def with_supports(plan: Plan, model: nn.Module) -> Plan:
    """The plan with the positions that the layers of a compressed network keep.

    Args:
        plan: the plan that it follows.
        model: the network after `compress_`, before or after `quantise_by_plan_`.

    Raises:
        InputError: a layer of the network is not what the plan says.
    """
    return plan.with_supports({layer.name: _text(layer, model) for layer in plan.layers if layer.supported})


def check_supports(plan: Plan, model: nn.Module) -> None:
    """Refuse weights that keep other positions than the plan says: the arrays of the plan would not hold them.

    Raises:
        InputError: they do; the message names the layer.
    """
    for layer in plan.layers:
        if layer.support is not None and layer.support != _text(layer, model):
            raise InputError(
                f"layer {layer.name}: its weights keep other kernel positions than the support in the plan says; "
                "take both from one run"
            )


def _text(layer: LayerPlan, model: nn.Module) -> str:
    name = f"{layer.name}.reduce" if layer.kind == LOW_RANK else layer.name
    module = dict(model.named_modules()).get(name)
    mask = getattr(module, "mask", None)
    if not isinstance(module, nn.Conv2d) or not isinstance(mask, Tensor):
        raise InputError(f"layer {layer.name} keeps all kernel positions in the network, not those of a support as the plan says")
    return support_to_text(mask_to_support(mask.cpu().numpy(), module.groups))


def _power(weight: Array, conv_groups: int, second: Array | None = None) -> float:
    """tr(A S A^T), or ||A||_F^2."""
    blocks = weight.astype(np.float64).reshape(conv_groups, len(weight) // conv_groups, -1)
    return max(float(np.sum((blocks if second is None else blocks @ second) * blocks)), 0.0)


def _ratio(part: float, whole: float) -> float:
    return math.sqrt(part / whole) if whole > 0 else 0.0
