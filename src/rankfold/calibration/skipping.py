"""What is lost where a layer is skipped: each of its output channels becomes its mean.

The error of the outputs y (m,) at position p is y_p - E[y], a plain number for each. So the loss that the
second order foresees (see `calibration.sensitivity`) needs no matrix and no basis: with the gradients g_p of
one image's loss over the outputs it is

    1/2 E[(sum_p g_p^T (y_p - E[y]))^2],

which is gathered as it stands, in one pass over the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rankfold.calibration.backward import Backward, LayerRun
from rankfold.calibration.output_losses import OutputLoss, ScoreLoss
from rankfold.calibration.samples import Inputs
from rankfold.calibration.sensitivity import TEMPERATURE


def skipping_losses(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    seed: int = 0,
    temperature: float = TEMPERATURE,
    *,
    loss: OutputLoss | None = None,
) -> dict[str, float]:
    """The predicted increase of the loss, in its unit per image, where single layers are skipped.

    Args:
        model: as of `calibration.sensitivity.sensitivities`.
        batches: inputs of the model, on its device.
        names: of convolutions.
        seed: of the labels drawn; those of `sensitivities` under the same one.
        temperature: as there.
        loss: what errors of the outputs cost; None: as of scores (B, classes).

    Raises:
        InputError: see `sensitivities`.
    """
    if not names:
        return {}
    seen = {name: _Seen() for name in names}
    loss = loss or ScoreLoss()
    for name, runs, images in Backward(model, list(batches), names, seed, temperature, loss=loss):
        seen[name].add(runs, images)
    return {name: own.loss() for name, own in seen.items()}


class _Seen:
    """What is known of one layer.

    Where a layer runs several times, the positions of all runs are those of one image.
    """

    def __init__(self) -> None:
        self._products: list[Tensor] = []  # (B,) sum_p g_p^T y_p
        self._gradients: list[Tensor] = []  # (B, m) sum_p g_p
        self._sums: list[Tensor] = []  # (m,) sum of y
        self._positions = 0

    @torch.no_grad()
    def add(self, runs: Sequence[LayerRun], images: int) -> None:
        """Add one batch of images."""
        products, gradients = [], []
        for run in runs:
            assert isinstance(run.layer, nn.Conv2d)  # names of convolutions
            outputs = run.layer(run.inputs).double().flatten(2)  # (B, m, P)
            slopes = run.gradient.double().flatten(2)
            # Parts of one image follow each other.
            products.append((outputs * slopes).reshape(images, -1).sum(1))
            gradients.append(slopes.sum(2).reshape(images, -1, slopes.shape[1]).sum(1))
            self._sums.append(outputs.sum((0, 2)))
            self._positions += len(outputs) * outputs.shape[2]
        self._products.append(torch.stack(products).sum(0))
        self._gradients.append(torch.stack(gradients).sum(0))

    def loss(self) -> float:
        """1/2 E[(sum_p g_p^T (y_p - E[y]))^2]."""
        mean = torch.stack(self._sums).sum(0) / self._positions
        slopes = torch.cat(self._products) - torch.cat(self._gradients) @ mean
        return float(slopes.square().mean()) / 2
