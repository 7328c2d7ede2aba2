"""Weights that are no numbers, as a damaged file or a training that diverged leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from rankfold.errors import InputError

UNSET = "quantiser.step"  # NaN by itself until it is set, which quantisers see to


def check_numbers(weights: Mapping[str, Any], where: str) -> None:
    """Refuse weights of which one is NaN: the class of largest score would be 0 for whatever comes in.

    Infinite ones pass, as masks have them, and so does what is no tensor, the extra state of a module.

    Args:
        weights: a state dict.
        where: it is from, in words.

    Raises:
        InputError: one is NaN; the message names the first.
    """
    for name, value in weights.items():
        if name.endswith(UNSET) or not isinstance(value, Tensor):
            continue
        if is_lazy(value) or not value.is_floating_point() or value.is_meta:
            continue
        if bool(torch.isnan(value).any()):
            raise InputError(
                f"{where}: {name} holds values that are no numbers (NaN); give weights of a training that "
                "did not diverge"
            )
