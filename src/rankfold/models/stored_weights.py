"""Weights as small files keep them: in half precision, or as the levels of their quantiser.

A weight of a quantised layer is only ever used as level times step (`nn.quantisers.Quantiser`), and the step
is in the same file: `NAME.weight` in int8 beside `NAME.weight_quantiser.step` holds the levels, a quarter of
the bytes. Level times step rounds to the same level again, so that outputs are the same bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rankfold.nn.quantised import QuantConv2d, QuantLinear

WEIGHT = ".weight"
STEP = ".weight_quantiser.step"


def expanded(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as layers have them: levels times their step, and half precision, in float32.

    Args:
        stored: a state dict as it was read; what is stored as it is used is passed on.
    """
    weights = {}
    for name, value in stored.items():
        step = stored.get(name.removesuffix(WEIGHT) + STEP)
        if value.dtype == torch.int8 and step is not None:
            weights[name] = value.float() * step
        elif value.dtype in (torch.float16, torch.bfloat16):
            weights[name] = value.float()
        else:
            weights[name] = value
    return weights


def with_levels(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network, with the levels in the place of the weights of its quantised layers.

    Layers with masks keep their weights, as a mask is no level.

    Args:
        model: any network; its quantisers have steps.
    """
    weights = dict(model.state_dict())
    for name, layer in model.named_modules():
        if isinstance(layer, QuantLinear) or (isinstance(layer, QuantConv2d) and layer.mask is None):
            levels = layer.weight_quantiser.integers(layer.weight)
            weights[f"{name}{WEIGHT}"] = levels.to(torch.int8)
    return weights
