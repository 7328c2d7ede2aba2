"""`MaskedConv2d`: a convolution of which only some weights are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.plan.masks import SUFFIX


class MaskedConv2d(nn.Conv2d):
    """A convolution whose weight is multiplied by a mask in every step.

    Dropped weights are zero from the start. They get no gradient, and weight decay and momentum leave zero as it is, so they
    are exactly zero after every step of training too. The mask is a buffer: it is saved and loaded with the weights.

    Takes the arguments of `nn.Conv2d`; the mask (m, C_in/G, kh, kw) keeps everything until one is set or loaded.
    """

    AS_DECLARED = True

    mask: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", torch.ones(self.weight.shape, dtype=torch.bool, device=self.weight.device))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, mask: np.ndarray | None = None) -> MaskedConv2d:
        """A convolution with the very Parameter objects, attributes and mode of `conv`; what `mask` drops becomes zero."""
        new = cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups,
            conv.bias is not None, conv.padding_mode, device="meta", dtype=conv.weight.dtype,
        )  # fmt: skip
        new.weight, new.bias = conv.weight, conv.bias
        kept = torch.ones(conv.weight.shape, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
        new.mask = kept.to(conv.weight.device)
        with torch.no_grad():
            new.weight.mul_(new.mask)
        return new.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, m, OH, OW)."""
        y: Tensor = self._conv_forward(input, self.weight * self.mask, self.bias)
        return y


def masks_of(model: nn.Module) -> dict[str, np.ndarray]:
    """The masks of all layers of `model`, (m, C_in/G, kh, kw) booleans by name, as `network_cycles` takes them."""
    buffers = model.named_buffers(remove_duplicate=False)
    return {name.removesuffix(SUFFIX): mask.cpu().numpy() for name, mask in buffers if name.endswith(SUFFIX)}
