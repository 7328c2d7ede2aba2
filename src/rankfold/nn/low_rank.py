"""`LowRankConv2d`: a convolution replaced by a grouped convolution to few channels and a 1x1 convolution back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import UnsupportedLayerError
from rankfold.lowrank import LowRankFactors, check_rank, decompose, decompose_for_data, reconstruct
from rankfold.nn.masked import MaskedConv2d
from rankfold.plan import support_to_mask
from rankfold.surgery.supports import row_sparse_factors
from rankfold.workload.shape import ConvShape
from rankfold.workload.tracing.torch_layers import why_fixed


class LowRankConv2d(nn.Module):
    """W ~ L R_ as two convolutions: `reduce` (R_, kh x kw, G*g groups) and `expand` (L, 1x1, G groups, with the bias).

    Stride, padding (any mode), and dilation belong to `reduce`, so the pair computes exactly the convolution with
    the weight L R_. Input (B, C_in, H, W), output (B, m, OH, OW), between the stages (B, G*g*r, OH, OW).

    Args:
        conv: the convolution to stand in for; its weight is not read. Its bias parameter is kept.
        groups: g, low-rank groups in each of the G groups of `conv`.
        rank: r of each group.
        row_sparse: whether R_ keeps only some kernel positions: `reduce` is a `MaskedConv2d` then, whose mask keeps everything
            until one is set or loaded.

    Raises:
        InputError: groups do not divide the input channels, or the rank is above full rank.
    """

    def __init__(self, conv: nn.Conv2d, groups: int, rank: int, row_sparse: bool = False) -> None:
        super().__init__()
        check_rank(weight_shape(conv), groups, rank)
        self.groups, self.rank = groups, rank
        middle = conv.groups * groups * rank
        like: dict[str, Any] = {"device": conv.weight.device, "dtype": conv.weight.dtype}
        first = MaskedConv2d if row_sparse else nn.Conv2d
        self.reduce = first(conv.in_channels, middle, groups=conv.groups * groups, bias=False, **_window(conv), **like)
        self.expand = nn.Conv2d(middle, conv.out_channels, 1, groups=conv.groups, bias=conv.bias is not None, **like)
        self.expand.bias = conv.bias
        self.train(conv.training)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        groups: int,
        rank: int,
        moments: PatchMoments | None = None,
        entries: int | None = None,
        support: np.ndarray | None = None,
    ) -> tuple[LowRankConv2d, LowRankFactors]:
        """Decompose a convolution.

        Args:
            conv: the convolution.
            groups: g.
            rank: r.
            moments: of its inputs, for which the factors are made; None: they are nearest to the weight, by grouped SVD.
            entries: e, positions of each input channel that R_ keeps; None: all.
            support: (C_in, kh*kw) booleans, these positions; None: chosen together with the factors.

        Returns:
            The module and the factors.
        """
        module = cls(conv, groups, rank, entries is not None)
        weight = conv.weight.detach().cpu().double().numpy()
        if entries is not None:
            factors, support = row_sparse_factors(weight, conv.groups, groups, rank, entries, moments, support)
            assert isinstance(module.reduce, MaskedConv2d)
            mask = support_to_mask(support, len(factors.reduce), module.reduce.groups, factors.reduce.shape[2:])
            module.reduce.mask.copy_(torch.from_numpy(mask))
        elif moments is None:
            factors = decompose(weight, conv.groups, groups, rank)
        else:
            factors = decompose_for_data(weight, conv.groups, groups, rank, moments.second, moments.cross)
        with torch.no_grad():
            module.reduce.weight.copy_(torch.from_numpy(factors.reduce))
            if isinstance(module.reduce, MaskedConv2d):
                module.reduce.weight.mul_(module.reduce.mask)  # exact zeros, which rounding may have missed
            module.expand.weight.copy_(torch.from_numpy(factors.expand))
        return module, factors

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Apply both stages."""
        return self.expand(self.reduce(input))

    def to_dense(self) -> nn.Conv2d:
        """The single convolution, with the weight L R_ (multiplied in float64), that computes the same function."""
        reduce, expand = self.reduce, self.expand
        like: dict[str, Any] = {"device": reduce.weight.device, "dtype": reduce.weight.dtype}
        bias = expand.bias is not None
        dense = nn.Conv2d(reduce.in_channels, expand.out_channels, groups=expand.groups, bias=bias, **_window(reduce), **like)
        kept = reduce.weight * reduce.mask if isinstance(reduce, MaskedConv2d) else reduce.weight
        first, second = (weight.detach().cpu().double().numpy() for weight in (kept, expand.weight))
        factors = LowRankFactors(first, second, 0.0, 0.0)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(reconstruct(factors, expand.groups, self.groups)))
            if expand.bias is not None and dense.bias is not None:
                dense.bias.copy_(expand.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Show g and r."""
        return f"groups={self.groups}, rank={self.rank}"


def _window(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments that say which inputs an output sees."""
    return {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}


def weight_shape(conv: nn.Conv2d) -> ConvShape:
    """The shape of a convolution's weight alone, on the smallest input that fits it."""
    kernel = conv.kernel_size[0], conv.kernel_size[1]
    return ConvShape("convolution", conv.in_channels, conv.out_channels, kernel, kernel, groups=conv.groups)


def check_convertible(name: str, module: nn.Module) -> None:
    """Refuse, by name, a layer whose behaviour a low-rank pair would not carry over exactly.

    Raises:
        UnsupportedLayerError: `module` is no convolution or linear layer, or a subclass with behaviour of its own, has a
            parametrised weight, or hooks.
    """
    why = why_fixed(module)
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        why = f"is a {type(module).__name__}, not a plain nn.Conv2d or nn.Linear"
    if why:
        raise UnsupportedLayerError(f"layer {name} {why}; leave it dense in the plan, or exclude it")
