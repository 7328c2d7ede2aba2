"""`ChannelScale`: a factor for each channel, which digital logic multiplies by."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelScale(nn.Module):
    """(B, C, H, W) times a factor of each channel.

    Args:
        factors: (C,).
    """

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.factors = nn.Parameter(factors.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * self.factors[:, None, None]

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return str(len(self.factors))


@torch.no_grad()
def equalised_(conv: nn.Conv2d) -> ChannelScale:
    """Divide each output channel of a convolution by its largest weight, in place; channels of zeros stay.

    Returns:
        What multiplies by these again.
    """
    largest = conv.weight.abs().amax((1, 2, 3))
    factors = torch.where(largest > 0, largest, torch.ones_like(largest))
    conv.weight.div_(factors[:, None, None, None])
    if conv.bias is not None:
        conv.bias.div_(factors)
    return ChannelScale(factors)
