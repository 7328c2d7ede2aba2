"""Low-rank pairs, decomposed by SVD or for what the layer's inputs are on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors
from rankfold.nn.low_rank import LowRankConv2d, weight_shape
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.nn.masked import MaskedConv2d
from rankfold.plan.kinds import LowRankLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import support_to_mask, text_to_support
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery, check_positions, masked_positions
from rankfold.surgery.kinds.low_rank_factors import low_rank_factors
from rankfold.workload import ConvShape


def decompose_conv(
    conv: nn.Conv2d,
    kind: LowRankLayer,
    moments: PatchMoments | None = None,
    support: np.ndarray | None = None,
) -> tuple[LowRankConv2d, LowRankFactors]:
    """A convolution as a low-rank pair.

    Args:
        conv: the convolution, which is left as it is.
        kind: (g, r), and e where R_ keeps only some kernel positions.
        moments: of its inputs, for which the factors are made; None: they are nearest to the weight, by
            grouped SVD.
        support: (C_in, kh*kw) booleans, the positions that R_ keeps; None: chosen together with the factors.

    Returns:
        The module and the factors.

    Raises:
        InputError: (g, r) does not fit the layer.
    """
    module = LowRankConv2d(conv, kind.groups, kind.rank, kind.entries is not None)
    # In float64, as small singular values drown in float32.
    weight = conv.weight.detach().cpu().double().numpy()  # (m, C_in/G, kh, kw)
    factors, kept = low_rank_factors(weight, conv.groups, kind, moments, support)
    if kept is not None:
        assert isinstance(module.reduce, MaskedConv2d)  # made so where the kind has entries
        # R_ has G*g groups and G*g*r outputs; all outputs of a group share its positions.
        mask = support_to_mask(kept, len(factors.reduce), module.reduce.groups, factors.reduce.shape[2:])
        module.reduce.mask.copy_(torch.from_numpy(mask))
    with torch.no_grad():
        module.reduce.weight.copy_(torch.from_numpy(factors.reduce))
        if isinstance(module.reduce, MaskedConv2d):
            module.reduce.weight.mul_(module.reduce.mask)  # exact zeros, which rounding may have missed
        module.expand.weight.copy_(torch.from_numpy(factors.expand))
    return module, factors


def decompose_linear(
    linear: nn.Linear,
    kind: LowRankLayer,
    moments: PatchMoments | None = None,
) -> tuple[LowRankLinear, LowRankFactors]:
    """A linear layer as a low-rank pair, by grouped SVD or for the data that `moments` describe.

    Raises:
        InputError: (g, r) does not fit the layer.
    """
    module = LowRankLinear(linear, kind.groups, kind.rank)
    weight = linear.weight.detach().cpu().double().numpy()[:, :, None, None]  # (m, n, 1, 1)
    factors, _ = low_rank_factors(weight, 1, kind, moments)
    with torch.no_grad():
        module.reduce.weight.copy_(torch.from_numpy(factors.reduce))
        module.expand.weight.copy_(torch.from_numpy(factors.expand))
    return module, factors


class LowRankSurgery(ReplacingSurgery):
    """`reduce` and `expand` in the place of a layer."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or positions that it does not have."""
        super().check(layer, module)
        kind = cast(LowRankLayer, layer.kind)
        if kind.entries is not None:
            check_positions(layer, module, kind.entries)

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The pair with weights of no meaning."""
        kind = cast(LowRankLayer, layer.kind)
        if isinstance(module, nn.Conv2d):
            return LowRankConv2d(module, kind.groups, kind.rank, kind.entries is not None)
        assert isinstance(module, nn.Linear)  # check refuses others
        return LowRankLinear(module, kind.groups, kind.rank)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The pair whose factors are made from the layer's weight."""
        kind = cast(LowRankLayer, layer.kind)
        made: nn.Module
        if isinstance(module, nn.Conv2d):
            support = None
            if kind.support is not None:
                support = text_to_support(kind.support, weight_shape(module, layer.name))
            made, factors = decompose_conv(module, kind, moments, support)
        else:
            assert isinstance(module, nn.Linear)  # check refuses others
            made, factors = decompose_linear(module, kind, moments)
        bound: float | None = factors.plain_error
        # Theorem 1 needs all positions.
        if kind.entries is not None:
            bound = None
        return Replacement(made, factors.error, bound, factors.output_error)

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """Both stages; the value between them can always be negative."""
        # `reduce` gets the layer's input, with its sign; sums of weighted inputs have either.
        return Part(f"{layer.name}.reduce"), Part(f"{layer.name}.expand", signed=True)

    def dense_weight(self, module: nn.Module) -> tuple[Tensor | None, Tensor]:
        """The bias of the second stage, and L R_."""
        assert isinstance(module, (LowRankConv2d, LowRankLinear))
        return module.expand.bias, module.weight

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The positions that R_ keeps."""
        return masked_positions(modules.get(f"{layer.name}.reduce"))

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The window of the first stage, the outputs and groups of the second."""
        reduce, expand = parts
        # An empty weight becomes the layer's name, see `ConvShape`.
        return replace(reduce, name=layer.name, weight="", out_channels=expand.m, groups=expand.groups)


PART = LowRankSurgery()
