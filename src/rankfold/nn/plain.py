"""Plain layers, in the place of modules that stand for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rankfold.errors import InputError

CONV_ATTRIBUTES = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)


class StandIn:
    """A module that stands where a plain convolution or linear layer was, and can become one again, or says
    that none computes the same.

    It is no abstract base class, as torch.compile does not look through the `isinstance` of a metaclass.
    """

    def to_dense(self) -> nn.Conv2d | nn.Linear:
        """The plain layer with the weight that this module computes with; its inputs are not rounded.

        Raises:
            InputError: no plain layer computes the same, as this base class says.
        """
        raise InputError(f"a {type(self).__name__} computes what no plain layer can")


@torch.no_grad()
def plain_layer(module: nn.Conv2d | nn.Linear, weight: Tensor) -> nn.Conv2d | nn.Linear:
    """A layer of the declared shape, bias and mode of `module`, with copies of its bias and of `weight`."""
    plain: nn.Conv2d | nn.Linear
    biased = module.bias is not None
    # On the meta device nothing is drawn or allocated for weights that are replaced at once.
    like: dict[str, Any] = {"bias": biased, "device": "meta", "dtype": module.weight.dtype}
    if isinstance(module, nn.Conv2d):
        window = {name: getattr(module, name) for name in CONV_ATTRIBUTES}
        plain = nn.Conv2d(**window, **like)
    else:
        plain = nn.Linear(module.in_features, module.out_features, **like)
    # A copy, so that training the plain layer does not change the module it was made of.
    plain.weight = nn.Parameter(weight.detach().clone())
    if module.bias is not None:
        plain.bias = nn.Parameter(module.bias.detach().clone())
    return plain.train(module.training)
