"""`LowRankConv2d`: a convolution replaced by a grouped convolution to few channels and a 1x1 convolution
back.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rankfold.lowrank import check_rank
from rankfold.nn.low_rank_pair import LowRankPair
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.random_state import random_state_kept
from rankfold.workload.shape import ConvShape

# Which inputs an output sees.
WINDOW_ATTRIBUTES = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


class LowRankConv2d(LowRankPair):
    """W ~ L R_ as two convolutions.

    `reduce` is R_ (kh x kw, G*g groups), and `expand` is L (1x1, G groups, with the bias).

    Stride, padding (any mode), and dilation belong to `reduce`, so the pair computes exactly the convolution
    with the weight L R_. Input (B, C_in, H, W), output (B, m, OH, OW), between the stages (B, G*g*r, OH, OW).

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`, `bias`, and `weight`, which is computed) is that
    of the convolution.

    Args:
        conv: the convolution to stand in for; its weight is not read. Its bias parameter is kept.
        groups: g, low-rank groups in each of the G groups of `conv`.
        rank: r of each group.
        row_sparse: whether R_ keeps only some kernel positions: `reduce` is a `MaskedConv2d` then, whose mask
            keeps everything until one is set or loaded.

    Raises:
        InputError: groups do not divide the input channels, or the rank is above full rank.
    """

    def __init__(self, conv: nn.Conv2d, groups: int, rank: int, row_sparse: bool = False) -> None:
        check_rank(weight_shape(conv), groups, rank)
        first = nn.Conv2d
        if row_sparse:
            first = MaskedConv2d
        super().__init__(
            conv,
            inputs=conv.in_channels,
            outputs=conv.out_channels,
            own_groups=conv.groups,
            groups=groups,
            rank=rank,
            first=first,
            window=window_of(conv),
        )

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Apply both stages."""
        return self.expand(self.reduce(input))

    @property
    def in_channels(self) -> int:
        """C_in."""
        return self.reduce.in_channels

    @property
    def out_channels(self) -> int:
        """m."""
        return self.expand.out_channels

    @property
    def groups(self) -> int:
        """G, the groups of the convolution."""
        return self.expand.groups

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """(kh, kw)."""
        return self.reduce.kernel_size

    @property
    def stride(self) -> tuple[int, ...]:
        """(vertical, horizontal)."""
        return self.reduce.stride

    @property
    def padding(self) -> str | tuple[int, ...]:
        """As the convolution was given it."""
        return self.reduce.padding

    @property
    def dilation(self) -> tuple[int, ...]:
        """(vertical, horizontal)."""
        return self.reduce.dilation

    @property
    def padding_mode(self) -> str:
        """As the convolution was given it."""
        return self.reduce.padding_mode

    def to_dense(self) -> nn.Conv2d:
        """The single convolution, with the weight L R_ (multiplied in float64), that computes the same
        function.
        """
        like: dict[str, Any] = {"device": self.reduce.weight.device, "dtype": self.reduce.weight.dtype}
        biased = self.expand.bias is not None
        with random_state_kept(self.reduce.weight.device):
            dense = nn.Conv2d(
                self.in_channels,
                self.out_channels,
                groups=self.groups,
                bias=biased,
                **window_of(self.reduce),
                **like,
            )
        self.filled(dense, self.product())
        return dense


def window_of(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments of a convolution that say which inputs an output sees."""
    return {name: getattr(conv, name) for name in WINDOW_ATTRIBUTES}


def weight_shape(conv: nn.Conv2d, name: str = "convolution") -> ConvShape:
    """The shape of a convolution's weight alone, on the smallest input that fits it."""
    kernel = conv.kernel_size[0], conv.kernel_size[1]
    return ConvShape(
        name,
        conv.in_channels,
        conv.out_channels,
        kernel,
        input=kernel,
        groups=conv.groups,
    )
