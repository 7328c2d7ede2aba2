"""The optimiser of training: stochastic gradient descent, with weight decay on weights alone."""

from __future__ import annotations

import torch
from torch import nn

from rankfold.training.recipe import Recipe


def optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over the trainable parameters of `model`, weight decay on those of two or more dimensions only."""
    decaying, free = [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim >= 2:
            decaying.append(parameter)
        else:
            free.append(parameter)
    groups = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=recipe.peak_rate,
        momentum=recipe.momentum,
        nesterov=True,
    )
