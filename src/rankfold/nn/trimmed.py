"""`TrimmedConv2d`: a convolution of some channels, in the place of one of more."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.nn.plain import CONV_ATTRIBUTES, StandIn, plain_layer

KERNEL = tuple(name for name in CONV_ATTRIBUTES if not name.endswith("_channels"))


class TrimmedConv2d(nn.Module, StandIn):
    """A convolution that reads some of its input channels, and computes some of its output channels.

    `inner` computes them, whatever it is; `rest`, (m - m',), are the constants that stand in the other output
    channels, which digital logic adds. Input (B, C_in, H, W), output (B, m, OH, OW).

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`) is that of the convolution that was there.

    Args:
        conv: the convolution to stand in for; its weight is not read.
        inner: computes the channels, (B, c', H, W) -> (B, m', OH, OW).
        reads: (C_in,) booleans, the c' input channels.
        computes: (m,) booleans, the m' output channels.
    """

    # Buffers, and none of the state: the plan says which channels they are.
    read: Tensor
    order: Tensor

    def __init__(self, conv: nn.Conv2d, inner: nn.Module, reads: np.ndarray, computes: np.ndarray) -> None:
        super().__init__()
        for name in CONV_ATTRIBUTES:
            setattr(self, name, getattr(conv, name))
        self.inner, self.reads, self.computes = inner, reads, computes
        like = conv.weight
        self.rest = nn.Parameter(torch.zeros(int((~computes).sum()), device=like.device, dtype=like.dtype))
        # Behind the channels that are computed come the others: where each output channel is among them.
        order = np.argsort(np.concatenate([np.flatnonzero(computes), np.flatnonzero(~computes)]))
        for name, index in (("read", np.flatnonzero(reads)), ("order", order)):
            self.register_buffer(name, torch.from_numpy(index).to(like.device), persistent=False)
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Take the channels that are read, compute, and put the constants between the outputs."""
        if not self.reads.all():
            input = input.index_select(1, self.read)
        outputs: Tensor = self.inner(input)
        if self.computes.all():
            return outputs
        images, _, height, width = outputs.shape
        rest = self.rest.to(outputs.dtype).reshape(1, -1, 1, 1).expand(images, -1, height, width)
        return torch.cat([outputs, rest], 1).index_select(1, self.order)

    @torch.no_grad()
    def to_dense(self) -> nn.Conv2d | nn.Linear:
        """The convolution with zeros in place of what is not read or not computed.

        Raises:
            InputError: it computes windows, which no convolution of the layer's own kernel does.
        """
        inner = self.inner
        if isinstance(inner, StandIn):
            inner = inner.to_dense()
        assert isinstance(inner, nn.Conv2d)  # surgery puts nothing else there
        geometry = {name: getattr(self, name) for name in KERNEL}
        channels = cast(int, self.in_channels), cast(int, self.out_channels)
        whole = nn.Conv2d(*channels, **geometry, device=inner.weight.device, dtype=inner.weight.dtype)
        computed = torch.from_numpy(self.computes)
        weight = torch.zeros_like(whole.weight)
        weight[np.ix_(self.computes, self.reads)] = inner.weight
        assert whole.bias is not None
        whole.bias[~computed] = self.rest
        whole.bias[computed] = 0.0 if inner.bias is None else inner.bias
        return plain_layer(whole.train(self.training), weight)

    def extra_repr(self) -> str:
        """Show the numbers of channels."""
        channels = [f"{kept.sum()} of {len(kept)}" for kept in (self.reads, self.computes)]
        return f"reads {channels[0]}, computes {channels[1]}"
