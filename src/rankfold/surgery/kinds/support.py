"""Layers whose outputs share a support: the positions, and the weights on them, are chosen for the layer's
output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from rankfold.calibration.moments import PatchMoments
from rankfold.nn.low_rank import weight_shape
from rankfold.nn.masked import MaskedConv2d
from rankfold.plan.kinds import SupportLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.plan.support import support_to_mask, text_to_support
from rankfold.surgery.kinds.kind import Masks, Replacement, masked_positions
from rankfold.surgery.kinds.pattern import PatternSurgery
from rankfold.surgery.supported_weight import positions_of_channels, supported_weight


class SupportSurgery(PatternSurgery):
    """As pattern-pruned layers; each is chosen by itself, and its weight refitted."""

    def choose_(self, model: nn.Module, plan: Plan, layers: Sequence[LayerPlan]) -> Masks:
        """Nothing is chosen together."""
        return {}

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The positions that the mask keeps."""
        return masked_positions(modules.get(layer.name))

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The convolution with the weight of its support, which is chosen where the plan does not name it."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(SupportLayer, layer.kind)
        weight = module.weight.detach().cpu().double().numpy()  # (m, C_in/G, kh, kw)
        # One in the plan is kept, so that a network is made again as it was.
        support = None
        if kind.support is not None:
            support = text_to_support(kind.support, weight_shape(module, layer.name))
        made = supported_weight(
            weight,
            module.groups,
            positions_of_channels(kind.entries),
            moments,
            support,
        )
        # In place: the layer keeps its Parameter object, as those of other pruned layers do.
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(made.weight))
        kernel = weight.shape[2], weight.shape[3]
        kept = support_to_mask(made.support, len(weight), module.groups, kernel)
        return Replacement(MaskedConv2d.from_conv(module, kept), made.error, None, made.output_error)


PART = SupportSurgery()
