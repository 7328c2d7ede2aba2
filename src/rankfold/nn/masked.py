"""`MaskedConv2d`: a convolution of which only some weights are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.nn.plain import StandIn, plain_layer
from rankfold.plan.masks import SUFFIX


class MaskedConv2d(nn.Conv2d, StandIn):
    """A convolution whose weight is multiplied by a mask in every step.

    Dropped weights are zero from the start. They get no gradient, and weight decay and momentum leave zero as
    it is, so they are exactly zero after every step of training too. The mask is a buffer: it is saved and
    loaded with the weights.

    Takes the arguments of `nn.Conv2d`; the mask (m, C_in/G, kh, kw) keeps everything until one is set or
    loaded.
    """

    # Tracing may read its window and channels off the attributes, as of a plain convolution.
    AS_DECLARED = True

    mask: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keep_all = torch.ones_like(self.weight, dtype=torch.bool)
        self.register_buffer("mask", keep_all)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, mask: np.ndarray | None = None) -> MaskedConv2d:
        """A convolution with the very Parameter objects, attributes and mode of `conv`.

        Args:
            conv: the convolution; what the mask drops becomes zero in it too, as it shares its weights.
            mask: (m, C_in/G, kh, kw) booleans; None keeps everything.
        """
        # On the meta device nothing is drawn or allocated for weights that are replaced at once.
        new = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            device="meta",
            dtype=conv.weight.dtype,
        )
        new.weight = conv.weight
        new.bias = conv.bias
        if mask is None:
            mask = np.ones(conv.weight.shape, bool)
        new.mask = torch.from_numpy(mask).to(conv.weight.device)
        with torch.no_grad():
            # Now and not in `forward` alone, so that weight decay and momentum find exact zeros.
            new.weight.mul_(new.mask)
        return new.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, m, OH, OW)."""
        # The product's gradient is masked too, so a dropped weight never moves.
        kept = self.weight * self.mask
        y: Tensor = self._conv_forward(input, kept, self.bias)
        return y

    def to_dense(self) -> nn.Conv2d | nn.Linear:
        """The convolution with zeros where the mask drops weights."""
        return plain_layer(self, self.weight * self.mask)


def dropped_weights(module: nn.Module) -> int:
    """How many of a module's own weights its mask drops: a buffer called `mask`, True for those it keeps."""
    mask = module._buffers.get("mask")
    if mask is None:
        return 0
    return int((~mask).sum())


def masks_of(model: nn.Module) -> dict[str, np.ndarray]:
    """The masks of all layers of `model`: (m, C_in/G, kh, kw) booleans by the names of the layers."""
    masks: dict[str, np.ndarray] = {}
    # Duplicates too: a shared layer has its mask under each of its names.
    for name, mask in model.named_buffers(remove_duplicate=False):
        if name.endswith(SUFFIX):
            masks[name.removesuffix(SUFFIX)] = mask.cpu().numpy()
    return masks
