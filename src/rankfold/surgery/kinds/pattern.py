"""Pattern-pruned layers: masked convolutions, whose patterns are chosen for all layers together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from rankfold.calibration.moments import PatchMoments
from rankfold.nn.masked import MaskedConv2d
from rankfold.plan.kinds import PatternLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.pruning import PatternWindow, Pruning, choose_masks
from rankfold.surgery.kinds.kind import Masks, Replacement, ReplacingSurgery, check_positions


class PatternSurgery(ReplacingSurgery):
    """`MaskedConv2d` in the place of a convolution."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or positions that it does not have."""
        super().check(layer, module)
        check_positions(layer, module, cast(PatternLayer, layer.kind).entries)

    def choose_(self, model: nn.Module, plan: Plan, layers: Sequence[LayerPlan]) -> Masks:
        """The patterns of all layers; PatDNN's library is that of all its layers together."""
        modules = dict(model.named_modules())
        prunings: dict[str, Pruning] = {}
        weights: dict[str, np.ndarray] = {}
        for layer in layers:
            module = modules[layer.name]
            assert isinstance(module, nn.Conv2d)  # check refuses others
            kind = cast(PatternLayer, layer.kind)
            # PAIRS alone has blocks.
            block = getattr(kind, "block", None)
            # And GAROS a window.
            window = PatternWindow(
                getattr(kind, "side", 1),
                (module.stride[0], module.stride[1]),
                (module.dilation[0], module.dilation[1]),
            )
            prunings[layer.name] = Pruning(str(kind.variant), kind.entries, block, module.groups, window)
            weights[layer.name] = module.weight.detach().cpu().double().numpy()
        return choose_masks(weights, prunings)

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """A convolution whose mask keeps everything until one is loaded."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        # The mask is a buffer, so it comes with the weights.
        return MaskedConv2d.from_conv(module, None)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The convolution with what its mask drops set to zero."""
        assert isinstance(module, nn.Conv2d) and mask is not None  # choose_ gave every layer a mask
        error = dropped_share(module.weight, mask)
        return Replacement(MaskedConv2d.from_conv(module, mask), error)


def dropped_share(weight: torch.Tensor, mask: np.ndarray) -> float:
    """||W - mask*W||_F / ||W||_F, 0 for a weight of nothing but zeros."""
    values = weight.detach().cpu().double().numpy()
    whole = float(np.linalg.norm(values))
    if not whole:
        return 0.0
    return float(np.linalg.norm(np.where(mask, 0.0, values))) / whole


PART = PatternSurgery()
