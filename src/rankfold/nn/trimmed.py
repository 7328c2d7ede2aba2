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
    channels, which digital logic adds. Which channels these are is in the buffers `inputs` (c',), the input
    channels that are read, and `outputs` (m,), where each output channel is among those of `inner` with
    `rest` behind them. Input (B, C_in, H, W), output (B, m, OH, OW), or the same without B.

    Under autocast the output is float32 where there are constants: a batch norm behind them divides the error
    of a rounded constant by next to nothing.

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`) is that of the convolution that was there.

    Args:
        conv: the convolution to stand in for; its weight is not read.
        inner: computes the channels, (B, c', H, W) -> (B, m', OH, OW).
        reads: (C_in,) booleans, the c' input channels.
        computes: (m,) booleans, the m' output channels.
    """

    # Saved with the weights, which mean nothing for other channels.
    inputs: Tensor
    outputs: Tensor

    def __init__(self, conv: nn.Conv2d, inner: nn.Module, reads: np.ndarray, computes: np.ndarray) -> None:
        super().__init__()
        for name in CONV_ATTRIBUTES:
            setattr(self, name, getattr(conv, name))
        self.inner = inner
        like = conv.weight
        self.rest = nn.Parameter(torch.zeros(int((~computes).sum()), device=like.device, dtype=like.dtype))
        # Behind the channels that are computed come the others: where each output channel is among them.
        order = np.argsort(np.concatenate([np.flatnonzero(computes), np.flatnonzero(~computes)]))
        self.register_buffer("inputs", torch.from_numpy(np.flatnonzero(reads)).to(like.device))
        self.register_buffer("outputs", torch.from_numpy(order).to(like.device))
        self.train(conv.training)

    @property
    def reads(self) -> np.ndarray:
        """(C_in,) booleans, the input channels that are read."""
        found = np.zeros(cast(int, self.in_channels), bool)
        found[self.inputs.cpu().numpy()] = True
        return found

    @property
    def reads_of_outputs(self) -> np.ndarray:
        """(C_in/G,) booleans, the columns of the dense weight that are left: of a depthwise convolution, each
        of whose outputs has an input of its own, its only one.
        """
        return self.reads if self.groups == 1 else np.ones(1, bool)

    @property
    def computes(self) -> np.ndarray:
        """(m,) booleans, the output channels that are computed."""
        computed: np.ndarray = self.outputs.cpu().numpy() < len(self.outputs) - len(self.rest)
        return computed

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Take the channels that are read, compute, and put the constants between the outputs."""
        # Counted from the end: a single image has no batch.
        if len(self.inputs) < cast(int, self.in_channels):
            input = input.index_select(-3, self.inputs)
        outputs: Tensor = self.inner(input)
        if len(self.rest) == 0:
            return outputs
        *images, _, height, width = outputs.shape
        rest = self.rest[:, None, None].expand(*images, -1, height, width)
        return torch.cat([outputs.to(rest.dtype), rest], -3).index_select(-3, self.outputs)

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
        computes = self.computes
        computed = torch.from_numpy(computes)
        weight = torch.zeros_like(whole.weight)
        weight[np.ix_(computes, self.reads_of_outputs)] = inner.weight
        assert whole.bias is not None
        whole.bias[~computed] = self.rest
        whole.bias[computed] = 0.0 if inner.bias is None else inner.bias
        return plain_layer(whole.train(self.training), weight)

    def extra_repr(self) -> str:
        """Show the numbers of channels."""
        channels = [f"{kept.sum()} of {len(kept)}" for kept in (self.reads, self.computes)]
        return f"reads {channels[0]}, computes {channels[1]}"
