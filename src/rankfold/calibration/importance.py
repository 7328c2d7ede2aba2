"""How much errors of a layer's outputs count together: the second moments of the loss's gradients over them.

Let a layer give outputs y (m',) for each patch, such as all pixels of a window, and let its weight be off by
D, so that y is off by D x. To the second order the loss rises by 1/2 E[(g^T D x)^2], with gradients g of the
loss over y (see `calibration.sensitivity`, which says whose loss). If g tells nothing of x, this is

    1/2 tr(P D S D^T),    P = E[g g^T],    S = E[x x^T]    (Kronecker factors, Martens & Grosse 2015),

where errors of different patches of an image are taken to be independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.backward import Backward
from rankfold.calibration.output_losses import OutputLoss, ScoreLoss
from rankfold.calibration.patches import ByPatch
from rankfold.calibration.samples import Inputs, cut, size_of
from rankfold.calibration.sensitivity import TEMPERATURE

IMAGES = 64  # gone through at a time, as a way back keeps what every layer read
FLOOR = 0.1  # of the mean importance of an output, which every output has beyond its own


def output_importance(
    model: nn.Module,
    batches: Iterable[Inputs],
    layers: Mapping[str, Sequence[ByPatch]],
    seed: int = 0,
    temperature: float = TEMPERATURE,
    *,
    loss: OutputLoss | None = None,
) -> dict[str, tuple[np.ndarray, ...]]:
    """P of some layers, (G, m'/G, m'/G) for each matrix, over all of its patches; outputs that a patch lacks
    have no gradient.

    Args:
        model: the network; in eval mode while it runs, then as before.
        batches: inputs of the model, on its device.
        layers: how the gradients of each are told by the patches of each matrix that computes it.
        seed: of the labels that are drawn.
        temperature: as in `calibration.network_sensitivities.sensitivities`.
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Raises:
        InputError: the outputs are not those of this loss, or not finite.
    """
    means: dict[str, list[_Mean]] = {}
    parts = list(_parts(batches))
    for name, runs, _ in Backward(model, parts, list(layers), seed, temperature, loss=loss or ScoreLoss()):
        for run in runs:
            own = means.setdefault(name, [_Mean() for _ in layers[name]])
            for by_patch, mean in zip(layers[name], own, strict=True):
                mean.add(by_patch(run.gradient))
    return {name: tuple(mean.value() for mean in own) for name, own in means.items()}


def module_importance(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    seed: int = 0,
    *,
    loss: OutputLoss | None = None,
) -> dict[str, Tensor]:
    """E[g^2] of each output of some modules, the diagonal of the Fisher information (Li et al., ICLR 2021,
    eq. 10), with labels drawn from the network's own scores, or what else its outputs say.

    Args:
        model: the network; in eval mode while it runs, then as before.
        batches: inputs of the model, on its device.
        names: of modules that run once, of any type, and give one tensor (B, ...).
        seed: of the labels that are drawn.
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Returns:
        For each module a tensor of the shape of one output, with mean 1; ones where the loss does not depend
        on it.

    Raises:
        InputError: the outputs are not those of this loss, or not finite.
    """
    sums: dict[str, Tensor] = {}
    parts = list(_parts(batches))
    for name, runs, _ in Backward(model, parts, names, seed, 1.0, find=_modules, loss=loss or ScoreLoss()):
        for run in runs:
            part = run.gradient.square().sum(0)
            sums[name] = sums[name] + part if name in sums else part
    importance = {}
    for name, total in sums.items():
        mean = total.mean()
        importance[name] = total / mean if mean > 0 else torch.ones_like(total)
    return importance


def _modules(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    return {name: model.get_submodule(name) for name in names}


class _Mean:
    """E[g g^T] of one matrix."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._patches = 0

    def add(self, gradient: Tensor) -> None:
        """Add gradients (B, G, m'/G, P)."""
        part = torch.einsum("bgip,bgjp->gij", gradient, gradient).double()
        self._total = part if self._total is None else self._total + part
        self._patches += len(gradient) * gradient.shape[3]

    def value(self) -> np.ndarray:
        """(G, m'/G, m'/G)."""
        assert self._total is not None  # made for a gradient
        return (self._total / self._patches).cpu().numpy()


def with_floor(mean: np.ndarray, share: np.ndarray | None = None) -> np.ndarray:
    """P with a tenth of the mean of its diagonal added to that.

    It is an average over few images, and the errors of a compressed network are not small.

    Args:
        mean: (G, m'/G, m'/G) E[g g^T] over all patches, see `output_importance`.
        share: (m',) of all patches, those that have each output; None: all have all.

    Returns:
        (G, m'/G, m'/G) over the patches that have the outputs, for outputs of the same patches. So the floor
        of each output counts as often as the output is there, like its own importance.
    """
    if share is not None:
        scale = np.sqrt(share).reshape(len(mean), -1)  # (G, m'/G)
        mean = mean / (scale[:, :, None] * scale[:, None])
    average = np.einsum("gii->g", mean) / mean.shape[1]
    # Where the loss depends on no output of a group, all count alike.
    floor = np.where(average > 0, FLOOR * average, 1.0)
    raised: np.ndarray = mean + floor[:, None, None] * np.eye(mean.shape[1])
    return raised


def _parts(batches: Iterable[Inputs]) -> Iterator[Inputs]:
    """The batches, cut into parts of few images."""
    for batch in batches:
        size = size_of(batch)
        for start in range(0, size, IMAGES):
            yield cut(batch, size, start, min(start + IMAGES, size))
