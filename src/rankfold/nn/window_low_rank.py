"""`WindowLowRankConv2d`: a convolution that computes whole windows of its output plane by two matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rankfold.lowrank import LowRankFactors, reconstruct
from rankfold.nn.random_state import random_state_kept
from rankfold.nn.window import Windowed
from rankfold.workload.shape import Pair


class WindowLowRankConv2d(Windowed):
    """A window of a x b output pixels at a time, from q values of the window.

    `reduce`, a masked convolution of the window's box, gives G*q values of each window, and `expand`, a 1x1
    convolution, all m*a*b outputs of the window from these, with biases of their own, which digital adders
    add. What the mask drops are rows that arrays do not drive. `weight` is their product, computed at each
    request. Between the stages (B, G*q, windows down, windows across).

    Args:
        conv: the convolution to stand in for; its weight is not read.
        window: (a, b); a plane that it does not divide is covered by windows that reach beyond it.
        rank: q, of each group of the convolution.
    """

    def __init__(self, conv: nn.Conv2d, window: Pair, rank: int) -> None:
        super().__init__(conv, window)
        self.rank = rank
        # No bias between the stages: L times it would be one more constant of the output.
        self.reduce = self.reader(conv.groups * rank, bias=False, like=conv.weight)
        with random_state_kept(conv.weight.device):
            self.expand = nn.Conv2d(
                conv.groups * rank,
                conv.out_channels * window[0] * window[1],
                kernel_size=1,
                groups=conv.groups,
                device=conv.weight.device,
                dtype=conv.weight.dtype,
            )
        self.train(conv.training)

    @property
    def weight(self) -> Tensor:
        """(m*a*b, C_in/G, ph, pw), the matrix of a window, L R multiplied in float64."""
        first = (self.reduce.weight * self.reduce.mask).detach().cpu().double().numpy()
        second = self.expand.weight.detach().cpu().double().numpy()
        # Errors are not asked for here.
        product = reconstruct(LowRankFactors(first, second, 0.0, 0.0), self.groups, 1)
        return torch.from_numpy(product).to(self.expand.weight)

    @property
    def bias(self) -> Tensor | None:
        """(m*a*b,), those of each pixel of a window."""
        return self.expand.bias

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Apply both stages to all windows, and put the outputs in place."""
        values = self.reduce(self.extended(input))
        return self.placed(self.expand(values), self.output_size(input))

    def extra_repr(self) -> str:
        """Show the window and q."""
        return f"{super().extra_repr()}, rank={self.rank}"
