"""Surgery that fails leaves the network as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

REGISTRIES = ("_modules", "_parameters", "_buffers")


@contextmanager
def unchanged_on_error(model: nn.Module) -> Iterator[None]:
    """Put back, where the block raises, every module, attribute, parameter and buffer of a network.

    The objects themselves come back, with the values that they had: an optimiser or a user who holds a
    parameter still holds that of the network. The values are copied once, on their device.
    """
    attributes: dict[nn.Module, dict[str, Any]] = {}
    registries: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for module in model.modules():
        attributes[module] = dict(vars(module))
        for name in REGISTRIES:
            registry = vars(module).get(name)
            # A scripted module has others, which nothing changes.
            if isinstance(registry, dict):
                registries.append((registry, dict(registry)))
    values: list[tuple[Tensor, Tensor, Tensor]] = []
    for tensor in [*model.parameters(), *model.buffers()]:
        if not is_lazy(tensor):
            # Its storage too, as `.data` may be given another.
            values.append((tensor, tensor.data, tensor.detach().clone()))
    try:
        yield
    except BaseException:  # a user's interrupt must not leave half a network either
        for module, known in attributes.items():
            vars(module).clear()
            vars(module).update(known)
        for registry, entries in registries:
            registry.clear()
            registry.update(entries)
        with torch.no_grad():
            for tensor, storage, value in values:
                storage.copy_(value)
                tensor.data = storage
        raise
