"""`StepSizes`: keeps learned step sizes from leaping across zero, and all levels of weights in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rankfold.nn.holding import are_held_elsewhere
from rankfold.nn.learned_step import bounded_step
from rankfold.nn.quantised import QuantLayer, use_all_levels_
from rankfold.nn.quantisers import Quantiser


class StepSizes:
    """The step sizes of all quantisers of a network.

    Quantisers hold updates to a factor of two themselves (see `nn.learned_step.bounded_step`), and layers in
    training keep their weights' levels in use (`nn.learned_step.step_within`), but not inside steps that are
    compiled or recorded. This does both right after an update, with the same numbers.

    Args:
        network: with any number of quantisers, also none.
    """

    def __init__(self, network: nn.Module) -> None:
        self._quantisers: list[Quantiser] = []
        self._steps: list[torch.Tensor] = []
        self._layers: list[QuantLayer] = []
        for module in network.modules():
            if isinstance(module, Quantiser):
                self._quantisers.append(module)
                self._steps.append(module.step)
            if isinstance(module, QuantLayer):
                self._layers.append(module)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Hold what an update inside does to each of them to a factor of two, and keep all levels in use."""
        if not self._steps:
            yield
            return
        # Stacked: one operation for all of them, where each alone would cost as much.
        with torch.no_grad():
            before = torch.stack(self._steps)
        yield
        with torch.no_grad():
            bounded = bounded_step(torch.stack(self._steps), before)
            torch._foreach_copy_(self._steps, list(bounded.unbind()))
        for layer in self._layers:
            use_all_levels_(layer, may_wait=not are_held_elsewhere())

    def use_all_levels_(self) -> None:
        """Keep all levels in use before the first step, as layers do that are not held here."""
        for layer in self._layers:
            use_all_levels_(layer)

    def set_freely_(self) -> None:
        """After steps that were held here alone: quantisers bound what follows, and not what was."""
        for quantiser in self._quantisers:
            quantiser.set_freely_()
