"""Whether data are scaled as those that a network was trained on: its first batch norm has seen them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.samples import Inputs, call

FAR = 5.0  # times the deviation in training, or that part of it


def unlike_training_in_words(model: nn.Module, batches: Iterable[Inputs]) -> str | None:
    """What there is to say where a network's first batch norm sees other values than in training; None:
    nothing, or it has no batch norm with statistics.

    Pixels of 0 to 255 for a network of -1 to 1, say, give a number and no error anywhere.

    Args:
        model: trained; it runs in eval mode, then is as before.
        batches: inputs of it, on its device; only the first one is used.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    known = {name: norm for name, norm in norms.items() if norm.running_var is not None}
    seen: dict[str, float] = {}

    def see(name: str, norm: nn.Module, values: Tensor) -> None:
        if not seen:
            seen[name] = _deviation(known[name], values)

    for batch in batches if known else ():
        with evaluating(model), observing(known, before=see), torch.no_grad():
            call(model, batch)
        break
    for name, deviation in seen.items():
        if not 1 / FAR <= deviation <= FAR:
            return (
                f"batch norm {name} sees values {deviation:.2g} times as far from its mean as in training: "
                "the data may be scaled otherwise than what the network was trained with (--normalise for "
                "images)"
            )
    return None


def _deviation(norm: _BatchNorm, values: Tensor) -> float:
    """How far values (B, C, ...) are from the running mean, beside the running deviation: about 1 where they
    are like those in training; the median over channels.
    """
    assert norm.running_mean is not None and norm.running_var is not None  # only such are asked
    flat = values.transpose(0, 1).flatten(1).double()  # (C, B * ...)
    squares = (flat - norm.running_mean[:, None].double()).square().mean(1)
    return float((squares / (norm.running_var.double() + norm.eps)).sqrt().median())
