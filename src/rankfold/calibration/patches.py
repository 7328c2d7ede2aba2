"""The patches that a convolution or linear layer multiplies with its weight, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.workload.padding import padding_sides
from rankfold.workload.shape import ConvShape, Pair

LayerModule = nn.Conv2d | nn.Linear


# Patches that have the same outputs of a layer which gives several pixels for each: (K,) booleans, which of
# the K pixels of a patch are on the layer's plane, and (P',) indices of the patches among the P of an image.
Present = tuple[np.ndarray, Tensor]
# From values (B, m, OH, OW) for a layer's output plane to those of each patch's outputs, (B, G, m'/G, P).
ByPatch = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cut:
    """Patches of what a layer reads, cut for another layer that is to stand in its place.

    Attributes:
        layer: the convolution whose patches they are.
        prepare: from the inputs of the layer that is there to those of `layer`.
        present: from the inputs of the layer that is there to all patches, by the pixels that they have
            there; None: every patch has all of its outputs.
        by_patch: where it counts what errors of a patch's outputs cost, see `calibration.importance`: what
            tells gradients over the layer's output by patches.
        others: where several matrices compute the layer: the patches of those behind the first one.
    """

    layer: nn.Conv2d
    prepare: Callable[[Tensor], Tensor]
    present: Callable[[Tensor], Sequence[Present]] | None = None
    by_patch: ByPatch | None = None
    others: tuple[Cut, ...] = ()


Layer = LayerModule | ConvShape | Cut  # all that is needed of a layer is in its shape, too


def of_matrices(layer: Layer) -> tuple[Layer, ...]:
    """What says which patches each of the matrices reads that compute a layer: mostly one."""
    if isinstance(layer, Cut):
        return replace(layer, others=()), *layer.others
    return (layer,)


def patches(layer: Layer, inputs: Tensor) -> Tensor:
    """Inputs (B, C_in, H, W) of a convolution, or (..., C_in) of a linear layer, as patches (B, G, n, P).

    P is the number of positions of one image (of one leading index, for a linear layer), n = C_in/G * kh *
    kw is ordered (channel, ky, kx) as weights are, and padding, in any mode, is in the patches. Their type
    is that of the inputs.
    """
    if isinstance(layer, Cut):
        return patches(layer.layer, layer.prepare(inputs))
    if isinstance(layer, nn.Linear):
        return _vectors(inputs, layer.in_features)
    if isinstance(layer, nn.Conv2d):
        padded = _padded(layer, inputs)
        return _windows(layer, padded, layer.kernel_size)
    if layer.is_linear:
        return _vectors(inputs, layer.in_channels)
    top, bottom, left, right = layer.padding
    # F.pad begins with the last axis.
    padded = F.pad(inputs, (left, right, top, bottom))
    return _windows(layer, padded, layer.kernel)


def kernel_positions(layer: Layer) -> int:
    """kh * kw; 1 for a linear layer."""
    if isinstance(layer, Cut):
        return kernel_positions(layer.layer)
    if isinstance(layer, nn.Linear):
        return 1
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
    else:
        height, width = layer.kernel
    return height * width


def patch_inputs(layer: Layer) -> int:
    """n = C_in/G * kh * kw, the inputs of one patch of one group."""
    channels: int
    if isinstance(layer, Cut):
        return patch_inputs(layer.layer)
    if isinstance(layer, nn.Linear):
        channels = layer.in_features
    elif isinstance(layer, nn.Conv2d):
        channels = layer.in_channels // layer.groups
    else:
        channels = layer.in_channels // layer.groups
    return channels * kernel_positions(layer)


def _vectors(inputs: Tensor, features: int) -> Tensor:
    leading = 1
    if inputs.dim() > 1:
        leading = len(inputs)
    vectors = inputs.reshape(leading, -1, features)  # (B, P, n)
    return vectors.transpose(1, 2)[:, None]


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    sides = padding_sides(layer)
    if layer.padding_mode == "zeros":
        return F.pad(inputs, sides)
    return F.pad(inputs, sides, mode=layer.padding_mode)


def _windows(
    layer: nn.Conv2d | ConvShape,
    padded: Tensor,
    kernel: tuple[int, ...] | Pair,
) -> Tensor:
    # As F.unfold, in half the time: views of the input, copied once.
    columns = padded
    for axis, taps in enumerate(kernel):
        extent = (taps - 1) * layer.dilation[axis] + 1
        columns = columns.unfold(2 + axis, extent, layer.stride[axis])[..., :: layer.dilation[axis]]
    images, channels, down, across, _, _ = columns.shape  # (B, C_in, OH, OW, kh, kw)
    columns = columns.permute(0, 1, 4, 5, 2, 3)
    inputs = channels // layer.groups * math.prod(kernel)
    return columns.reshape(images, layer.groups, inputs, down * across)
