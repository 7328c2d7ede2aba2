"""`StepSizes`: keeps the learned step sizes of quantisers from leaping across zero."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rankfold.nn.learned_step import SMALLEST_STEP
from rankfold.nn.quantisers import Quantiser

FACTOR = 2.0  # by which an update may shrink or widen a step size


class StepSizes:
    """The step sizes of all quantisers of a network.

    Step sizes learn at the rate of the weights. That of 8-bit weights may be a few thousandths, less than
    what momentum can move it by in one update. Once it has fallen below zero the weights are as good as gone,
    and batch norm behind them makes their gradient so large that the next update ends the network. Updates of
    a few per cent, the usual ones, are left as they are.

    In a training loop of one's own: `steps = StepSizes(model)` once after `quantise_`, then at each update
    `with steps.bounded(): optimiser.step()`.

    Args:
        network: with any number of quantisers, also none.
    """

    def __init__(self, network: nn.Module) -> None:
        self._steps: list[torch.Tensor] = []
        for module in network.modules():
            if isinstance(module, Quantiser):
                self._steps.append(module.step)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Hold what an update inside does to each of them to a factor of two."""
        if not self._steps:
            yield
            return
        # Stacked: one operation for all of them, where each alone would cost as much.
        with torch.no_grad():
            before = torch.stack(self._steps).clamp(min=SMALLEST_STEP)
        yield
        with torch.no_grad():
            after = torch.stack(self._steps)
            bounded = after.clamp(before / FACTOR, before * FACTOR)
            for step, value in zip(self._steps, bounded.unbind(), strict=True):
                step.copy_(value)
