"""Putting modules in the place of others: the one way in which layers of a network are replaced."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def swap_(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Put every replacement in the place of its module, in place, wherever that is registered.

    Args:
        model: the network.
        replacements: old module -> new module.
    """
    # A list, as the tree that is walked changes underway.
    for parent in list(model.modules()):
        # named_children would list a child of two names only once; the registry has them all.
        for name, child in list(parent._modules.items()):
            if child is not None and child in replacements:
                parent._modules[name] = replacements[child]
