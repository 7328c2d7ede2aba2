"""Which parts of a network can be made to give what those of another give, one after another: its blocks.

A layer within a residual sum has outputs that the rest of the sum can make up for, so that the sum is what
counts (Li et al., BRECQ, ICLR 2021). The block of a layer is the smallest module around it, with one tensor
in and one out, in which some way from the input to the output goes around the layer: it holds the whole sum.
A layer without one is a block by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rankfold.calibration.observation import evaluating
from rankfold.calibration.recorded_graph import edges_of, reached_from, recorded
from rankfold.calibration.samples import Inputs, call, cut, map_tensors, size_of
from rankfold.workload.tracing.watching import Watch, watching

SAMPLES = 2  # that networks run on here: of one alone, the dimension of samples could not be told from others


@dataclass(frozen=True)
class Block:
    """A module that takes one tensor and gives one, each with the samples in its first dimension.

    Attributes:
        name: of the module.
        layers: in it, by name.
        is_last: whether what it gives is what the network gives.
    """

    name: str
    layers: tuple[str, ...]
    is_last: bool


def blocks(reference: nn.Module, model: nn.Module, inputs: Inputs) -> tuple[Block, ...]:
    """The blocks of a network that has the same modules in another, in the order in which they run.

    No layer is in two of them. Layers are in none where neither they nor a module around them runs once, on
    one tensor, and gives one of the same shape in both networks, which outputs depend on: what is read by
    skipped layers alone counts for nothing.

    Args:
        reference: any network, such as the dense one; it runs in eval mode, then is as before.
        model: the other, such as what surgery made of it; likewise.
        inputs: of either, on its device.
    """
    size = size_of(inputs)
    few = cut(inputs, size, 0, min(size, SAMPLES))
    calls = _calls(reference, few)
    others = _calls(model, few)
    shared: dict[str, _Call] = {}
    for name, one in calls.items():
        if name in others and others[name].shape == one.shape:
            shared[name] = one
    chosen: dict[str, list[str]] = {}
    layers = _layers(reference)
    for layer in layers:
        own = _block_of(layer, layers, shared, calls)
        if own is not None:
            chosen.setdefault(own, []).append(layer)
    found = []
    for name in calls:  # as they end
        # A gate within a residual block, which has a block of its own, belongs to the larger one.
        if name not in chosen or any(_holds(other, name) for other in chosen if other != name):
            continue
        inside = [layer for layer in layers if _holds(name, layer)]
        found.append(Block(name, tuple(inside), calls[name].is_last))
    return tuple(found)


def _block_of(
    layer: str, layers: Mapping[str, nn.Module], shared: Mapping[str, _Call], calls: Mapping[str, _Call]
) -> str | None:
    """The smallest module that holds the sum that a layer is part of; else the smallest there is, or None."""
    parts = layer.split(".")
    around = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    smallest: str | None = None
    for name in around:
        # All of the network is no part of it.
        is_part = name == layer or not all(_holds(name, other) for other in layers)
        if name not in shared or not is_part:
            continue
        if smallest is None:
            smallest = name
        if name != layer and layer in calls and shared[name].goes_around(calls[layer]):
            return name
    return smallest


def _holds(name: str, other: str) -> bool:
    """Whether a module is another, or holds it."""
    return (other + ".").startswith(name + ".")


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """What multiplies by weights: modules with parameters of their own of several dimensions."""
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if name and any(parameter.ndim > 1 for parameter in module.parameters(recurse=False)):
            layers[name] = module
    return layers


@dataclass(frozen=True)
class _Call:
    """The only call of a module, of one tensor and to one tensor.

    Attributes:
        given: the operation that gave its input.
        gives: the operation that gave its output.
        shape: of the output.
        is_last: whether the network gives that output.
    """

    given: Any
    gives: Any
    shape: torch.Size
    is_last: bool

    def goes_around(self, layer: _Call) -> bool:
        """Whether a way from the input to the output does not pass a layer."""
        read = edges_of([self.gives])
        return self.given in reached_from([self.gives], read, {layer.gives})


def _calls(model: nn.Module, inputs: Inputs) -> dict[str, _Call]:
    """The modules that run once, take one tensor and give one that outputs depend on, in the order in which
    their calls end.
    """
    size = size_of(inputs)
    given: dict[str, list[Any]] = {}  # by call: the operation before it, None where it cannot be a block
    ended: dict[str, tuple[Any, torch.Size]] = {}

    def watch(name: str, module: nn.Module) -> Watch:
        def before(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            alone = len(arguments) == 1 and not keywords and _is_recorded(arguments[0], size)
            # Now, as the module may change its input in place.
            made_by = arguments[0].grad_fn if alone else None
            given.setdefault(name, []).append(made_by)

        def after(_: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
            if _is_recorded(output, size):
                ended[name] = output.grad_fn, output.shape

        return Watch(module, before, after)

    watches = [watch(name, module) for name, module in model.named_modules() if name]
    with evaluating(model), torch.enable_grad(), watching(watches):
        output = call(model, map_tensors(inputs, recorded))
    last = output.grad_fn if isinstance(output, Tensor) else None
    leads_on = _behind(output)
    calls: dict[str, _Call] = {}
    for name, (gives, shape) in ended.items():
        if len(given[name]) == 1 and given[name][0] is not None and (leads_on is None or gives in leads_on):
            calls[name] = _Call(given[name][0], gives, shape, gives is last)
    return calls


def _behind(output: Any) -> set[Any] | None:
    """The operations that outputs of a network depend on; None where nothing is known of any."""
    tensors = [value for value in tree_leaves(output) if isinstance(value, Tensor)]
    roots = [value.grad_fn for value in tensors if value.grad_fn is not None]
    return set(edges_of(roots)) if roots else None


def _is_recorded(value: Any, size: int) -> bool:
    """Whether a value is a tensor with so many samples, whose graph is known."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == size and value.grad_fn is not None
