"""Where a network is, and in which numbers it computes."""

from __future__ import annotations

import torch
from torch import nn

from rankfold.arguments import Wanted

# For `arguments.takes`.
MODEL = Wanted("a torch.nn.Module", nn.Module)


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter, or of the first buffer where there is none, else the CPU."""
    for parameter in model.parameters():
        return parameter.device
    for buffer in model.buffers():
        return buffer.device
    return torch.device("cpu")


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of the first parameter, else torch's default, in which a network without any computes."""
    for parameter in model.parameters():
        return parameter.dtype
    return torch.get_default_dtype()
