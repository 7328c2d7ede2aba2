"""Which torch layers a replacement can stand in for, and what the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

CALLED = "called as a function, and only modules can be replaced"


def as_declared(module: nn.Module) -> bool:
    """Whether a layer computes what its attributes declare: plain ones, and those that say `AS_DECLARED`."""
    from torch import nn

    if type(module) in (nn.Conv2d, nn.Linear):
        return True
    return getattr(type(module), "AS_DECLARED", False)


def why_fixed(module: nn.Module) -> str:
    """Why a convolution or linear layer can only stay as it is; empty where it may be replaced."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        plain = "nn.Conv2d"
    elif isinstance(module, nn.Linear):
        plain = "nn.Linear"
    else:
        return ""
    # The weight that a replacement would be made of is computed anew at each call.
    if hasattr(module, "parametrizations"):
        return (
            "has a parametrised weight; remove it first to replace the layer "
            "(torch.nn.utils.parametrize.remove_parametrizations)"
        )
    plain_type = type(module) in (nn.Conv2d, nn.Linear)
    # A forward of the instance's own is as good as a subclass.
    if not plain_type or "forward" in vars(module):
        return f"is a {type(module).__name__}, not a plain {plain}, so its behaviour would be lost"
    if has_hooks(module):
        return "has hooks, which its replacement would not call; remove them first to replace the layer"
    return ""


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks of any kind, of its own."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
