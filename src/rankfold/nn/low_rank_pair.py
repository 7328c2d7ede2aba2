"""`LowRankPair`: what the stand-ins of convolutions and of linear layers have in common, two stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rankfold.lowrank import LowRankFactors, reconstruct
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.plain import StandIn
from rankfold.nn.random_state import random_state_kept


class LowRankPair(nn.Module, StandIn):
    """W ~ L R_ as two convolutions: `reduce` (R_, G*g groups) and `expand` (L, 1x1, G groups, with the bias).

    The state dict is that of the two stages.

    Args:
        layer: the layer to stand in for, whose bias parameter and mode are kept.
        inputs: C_in, or n.
        outputs: m.
        own_groups: G, the groups of the layer.
        groups: g, low-rank groups in each of them.
        rank: r of each.
        first: the class of `reduce`.
        window: the arguments of `reduce` that say which inputs an output sees.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        *,
        inputs: int,
        outputs: int,
        own_groups: int,
        groups: int,
        rank: int,
        first: type[nn.Conv2d],
        window: dict[str, Any],
    ) -> None:
        super().__init__()
        self.low_rank_groups, self.rank = groups, rank
        # Each of the G groups is cut into g blocks, each with r sums of its own.
        blocks = own_groups * groups
        middle = blocks * rank
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        # No bias between the stages: L times it would be one more constant of the output.
        biased = layer.bias is not None
        with random_state_kept(layer.weight.device):
            self.reduce = first(inputs, middle, groups=blocks, bias=False, **window, **like)
            self.expand = nn.Conv2d(
                middle,
                outputs,
                kernel_size=1,
                groups=own_groups,
                bias=biased,
                **like,
            )
        # The very Parameter object, so that an optimiser that has it goes on training it.
        self.expand.bias = layer.bias
        self.train(layer.training)

    @property
    def bias(self) -> Tensor | None:
        """(m,), or None."""
        return self.expand.bias

    @property
    def weight(self) -> Tensor:
        """The weight of the layer, L R_, multiplied at each request."""
        return self.to_dense().weight.detach()

    def product(self) -> Tensor:
        """(m, C_in/G, kh, kw): L R_, multiplied in float64."""
        # What a mask drops is zero already unless one was loaded without its weights.
        kept = self.reduce.weight
        if isinstance(self.reduce, MaskedConv2d):
            kept = kept * self.reduce.mask
        first = kept.detach().cpu().double().numpy()
        second = self.expand.weight.detach().cpu().double().numpy()
        # Errors are not asked for here.
        factors = LowRankFactors(first, second, 0.0, 0.0)
        return torch.from_numpy(reconstruct(factors, self.expand.groups, self.low_rank_groups))

    @torch.no_grad()
    def filled(self, dense: nn.Conv2d | nn.Linear, weight: Tensor) -> nn.Conv2d | nn.Linear:
        """A fresh layer with a weight, and with the bias and mode of this one."""
        dense.weight.copy_(weight)
        if self.expand.bias is not None and dense.bias is not None:
            dense.bias.copy_(self.expand.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Show g and r."""
        return f"groups={self.low_rank_groups}, rank={self.rank}"
