"""Running a network over data only to look at it: eval mode, no gradients, every mode restored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rankfold.errors import InputError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; afterwards every module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def run_batches(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Call `model` on every batch (inputs on its device) and drop the results.

    Raises:
        InputError: there is no batch.
    """
    count = 0
    for batch in batches:
        model(batch)
        count += 1
    if count == 0:
        raise InputError("batches is empty; pass at least one batch of inputs")
