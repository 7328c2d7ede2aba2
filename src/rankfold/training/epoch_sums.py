"""What batches add to the sums of an epoch: losses, right samples and samples."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def sums_of(losses: tuple[Tensor, ...], logits: Tensor, y: Tensor) -> Tensor:
    """What a batch adds to the sums of an epoch: its losses, right samples and samples, float64."""
    return added(losses, right_of(logits, y), len(y))


@torch.no_grad()
def right_of(logits: Tensor, y: Tensor) -> Tensor:
    """How many of (B, classes) scores are right."""
    return (logits.argmax(1) == y).sum()


@torch.no_grad()
def added(losses: tuple[Tensor, ...], right: Tensor, count: int) -> Tensor:
    """As `sums_of`, of so many samples of which so many are right."""
    # In float64, as the sum of a large split's losses would lose digits.
    counts = torch.stack([right, right.new_full((), count)])
    return torch.cat([torch.stack(losses).double() * count, counts.double()])
