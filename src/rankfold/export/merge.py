"""Low-rank pairs folded back to the dense layers they stand for."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import QuantConv2d, QuantLinear


def merge(model: nn.Module) -> nn.Module:
    """A copy of a compressed network with plain layers only: its state dict fits the network that was compressed.

    A low-rank pair becomes one layer with the weight L R_. Quantised weights become the values that their levels stand for (those
    of L and R_ before they are multiplied); the rounding of inputs, and of the values between two stages, is dropped. So the
    merged network of a float one computes the same, and that of a quantised one computes nearly the same. A masked layer keeps
    its zeros. Channel-pruned layers are plain already.
    """
    merged = copy.deepcopy(model)
    # Outer layers come last: the stages of a pair are plain by then.
    for parent in reversed(list(merged.modules())):
        for name, child in list(parent._modules.items()):
            if child is not None:
                parent._modules[name] = _plain(child)
    return merged


def _plain(module: nn.Module) -> nn.Module:
    if isinstance(module, QuantConv2d):
        weight = module.weight_quantiser(module.weight)
        return as_plain(module, weight if module.mask is None else weight * module.mask)
    if isinstance(module, QuantLinear):
        return as_plain(module, module.weight_quantiser(module.weight))
    if isinstance(module, MaskedConv2d):
        return as_plain(module, module.weight * module.mask)
    if isinstance(module, (LowRankConv2d, LowRankLinear)):
        return module.to_dense()
    return module


@torch.no_grad()
def as_plain(module: nn.Conv2d | nn.Linear, weight: torch.Tensor) -> nn.Module:
    """A layer of the declared shape, bias and mode of `module`, with a copy of `weight`."""
    plain: nn.Conv2d | nn.Linear
    like: dict[str, Any] = {"bias": module.bias is not None, "device": "meta", "dtype": module.weight.dtype}
    if isinstance(module, nn.Conv2d):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        plain = nn.Conv2d(**{name: getattr(module, name) for name in names}, **like)
    else:
        plain = nn.Linear(module.in_features, module.out_features, **like)
    plain.weight = nn.Parameter(weight.detach().clone())
    plain.register_parameter("bias", None if module.bias is None else nn.Parameter(module.bias.detach().clone()))
    return plain.train(module.training)
