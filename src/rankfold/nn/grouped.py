"""`GroupedConv2d`: a convolution in groups, of channels in an order of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.lowrank.grouping import Grouping, contiguous
from rankfold.nn.low_rank import window_of
from rankfold.nn.plain import CONV_ATTRIBUTES, StandIn
from rankfold.nn.random_state import random_state_kept


class GroupedConv2d(nn.Module, StandIn):
    """A convolution whose channels are cut in blocks, of which each output reads the inputs of its own.

    `conv` is a grouped convolution of the channels block by block. Which of the layer's channels these are is
    in the buffers `inputs` (C_in,), the input channels in the order in which `conv` reads them, and `outputs`
    (m,), where each output channel is among those of `conv`. On arrays both are wiring. Input (B, C_in, H,
    W), output (B, m, OH, OW).

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`, and `weight` and `bias`, which are computed) is
    that of the convolution.

    Args:
        conv: the convolution to stand in for; its weight is not read.
        blocks: in each of its groups.
    """

    inputs: Tensor
    outputs: Tensor

    def __init__(self, conv: nn.Conv2d, blocks: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        self.blocks = blocks
        like: dict[str, Any] = {"device": conv.weight.device, "dtype": conv.weight.dtype}
        biased = conv.bias is not None
        own = conv.groups * blocks
        with random_state_kept(conv.weight.device):
            self.conv = nn.Conv2d(
                conv.in_channels, conv.out_channels, groups=own, bias=biased, **window_of(conv), **like
            )
        self.register_buffer("inputs", torch.arange(conv.in_channels, device=conv.weight.device))
        self.register_buffer("outputs", torch.arange(conv.out_channels, device=conv.weight.device))
        self.train(conv.training)

    @torch.no_grad()
    def fill_(self, weight: np.ndarray, bias: Tensor | None, grouping: Grouping) -> None:
        """Compute with the weight of a dense layer that has zeros outside the blocks, and its bias.

        Args:
            weight: (m, C_in/G, kh, kw).
            bias: (m,), or None.
            grouping: the blocks.
        """
        kept = grouping.mask(self.groups)
        order = grouping.output_order
        # The channels that each output reads follow each other, as they do in `inputs`.
        packed = weight[kept].reshape(len(weight), -1, *weight.shape[2:])[order]
        self.conv.weight.copy_(torch.from_numpy(packed))
        if bias is not None and self.conv.bias is not None:
            self.conv.bias.copy_(bias[torch.from_numpy(order).to(bias.device)])
        self.inputs.copy_(torch.from_numpy(grouping.input_order))
        self.outputs.copy_(torch.from_numpy(np.argsort(order)))

    @property
    def grouping(self) -> Grouping:
        """The block of each channel."""
        own = contiguous(self.in_channels, self.out_channels, self.conv.groups)
        inputs = np.empty_like(own.inputs)
        inputs[self.inputs.cpu().numpy()] = own.inputs
        return Grouping(inputs, own.outputs[self.outputs.cpu().numpy()])

    @property
    def bias(self) -> Tensor | None:
        """(m,), in the order of the layer's outputs, or None."""
        return None if self.conv.bias is None else self.conv.bias.detach()[self.outputs]

    @property
    def weight(self) -> Tensor:
        """(m, C_in/G, kh, kw) the weight of the dense layer, with zeros outside the blocks."""
        return self._dense(self.conv.weight.detach())

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Read the channels block by block, and put the outputs in their places."""
        # Counted from the end: a single image has no batch.
        given = self.conv(input.index_select(-3, self.inputs))
        placed: Tensor = given.index_select(-3, self.outputs)
        return placed

    def to_dense(self) -> nn.Conv2d:
        """The convolution with zeros outside the blocks."""
        like: dict[str, Any] = {"device": "meta", "dtype": self.conv.weight.dtype}
        biased = self.conv.bias is not None
        dense = nn.Conv2d(**{name: getattr(self, name) for name in CONV_ATTRIBUTES}, bias=biased, **like)
        dense.weight = nn.Parameter(self.weight)
        if self.bias is not None:
            dense.bias = nn.Parameter(self.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Show the blocks."""
        return f"blocks={self.blocks}"

    def _dense(self, packed: Tensor) -> Tensor:
        """A weight (m, C_in/(G*blocks), kh, kw) of `conv` as one of the dense layer."""
        kept = torch.from_numpy(self.grouping.mask(self.groups)).to(packed.device)
        dense = packed.new_zeros(self.out_channels, self.in_channels // self.groups, *packed.shape[2:])
        dense[kept] = packed[self.outputs].flatten(0, 1)
        return dense
