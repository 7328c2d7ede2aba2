"""Putting modules in the place of others: the one way in which layers of a network are replaced."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def swap_(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Put every replacement in the place of its module, in place, wherever that is registered.

    What is not trained of a module is not of its replacement: its bias, and all that its weight became.

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
    for module, made in replacements.items():
        _keep_frozen_(module, made)


def _keep_frozen_(module: nn.Module, made: nn.Module) -> None:
    before = dict(module.named_parameters())
    biases = [parameter for name, parameter in before.items() if _kind(name) == "bias"]
    weights = [parameter for name, parameter in before.items() if _kind(name) not in ("bias", "step")]
    for name, parameter in made.named_parameters():
        # Steps of quantisers are new, and nobody froze them.
        if _kind(name) == "step":
            continue
        came_from = weights
        if biases and _kind(name) == "bias":
            came_from = biases
        # A module without parameters says nothing.
        if came_from and not any(old.requires_grad for old in came_from):
            parameter.requires_grad_(False)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
