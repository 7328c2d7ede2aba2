"""A network of two convolutions and a classifier, for tests that do not train it."""

from __future__ import annotations

import torch
from torch import nn


def net(outputs: int = 4) -> nn.Sequential:
    """Reads (3, H, W)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, outputs),
    )
