"""`LowRankLinear`: a fully connected layer replaced by two 1x1 convolutions on a 1x1 plane."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rankfold.lowrank import LowRankFactors, check_rank, reconstruct
from rankfold.nn.plain import StandIn
from rankfold.nn.random_state import random_state_kept
from rankfold.workload.shape import ConvShape


class LowRankLinear(nn.Module, StandIn):
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
        super().__init__()
        check_rank(linear_shape(linear), groups, rank)
        self.low_rank_groups, self.rank = groups, rank
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        middle = groups * rank
        biased = linear.bias is not None
        with random_state_kept(linear.weight.device):
            self.reduce = nn.Conv2d(
                linear.in_features,
                middle,
                kernel_size=1,
                groups=groups,
                bias=False,
                **like,
            )
            self.expand = nn.Conv2d(
                middle,
                linear.out_features,
                kernel_size=1,
                bias=biased,
                **like,
            )
        # The very Parameter object, so that an optimiser that has it goes on training it.
        self.expand.bias = linear.bias
        self.train(linear.training)

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

    @property
    def bias(self) -> Tensor | None:
        """(m,), or None."""
        return self.expand.bias

    @property
    def weight(self) -> Tensor:
        """(m, n): L R_, multiplied at each request."""
        return self.to_dense().weight.detach()

    def to_dense(self) -> nn.Linear:
        """The single layer, with the weight L R_ (multiplied in float64), that computes the same function."""
        reduce, expand = self.reduce, self.expand
        like: dict[str, Any] = {"device": reduce.weight.device, "dtype": reduce.weight.dtype}
        biased = expand.bias is not None
        with random_state_kept(reduce.weight.device):
            dense = nn.Linear(self.in_features, self.out_features, bias=biased, **like)
        first = reduce.weight.detach().cpu().double().numpy()
        second = expand.weight.detach().cpu().double().numpy()
        # Errors are not asked for here.
        factors = LowRankFactors(first, second, 0.0, 0.0)
        weight = reconstruct(factors, 1, self.low_rank_groups)  # (m, n, 1, 1)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weight[:, :, 0, 0]))
            if expand.bias is not None:
                dense.bias.copy_(expand.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Show g and r."""
        return f"groups={self.low_rank_groups}, rank={self.rank}"


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
