"""What is lost where a layer is skipped: each of its output channels becomes its mean.

The error of the outputs y (m,) at position p is y_p - E[y], a plain number for each. So the loss that the
second order foresees (see `calibration.sensitivity`) needs no matrix and no basis: with the gradients g_p of
one image's loss over the outputs it is

    1/2 E[(sum_p g_p^T (y_p - E[y]))^2],

which is gathered as it stands, in one pass over the data (`calibration.network_sensitivities`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rankfold.calibration.backward import LayerRun


class SkippedOutputs:
    """What one layer gives, and what the loss makes of its errors.

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
