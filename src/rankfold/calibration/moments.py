"""Second moments of the patches that a network's convolutions and linear layers read, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.patches import patches
from rankfold.errors import InputError

CHUNK = 1 << 24  # values of patches unfolded at a time, 128 MiB in float64
WORK = 16 * 1152**2  # products n^2 spent on an image's patches in one layer: 1,024 patches of 144 inputs, 16 of 1,152
FEWEST = 16  # patches taken of an image, if it has them
CONSTANT = 1e-12  # share of an input's power up to which its variance is rounding


@dataclass(frozen=True)
class PatchMoments:
    """What data-aware decomposition needs of one layer's inputs; those of a linear layer are vectors, G = kh = kw = 1.

    Attributes:
        second: (G, n, n) E[x x^T] of the patches of each group, n = C_in/G * kh * kw, ordered (channel, ky, kx).
        mean: (G, n) E[x].
        cross: (G, n, n) E[x0 x^T] with the patches x0 of the dense network, where x are those of a changed one; else None.
        dense_mean: (G, n) E[x0]; None where `cross` is.
    """

    second: np.ndarray
    mean: np.ndarray
    cross: np.ndarray | None = None
    dense_mean: np.ndarray | None = None

    def centred(self) -> PatchMoments:
        """The moments of x - E[x] and x0 - E[x0], for factors whose constant output error is taken away afterwards."""
        second = self.second - self.mean[:, :, None] * self.mean[:, None]
        power, variance = (np.einsum("gii->gi", moments) for moments in (self.second, second))
        # What is left of an input that never changes is rounding, of which no positive definite matrix could be made.
        changing = variance > CONSTANT * power
        second = np.where(changing[:, :, None] & changing[:, None], second, 0.0)
        if self.cross is None or self.dense_mean is None:
            return PatchMoments(second, np.zeros_like(self.mean))
        cross = np.where(changing[:, None], self.cross - self.dense_mean[:, :, None] * self.mean[:, None], 0.0)
        return PatchMoments(second, np.zeros_like(self.mean), cross, np.zeros_like(self.mean))


def patch_moments(model: nn.Module, batches: Iterable[Tensor], names: Sequence[str]) -> dict[str, PatchMoments]:
    """Run `model` over data and gather the moments of the layers `names`.

    A layer that runs several times gathers all its runs. Memory holds the moments and a part of one batch's patches. Of an image
    with many patches of many inputs a sample is taken, as neighbours tell much the same: at most 16 * 1152^2 / n^2 of them but
    never fewer than 16, at positions drawn anew for every image, the same ones for the same batches. No layer of ResNet-20 has so
    many; those of ResNet-50 at 224 x 224 have.

    Args:
        model: any network with plain `nn.Conv2d` or `nn.Linear` of these names; while it runs in eval mode, then as before.
        batches: inputs of the model, on its device.
        names: of convolutions and linear layers.

    Raises:
        InputError: there is no batch, or a layer never runs.
    """
    return _gather(model, None, batches, names)


def paired_moments(model: nn.Module, dense: nn.Module, batches: Iterable[Tensor], name: str) -> PatchMoments:
    """The moments of one layer of `model`, and those between it and the same one of `dense`, on the same inputs.

    Errors as `patch_moments`; the layer must run as often in both.
    """
    return _gather(model, dense, batches, [name])[name]


def _gather(
    model: nn.Module, dense: nn.Module | None, batches: Iterable[Tensor], names: Sequence[str]
) -> dict[str, PatchMoments]:
    layers = {name: _layer(model, name) for name in names}
    sums = {name: _Sums() for name in names}
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
    for name, gathered in sums.items():
        if gathered.count == 0:
            raise InputError(f"layer {name} never ran on the calibration data; give batches that reach it")
    return {name: gathered.moments(dense is not None) for name, gathered in sums.items()}


@dataclass
class _Sums:
    """Sums over the patches of one layer seen so far, in float64."""

    count: int = 0
    second: Tensor | float = 0.0
    mean: Tensor | float = 0.0
    cross: Tensor | float = 0.0
    dense_mean: Tensor | float = 0.0

    def moments(self, paired: bool) -> PatchMoments:
        """The averages."""
        sums = (self.second, self.mean, self.cross, self.dense_mean)
        return PatchMoments(*((torch.as_tensor(total) / self.count).cpu().numpy() for total in sums[: 4 if paired else 2]))


def _add(sums: _Sums, layer: nn.Conv2d | nn.Linear, inputs: Tensor, other: Tensor | None) -> None:
    """Add the moments of a batch, a few images at a time."""
    if inputs.ndim == 1:
        inputs, other = inputs[None], None if other is None else other[None]
    kernel = layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1
    step = max(1, CHUNK // max(1, inputs[0].numel() * kernel))
    for start in range(0, len(inputs), step):
        columns = _columns(layer, inputs[start : start + step])
        groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        chosen = _chosen(columns.shape, groups, sums.count)
        found = _patches(columns, chosen, groups)
        sums.count += found.shape[2]
        sums.second = sums.second + found @ found.transpose(1, 2)
        sums.mean = sums.mean + found.sum(dim=2)
        if other is not None:
            dense = _patches(_columns(layer, other[start : start + step]), chosen, groups)
            sums.cross = sums.cross + dense @ found.transpose(1, 2)
            sums.dense_mean = sums.dense_mean + dense.sum(dim=2)


def _columns(layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
    """(B, C_in*kh*kw, positions), the patches of every image."""
    return patches(layer, inputs).flatten(1, 2)


def _chosen(shape: torch.Size, groups: int, seed: int) -> Tensor | None:
    """(B, kept) positions of each image to gather, drawn without return; None: all of them."""
    images, n, positions = shape
    kept = max(FEWEST, WORK * groups // n**2)
    if kept >= positions:
        return None
    return torch.rand(images, positions, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)[:, :kept]


def _patches(columns: Tensor, chosen: Tensor | None, groups: int) -> Tensor:
    """(G, n, patches) in float64."""
    if chosen is not None:
        columns = columns.gather(2, chosen.to(columns.device)[:, None].expand(-1, columns.shape[1], -1))
    return columns.double().reshape(len(columns), groups, -1, columns.shape[2]).permute(1, 2, 0, 3).flatten(2)


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
