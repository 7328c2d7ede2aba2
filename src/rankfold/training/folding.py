"""Batch norms that become part of the convolutions before them, in a network that trains no more."""

from __future__ import annotations

import torch
from torch import nn

from rankfold.calibration.correction import following_norms
from rankfold.calibration.samples import Inputs
from rankfold.nn.swap import swap_


@torch.no_grad()
def fold_norms_(network: nn.Module, batch: Inputs) -> None:
    """Fold, in place, each batch norm into the convolution that it alone reads.

    In eval mode the network computes the same, to rounding, in fewer passes over memory. Norms after other
    layers, or after a sum, stay. The convolution takes the place of its norm, where `nn.rectified_norm` asks
    for a sum and a ReLU behind it.

    Args:
        network: in eval mode; it gets parameters of its own where they change.
        batch: an input, by which is seen what follows what.
    """
    modules = dict(network.named_modules())
    names = [name for name, module in modules.items() if type(module) is nn.Conv2d]
    folded: dict[nn.Module, nn.Module] = {}
    for name, follower in following_norms(network, [batch], names).items():
        conv, norm = modules[name], modules[follower]
        assert isinstance(conv, nn.Conv2d)  # chosen so
        if type(norm) is nn.BatchNorm2d and not _hooked(conv) and not _hooked(norm):
            _fold_(conv, norm)
            folded |= {conv: nn.Identity(), norm: conv}
    swap_(network, folded)


def _hooked(module: nn.Module) -> bool:
    """Whether something else takes part in what a module computes, or looks on."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _fold_(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weight and the bias that make up for the norm."""
    assert norm.running_mean is not None and norm.running_var is not None  # it would not follow otherwise
    factor = (norm.running_var.double() + norm.eps).rsqrt()  # (m,)
    if norm.weight is not None:
        factor = factor * norm.weight
    bias = -norm.running_mean * factor
    if conv.bias is not None:
        bias = bias + conv.bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias
    weight = conv.weight * factor.view(-1, 1, 1, 1)
    # Parameters of its own: other modules may share those that it had.
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
