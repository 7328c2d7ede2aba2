"""Low-rank pairs folded back to the dense layers they stand for."""

from __future__ import annotations

import copy

from torch import nn

from rankfold.errors import InputError
from rankfold.nn.plain import StandIn
from rankfold.nn.swap import swap_
from rankfold.nn.window_margins import WindowMarginsConv2d


def merge(model: nn.Module) -> nn.Module:
    """A copy of a compressed network with plain layers only: its weights fit the network that was compressed.

    A low-rank pair becomes one layer with the weight L R_. Quantised weights become the values that their
    levels stand for (those of L and R_ before they are multiplied); the rounding of inputs, and of the values
    between two stages, is dropped. So the merged network of a float one computes the same, and that of a
    quantised one computes nearly the same. A masked layer keeps its zeros. Channel-pruned layers are plain
    already.

    Args:
        model: the network after `compress_`, quantised or not; it is left as it is.

    Returns:
        The merged network, in the mode of `model`.

    Raises:
        InputError: a layer is of a kind that no plain layer equals.
    """
    merged = copy.deepcopy(model)
    # Inner modules first: a pair multiplies the weights of its stages, which are plain by then.
    modules: list[tuple[str, nn.Module]] = list(merged.named_modules())
    # But for those whose parts are none of the network's layers, which none could name.
    for name, module in modules:
        if isinstance(module, WindowMarginsConv2d):
            _dense(name, module)
    for name, module in reversed(modules):
        if not isinstance(module, StandIn):
            continue
        dense = _dense(name, module)
        # A network that is one layer has no parent in which it could be replaced.
        if module is merged:
            return dense
        swap_(merged, {module: dense})
    return merged


def _dense(name: str, module: StandIn) -> nn.Conv2d | nn.Linear:
    """The plain layer that a module equals; errors name the layer."""
    try:
        return module.to_dense()
    except InputError as error:
        raise InputError(f"layer {name}: {error}; the network cannot be merged") from None
