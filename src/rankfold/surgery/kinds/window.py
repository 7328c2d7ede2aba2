"""Window layers: their rows are chosen, and their weights refitted, on the matrix of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.correction import correct_
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Cut, Layer
from rankfold.errors import InputError
from rankfold.mapping.window_matrix import window_weight
from rankfold.nn.low_rank import weight_shape
from rankfold.nn.window import WindowConv2d, Windowed
from rankfold.plan.kinds import WindowLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import support_to_mask, text_to_support
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery, masked_positions
from rankfold.surgery.window_weight import FittedWindow, window_matrix
from rankfold.workload import ConvShape


class WindowSurgery(ReplacingSurgery):
    """`WindowConv2d` in the place of a convolution."""

    brings_bias = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or more rows than its window has."""
        super().check(layer, module)
        kind = cast(WindowLayer, layer.kind)
        if not isinstance(module, nn.Conv2d):
            raise InputError(
                f"layer {layer.name}: a window needs an output plane; it is a fully connected layer"
            )
        # Whether the window fits the plane is seen when the plan is checked: the module does not know it.
        kind.check_rows(plain_shape(layer, module))

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with weights of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        return WindowConv2d(module, cast(WindowLayer, layer.kind).window)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The layer with its shifted copies where it keeps all rows, else with the rows worth most and their
        best weights.
        """
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(WindowLayer, layer.kind)
        made = WindowConv2d.from_conv(module, kind.window)
        if kind.rows is None:
            return Replacement(made, 0.0)
        found = fit_(made, kind, layer.name, moments)
        output_error = None
        if found.lost_outputs is not None:
            output_error = found.lost_outputs.share
        return Replacement(made, found.lost.share, None, output_error)

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """Boxes of windows."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(WindowLayer, layer.kind)
        # Which outputs count more matters to the choice of inputs alone.
        chooses = kind.rows is not None and kind.support is None
        return reader(WindowConv2d(module, kind.window), weighed=chooses)

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back the shift of the mean in the biases of each pixel, and what that leaves in the norm."""
        assert isinstance(module, Windowed)
        started = started_from(before, module)
        correct_(module.bias, norm, started, module.weight, moments, channels=module.channels)

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """That of its window."""
        assert isinstance(module, Windowed)
        return (module.weight,)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The inputs of a window that the mask keeps."""
        return masked_positions(modules.get(f"{layer.name}.matrix"))

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """The convolution of the window's box."""
        return (Part(f"{layer.name}.matrix"),)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The layer whose windows the convolution runs, with a kernel that has its extent."""
        (matrix,) = parts
        a, b = cast(WindowLayer, layer.kind).window
        stride = matrix.stride[0] // a, matrix.stride[1] // b
        # Dilation makes no difference to a box in which every input may have a weight.
        extent = matrix.kernel[0] - (a - 1) * stride[0], matrix.kernel[1] - (b - 1) * stride[1]
        # An empty weight becomes the layer's name, see `ConvShape`.
        return replace(
            matrix,
            name=layer.name,
            weight="",
            out_channels=matrix.m // (a * b),
            kernel=extent,
            stride=stride,
        )


def fit_(made: WindowConv2d, kind: WindowLayer, name: str, moments: PatchMoments | None) -> FittedWindow:
    """Give a matrix of shifted copies the rows worth most and their best weights, in place.

    Args:
        made: with the copies, which stay where the kind keeps all rows.
        kind: how many rows, and perhaps which.
        name: of the layer.
        moments: of the inputs of its windows; None: the weights are the nearest to the copies.
    """
    copies = made.weight.detach().cpu().double().numpy()  # (m*a*b, C_in/G, ph, pw)
    support = None
    if kind.support is not None:
        support = text_to_support(kind.support, weight_shape(made.matrix, name))
    found = window_matrix(copies, made.groups, kind.rows, moments, support)
    kept = support_to_mask(found.support, len(copies), made.groups, (copies.shape[2], copies.shape[3]))
    with torch.no_grad():
        made.matrix.weight.copy_(torch.from_numpy(found.weight))
        made.matrix.mask.copy_(torch.from_numpy(kept))
        made.matrix.weight.mul_(made.matrix.mask)  # exact zeros, which rounding may have missed
    return found


def reader(window: WindowConv2d, *, weighed: bool) -> Cut:
    """What says which boxes of its inputs a layer by windows reads.

    Args:
        window: its weights do not matter.
        weighed: whether it counts what errors of a window's outputs cost.
    """
    by_window = window.by_window if weighed else None
    return Cut(window.matrix, window.extended, window.present, by_window)


def started_from(before: Tensor, module: Windowed) -> Tensor:
    """The matrix of a window that gives the outputs of a dense weight exactly."""
    dense = before.detach().cpu().double().numpy()
    copies = window_weight(dense, module.groups, module.stride, module.dilation, module.window)
    return torch.from_numpy(copies)


def plain_shape(layer: LayerPlan, module: nn.Conv2d) -> ConvShape:
    """The shape of a layer on the smallest input that has a whole window."""
    bare = weight_shape(module, layer.name)
    down, across = module.stride
    dilation = module.dilation[0], module.dilation[1]
    extent = [(taps - 1) * step + 1 for taps, step in zip(bare.kernel, dilation, strict=True)]
    return replace(bare, input=(extent[0], extent[1]), stride=(down, across), dilation=dilation)


PART = WindowSurgery()
