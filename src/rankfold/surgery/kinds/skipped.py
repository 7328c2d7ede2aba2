"""Skipped layers: constants, which are the means of the layer's outputs on data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.correction import correct_
from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.nn.skipped import SkippedConv2d
from rankfold.plan.layer import LayerPlan
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery


class SkippedSurgery(ReplacingSurgery):
    """`SkippedConv2d` in the place of a convolution."""

    brings_bias = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, and fully connected ones."""
        super().check(layer, module)
        if not isinstance(module, nn.Conv2d):
            raise InputError(f"layer {layer.name}: it cannot be skipped, as it is a fully connected layer")

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with constants of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        return SkippedConv2d(module)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The layer's bias, which `correct_` makes the mean of its outputs where that is known."""
        # All of the weight goes, and all that its outputs tell.
        output_error = None if moments is None else 1.0
        return Replacement(self.build(layer, module), 1.0, None, output_error)

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Give the means of the outputs; a norm behind keeps its own, and makes the constants others."""
        assert isinstance(module, SkippedConv2d)
        correct_(module.bias, norm, before, torch.zeros_like(before), moments)

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """None."""
        return ()

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """None: there is nothing to quantise."""
        return ()


PART = SkippedSurgery()
