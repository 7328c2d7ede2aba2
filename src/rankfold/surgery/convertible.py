"""Which layers can be replaced."""

from __future__ import annotations

from torch import nn

from rankfold.errors import UnsupportedLayerError
from rankfold.workload.tracing.torch_layers import why_fixed


def check_convertible(name: str, module: nn.Module) -> None:
    """Refuse, by name, a layer whose behaviour a replacement would not carry over exactly.

    Raises:
        UnsupportedLayerError: `module` is no convolution or linear layer, or a subclass with behaviour of its
            own, has a parametrised weight, or hooks.
    """
    # Empty for modules of other classes, so these are asked about next.
    why = why_fixed(module)
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        why = f"is a {type(module).__name__}, not a plain nn.Conv2d or nn.Linear"
    if why:
        raise UnsupportedLayerError(f"layer {name} {why}; leave it dense in the plan, or exclude it")
