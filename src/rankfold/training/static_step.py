"""`StaticStep`: a step of training that does the same operations on the same memory each time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rankfold.nn.fused import fused_passes
from rankfold.nn.holding import held_elsewhere
from rankfold.training.epoch_sums import sums_of
from rankfold.training.resident import ResidentImages
from rankfold.training.static_sgd import StaticSGD
from rankfold.training.step_bounds import StepSizes
from rankfold.training.stretch import Stretch

# Of a batch (images, labels): the losses, that to minimise first, and the logits.
Losses = Callable[[Tensor, Tensor], tuple[tuple[Tensor, ...], Tensor]]


class StaticStep:
    """One update of a network, all of it on the device: batch, augmentation, gradients, rate and sums.

    It takes nothing and returns nothing. What changes from step to step stands in tensors that it reads and
    writes; no shape depends on a value, and no value is asked for by the host. So it may be recorded once and
    played again (`captured.Captured`), and on a processor it is an ordinary function.

    Args:
        losses: of a batch, by the network in training mode.
        images: what batches are gathered from.
        stretch: what the next steps are made of.
        sgd: updates the network.
        step_sizes: of its quantisers.
        kinds: how many losses there are: 1, with a teacher 3.
        backend: of `torch.compile`, for passes of quantisers (`nn.fused`); None: they are not compiled.

    Attributes:
        sums: (kinds + 2,) float64, of losses, right images and images; each step adds its own.
    """

    def __init__(
        self,
        losses: Losses,
        *,
        images: ResidentImages,
        stretch: Stretch,
        sgd: StaticSGD,
        step_sizes: StepSizes,
        kinds: int,
        backend: str | None = None,
    ) -> None:
        self._losses = losses
        self._images = images
        self._stretch = stretch
        self._sgd = sgd
        self._step_sizes = step_sizes
        self._backend = backend
        self.sums = torch.zeros(kinds + 2, dtype=torch.float64, device=images.device)

    def __call__(self) -> None:
        """The update that is next."""
        row = self._stretch.row()
        x, y = self._images.batch(row.places, row.offsets, row.mirrored)
        with held_elsewhere(), fused_passes(self._backend):
            losses, logits = self._losses(x, y)
            # Not by `backward`: gradients that stay with the parameters would be memory of the recording.
            gradients = torch.autograd.grad(losses[0], self._sgd.parameters, allow_unused=True)
            with self._step_sizes.bounded():
                self._sgd.step_(gradients, row.rate)
        self.sums.add_(sums_of(losses, logits, y))
        self._stretch.advance_()
