"""`SkippedConv2d`: a convolution whose outputs are constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rankfold.nn.plain import CONV_ATTRIBUTES, StandIn
from rankfold.workload.padding import padding_sides
from rankfold.workload.shape import Pair, spanned


class SkippedConv2d(nn.Module, StandIn):
    """A convolution that gives one constant for each output channel, whatever it reads.

    Input (B, C_in, H, W), output (B, m, OH, OW). Its only parameter is `bias` (m,), which is trained. What
    code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`, `padding_mode`,
    `in_channels`, `out_channels`, `groups`) is that of the convolution.

    Args:
        conv: the convolution to stand in for, which has the first constants where it has a bias.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        left, right, top, bottom = padding_sides(conv)
        self._padded = top + bottom, left + right
        constants = conv.weight.detach().new_zeros(conv.out_channels)
        if conv.bias is not None:
            constants = conv.bias.detach().clone()
        self.bias = nn.Parameter(constants)
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """The constants on the plane of the outputs, in memory of their own."""
        *images, _, height, width = input.shape
        size = self._outputs(height, 0), self._outputs(width, 1)
        constants = self.bias[:, None, None].expand(*images, self.out_channels, *size)
        # Code behind it may write to them: a ReLU or a sum in place.
        layout = torch.contiguous_format
        if input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        return constants.clone(memory_format=layout)

    def to_dense(self) -> nn.Conv2d:
        """A convolution with a weight of zeros."""
        dense = nn.Conv2d(
            **{name: getattr(self, name) for name in CONV_ATTRIBUTES},
            device="meta",
            dtype=self.bias.dtype,
        )
        shape = dense.weight.shape
        dense.weight = nn.Parameter(torch.zeros(shape, dtype=self.bias.dtype, device=self.bias.device))
        dense.bias = nn.Parameter(self.bias.detach().clone())
        return dense.train(self.training)

    @property
    def extent(self) -> Pair:
        """Inputs of a channel that one output pixel spans."""
        height = spanned(self.kernel_size[0], self.dilation[0])
        return height, spanned(self.kernel_size[1], self.dilation[1])

    def _outputs(self, inputs: int, axis: int) -> int:
        """Output pixels along an axis of so many inputs."""
        return (inputs + self._padded[axis] - self.extent[axis]) // self.stride[axis] + 1
