"""`LowRankLinear`: a fully connected layer replaced by two 1x1 convolutions on a 1x1 plane."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors, check_rank, decompose, decompose_for_data, reconstruct
from rankfold.workload.shape import ConvShape


class LowRankLinear(nn.Module):
    """W ~ L R_ as two 1x1 convolutions: `reduce` (R_, g groups) and `expand` (L, with the bias).

    Input (..., n), output (..., m), between the stages (N, g*r, 1, 1) for N vectors. Stages are `nn.Conv2d`, so that they are
    quantised, mapped and simulated as those of `LowRankConv2d` are.

    Args:
        linear: the layer to stand in for; its weight is not read. Its bias parameter is kept.
        groups: g, blocks of inputs.
        rank: r of each block.

    Raises:
        InputError: groups do not divide the inputs, or the rank is above full rank.
    """

    def __init__(self, linear: nn.Linear, groups: int, rank: int) -> None:
        super().__init__()
        check_rank(_shape(linear), groups, rank)
        self.groups, self.rank = groups, rank
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.reduce = nn.Conv2d(linear.in_features, groups * rank, 1, groups=groups, bias=False, **like)
        self.expand = nn.Conv2d(groups * rank, linear.out_features, 1, bias=linear.bias is not None, **like)
        self.expand.bias = linear.bias
        self.train(linear.training)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, groups: int, rank: int, moments: PatchMoments | None = None
    ) -> tuple[LowRankLinear, LowRankFactors]:
        """Decompose `linear` by grouped SVD, or for the data that `moments` describe; returns the module and the factors."""
        module = cls(linear, groups, rank)
        weight = linear.weight.detach().cpu().double().numpy()[:, :, None, None]
        if moments is None:
            factors = decompose(weight, 1, groups, rank)
        else:
            factors = decompose_for_data(weight, 1, groups, rank, moments.second, moments.cross)
        with torch.no_grad():
            module.reduce.weight.copy_(torch.from_numpy(factors.reduce))
            module.expand.weight.copy_(torch.from_numpy(factors.expand))
        return module, factors

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Linear has, for calls by keyword
        """Apply both stages to every vector."""
        vectors = input.reshape(-1, input.shape[-1], 1, 1)  # (N, n, 1, 1)
        y: Tensor = self.expand(self.reduce(vectors))  # (N, m, 1, 1)
        return y.reshape(*input.shape[:-1], y.shape[1])

    def to_dense(self) -> nn.Linear:
        """The single layer, with the weight L R_ (multiplied in float64), that computes the same function."""
        reduce, expand = self.reduce, self.expand
        like: dict[str, Any] = {"device": reduce.weight.device, "dtype": reduce.weight.dtype}
        dense = nn.Linear(reduce.in_channels, expand.out_channels, bias=expand.bias is not None, **like)
        first, second = (stage.weight.detach().cpu().double().numpy() for stage in (reduce, expand))
        with torch.no_grad():
            weight = reconstruct(LowRankFactors(first, second, 0.0, 0.0), 1, self.groups)  # (m, n, 1, 1)
            dense.weight.copy_(torch.from_numpy(weight[:, :, 0, 0]))
            if expand.bias is not None:
                dense.bias.copy_(expand.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Show g and r."""
        return f"groups={self.groups}, rank={self.rank}"


def _shape(linear: nn.Linear) -> ConvShape:
    return ConvShape("linear layer", linear.in_features, linear.out_features, (1, 1), (1, 1), kind="linear")
