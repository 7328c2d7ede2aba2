"""Whether somebody takes part in what a module computes, or looks on: then it has to be called as it is."""

from __future__ import annotations

import torch
from torch import nn

from rankfold.workload.tracing.torch_layers import has_hooks


def is_altered(module: nn.Module) -> bool:
    """Whether a module has what another one in its place would not: hooks, or a `forward` of its own."""
    return has_hooks(module) or "forward" in vars(module)


def is_seen(module: nn.Module) -> bool:
    """Whether something takes part in what a module computes, or gets its input, output or gradients.

    Hooks of all modules count, too: they would not be called where the module is not.
    """
    found = torch.nn.modules.module
    everywhere = (
        found._global_forward_hooks,
        found._global_forward_pre_hooks,
        found._global_backward_hooks,
        found._global_backward_pre_hooks,
    )
    return is_altered(module) or any(everywhere)
