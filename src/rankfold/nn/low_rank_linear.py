"""`LowRankLinear`: a fully connected layer replaced by two 1x1 convolutions on a 1x1 plane."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rankfold.lowrank import check_rank
from rankfold.nn.low_rank_pair import LowRankPair
from rankfold.nn.random_state import random_state_kept
from rankfold.workload.shape import ConvShape


class LowRankLinear(LowRankPair):
    """W ~ L R_ as two 1x1 convolutions: `reduce` (R_, g groups) and `expand` (L, with the bias).

    Input (..., n), output (..., m), between the stages (N, g*r, 1, 1) for N vectors. Stages are `nn.Conv2d`,
    so that they are quantised, mapped and simulated as those of `LowRankConv2d` are. `in_features`,
    `out_features`, `bias` and `weight` (computed) are those of the layer.

    Args:
        linear: the layer to stand in for; its weight is not read. Its bias parameter is kept.
        groups: g, blocks of inputs.
        rank: r of each block.

    Raises:
        InputError: groups do not divide the inputs, or the rank is above full rank.
    """

    def __init__(self, linear: nn.Linear, groups: int, rank: int) -> None:
        check_rank(linear_shape(linear), groups, rank)
        super().__init__(
            linear,
            inputs=linear.in_features,
            outputs=linear.out_features,
            own_groups=1,
            groups=groups,
            rank=rank,
            first=nn.Conv2d,
            window={"kernel_size": 1},
        )

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Linear has, for calls by keyword
        """Apply both stages to every vector."""
        vectors = input.reshape(-1, input.shape[-1], 1, 1)  # (N, n, 1, 1)
        outputs: Tensor = self.expand(self.reduce(vectors))  # (N, m, 1, 1)
        return outputs.reshape(*input.shape[:-1], outputs.shape[1])

    @property
    def in_features(self) -> int:
        """n."""
        return self.reduce.in_channels

    @property
    def out_features(self) -> int:
        """m."""
        return self.expand.out_channels

    def to_dense(self) -> nn.Linear:
        """The single layer, with the weight L R_ (multiplied in float64), that computes the same function."""
        like: dict[str, Any] = {"device": self.reduce.weight.device, "dtype": self.reduce.weight.dtype}
        biased = self.expand.bias is not None
        with random_state_kept(self.reduce.weight.device):
            dense = nn.Linear(self.in_features, self.out_features, bias=biased, **like)
        # (m, n, 1, 1)
        self.filled(dense, self.product()[:, :, 0, 0])
        return dense


def linear_shape(linear: nn.Linear) -> ConvShape:
    """The shape of a linear layer on a single vector."""
    return ConvShape(
        "linear layer",
        linear.in_features,
        linear.out_features,
        kernel=(1, 1),
        input=(1, 1),
        kind="linear",
    )
