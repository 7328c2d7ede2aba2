"""Low-rank pairs of a window's matrix: rows, L and R are made for the inputs of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Cut, Layer
from rankfold.nn.low_rank import weight_shape
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_low_rank import WindowLowRankConv2d
from rankfold.plan.kinds import WindowLowRankLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import support_to_mask, text_to_support
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery, masked_positions
from rankfold.surgery.kinds.window import PART as WINDOW
from rankfold.surgery.kinds.window import plain_shape
from rankfold.surgery.window_weight import counts_by_importance, window_factors
from rankfold.workload import ConvShape

Array = np.ndarray


class WindowLowRankSurgery(ReplacingSurgery):
    """`WindowLowRankConv2d` in the place of a convolution; what windows read is as of window layers."""

    brings_bias = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or more rows or rank than its window has."""
        WINDOW.check(_window_layer(layer), module)
        assert isinstance(module, nn.Conv2d)  # others are refused there
        cast(WindowLowRankLayer, layer.kind).check_rank(plain_shape(layer, module))

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with weights of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(WindowLowRankLayer, layer.kind)
        return WindowLowRankConv2d(module, kind.window, kind.rank)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: Array | None,
    ) -> Replacement:
        """The layer with the best factors of its shifted copies, on the rows worth most."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(WindowLowRankLayer, layer.kind)
        started = WindowConv2d.from_conv(module, kind.window)
        copies = started.weight.detach().cpu().double().numpy()  # (m*a*b, C_in/G, ph, pw)
        support = None
        if kind.support is not None:
            support = text_to_support(kind.support, weight_shape(started.matrix, layer.name))
        factors, kept = window_factors(copies, module.groups, kind, moments, support)
        made = WindowLowRankConv2d(module, kind.window, kind.rank)
        size = copies.shape[2], copies.shape[3]
        mask = support_to_mask(kept, len(factors.reduce), module.groups, size)
        with torch.no_grad():
            made.reduce.weight.copy_(torch.from_numpy(factors.reduce))
            made.reduce.mask.copy_(torch.from_numpy(mask))
            made.reduce.weight.mul_(made.reduce.mask)  # exact zeros, which rounding may have missed
            made.expand.weight.copy_(torch.from_numpy(factors.expand))
            made.set_bias_(module.bias)
        return Replacement(made, factors.error, None, factors.output_error)

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """Boxes of windows."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        window = WindowConv2d(module, cast(WindowLowRankLayer, layer.kind).window)
        # Which outputs count more matters to the factors, also where the inputs are chosen.
        weighed = counts_by_importance(len(window.matrix.weight) // module.groups)
        by_window = window.by_window if weighed else None
        return Cut(window.matrix, window.extended, window.present, by_window)

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back the shift of the mean in the biases of each pixel, and what that leaves in the norm."""
        WINDOW.correct_(module, norm, before, moments)

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """The product of both stages."""
        return WINDOW.matrices(module)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The inputs of a window that the mask keeps."""
        return masked_positions(modules.get(f"{layer.name}.reduce"))

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """Both stages; the values between them can always be negative."""
        return Part(f"{layer.name}.reduce"), Part(f"{layer.name}.expand", signed=True)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The layer whose windows the first stage reads and whose outputs the second one gives."""
        reduce, expand = parts
        whole = replace(reduce, out_channels=expand.m)
        return WINDOW.dense_shape(_window_layer(layer), module, [whole])


def _window_layer(layer: LayerPlan) -> LayerPlan:
    """The entry of the window layer whose matrix is decomposed."""
    return replace(layer, kind=cast(WindowLowRankLayer, layer.kind).window_layer)


PART = WindowLowRankSurgery()
