"""Second moments of the patches that a network's convolutions and linear layers read, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.nn.observation import evaluating
from rankfold.nn.patches import patches

CHUNK = 1 << 24  # values of patches unfolded at a time, 128 MiB in float64


@dataclass(frozen=True)
class PatchMoments:
    """What data-aware decomposition needs of one layer's inputs; those of a linear layer are vectors, G = kh = kw = 1.

    Attributes:
        second: (G, n, n) E[x x^T] of the patches of each group, n = C_in/G * kh * kw, ordered (channel, ky, kx).
        cross: (G, n, n) E[x0 x^T] with the patches x0 of the dense network, where x are those of a changed one; else None.
    """

    second: np.ndarray
    cross: np.ndarray | None = None


def patch_moments(model: nn.Module, batches: Iterable[Tensor], names: Sequence[str]) -> dict[str, PatchMoments]:
    """Run `model` over data and gather the moments of the layers `names`.

    A layer that runs several times gathers all its runs. Memory holds the moments and a part of one batch's patches.

    Args:
        model: any network with plain `nn.Conv2d` or `nn.Linear` of these names; while it runs in eval mode, then as before.
        batches: inputs of the model, on its device.
        names: of convolutions and linear layers.

    Raises:
        InputError: there is no batch, or a layer never runs.
    """
    return {name: PatchMoments(second) for name, (second, _) in _gather(model, None, batches, names).items()}


def paired_moments(model: nn.Module, dense: nn.Module, batches: Iterable[Tensor], name: str) -> PatchMoments:
    """The moments of one layer of `model`, and those between it and the same one of `dense`, on the same inputs.

    Errors as `patch_moments`; the layer must run as often in both.
    """
    second, cross = _gather(model, dense, batches, [name])[name]
    return PatchMoments(second, cross)


def _gather(
    model: nn.Module, dense: nn.Module | None, batches: Iterable[Tensor], names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    layers = {name: _layer(model, name) for name in names}
    sums: dict[str, list[Any]] = {name: [0.0, 0.0, 0] for name in names}
    seen: dict[str, list[Tensor]] = {}
    here: dict[str, list[Tensor]] = {}
    with evaluating(model), _recording(model, names, here):
        for batch in batches:
            if dense is not None:
                with evaluating(dense), _recording(dense, names, seen):
                    dense(batch)
            model(batch)
            for name, layer in layers.items():
                others = seen.pop(name, [None] * len(here.get(name, [])))
                for inputs, other in zip(here.pop(name, []), others, strict=True):
                    _add(sums[name], layer, inputs, other)
    found = {}
    for name, (second, cross, count) in sums.items():
        if count == 0:
            raise InputError(f"layer {name} never ran on the calibration data; give batches that reach it")
        found[name] = (second / count).cpu().numpy(), None if dense is None else (cross / count).cpu().numpy()
    return found


def _add(sums: list[Any], layer: nn.Conv2d | nn.Linear, inputs: Tensor, other: Tensor | None) -> None:
    """Add the moments of a batch, a few images at a time."""
    kernel = layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1
    step = max(1, CHUNK // max(1, inputs[0].numel() * kernel))
    for start in range(0, len(inputs), step):
        found = _patches(layer, inputs[start : start + step])
        sums[0] = sums[0] + found @ found.transpose(1, 2)
        if other is not None:
            sums[1] = sums[1] + _patches(layer, other[start : start + step]) @ found.transpose(1, 2)
        sums[2] += found.shape[2]


def _patches(layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
    """(G, n, patches) in float64."""
    return patches(layer, inputs.double()).permute(1, 2, 0, 3).flatten(2)


@contextmanager
def _recording(model: nn.Module, names: Sequence[str], found: dict[str, list[Tensor]]) -> Iterator[None]:
    """Keep the inputs of the named modules while inside."""
    hooks = []
    for name in names:

        def record(_: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor], name: str = name) -> None:
            found.setdefault(name, []).append((inputs[0] if inputs else keywords["input"]).detach())

        hooks.append(_layer(model, name).register_forward_pre_hook(record, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _layer(model: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        raise InputError(f"layer {name} of the network is no nn.Conv2d or nn.Linear; moments are gathered for these")
    return module
