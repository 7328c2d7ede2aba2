"""The patches that a convolution or linear layer multiplies with its weight, image by image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def patches(layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
    """Inputs (B, C_in, H, W) of a convolution, or (..., C_in) of a linear layer, as patches (B, G, n, P) of the same type.

    P is the number of positions of one image (of one leading index, for a linear layer), n = C_in/G * kh * kw is ordered
    (channel, ky, kx) as weights are, and padding, in any mode, is in the patches.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(len(inputs) if inputs.dim() > 1 else 1, -1, layer.in_features).transpose(1, 2)[:, None]
    if layer.padding_mode == "zeros":
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice)
    else:
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
    columns = F.unfold(inputs, layer.kernel_size, layer.dilation, 0, layer.stride)
    return columns.reshape(len(columns), layer.groups, -1, columns.shape[2])
