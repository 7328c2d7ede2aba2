"""Knowledge distillation: the network learns from the outputs of another one, beside the labels."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import NUMBER, SWITCH, WHOLE, check_fields
from rankfold.calibration.output_losses import AGREEMENT, OutputLoss, soft_divergence
from rankfold.calibration.outputs import output_tensors
from rankfold.calibration.samples import Inputs, call, size_of
from rankfold.errors import InputError
from rankfold.training.device import place_
from rankfold.training.folding import folded
from rankfold.training.half import bfloat16_steps

# As is common on CIFAR since Zagoruyko & Komodakis (ICLR 2017).
WEIGHT = 0.9
TEMPERATURE = 4.0


@dataclass(frozen=True)
class Distillation:
    """How much the outputs of a teacher count, and how soft they are made (Hinton, Vinyals & Dean 2015).

    Attributes:
        weight: w, share of the loss that is the teacher's, 0 to 1; the labels have the rest.
        temperature: T, that the logits of both networks are divided by.
        labels: whether labels have the rest; False: nobody looks at them, w is 1, and outputs may be of any
            sort (`calibration.output_losses`).
        images: training images without labels that are learnt from, drawn under the seed; None: all.
    """

    weight: float = WEIGHT
    temperature: float = TEMPERATURE
    labels: bool = True
    images: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, weight=NUMBER, temperature=NUMBER, labels=SWITCH, images=WHOLE.or_none)
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight of distillation (={self.weight}) must be a share from 0 to 1")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature of distillation (={self.temperature}) must be a positive number")
        if not self.labels and self.weight != 1:
            raise InputError(
                f"weight of distillation (={self.weight}) must be 1 where labels are not looked at "
                "(labels=False)"
            )
        if self.images is None:
            return
        if self.labels:
            raise InputError(
                f"images (={self.images}) of distillation are of that without labels; omit them, or give "
                "labels=False"
            )
        if self.images < 2:
            raise InputError(f"images (={self.images}) to learn from must be 2 or more")

    @classmethod
    def unlabelled(cls, images: int | None = None) -> Distillation:
        """By the dense network alone; nobody looks at labels.

        Args:
            images: that are learnt from; None: all there are.
        """
        return cls(weight=1.0, labels=False, images=images)

    def to_json(self) -> dict[str, Any]:
        """As runs are known by it; what is usual is left out, as older ones knew no other."""
        content: dict[str, Any] = {"weight": self.weight, "temperature": self.temperature}
        if not self.labels:
            content |= {"labels": False, "images": self.images}
        return content

    def soft_loss(self, logits: Tensor, taught: Tensor) -> Tensor:
        """T^2 KL(softmax(taught / T) || softmax(logits / T)), mean over the batch.

        Args:
            logits: (B, classes) of the network that learns.
            taught: (B, classes) of its teacher.
        """
        return soft_divergence(logits, taught, self.temperature)

    def loss(self, hard: Tensor, soft: Tensor) -> Tensor:
        """(1 - w) `hard` + w `soft`: what is minimised, of the losses against the labels and the teacher."""
        rest = 1 - self.weight
        return rest * hard + self.weight * soft


class Teacher:
    """A frozen copy of a network, as it is now, in eval mode.

    It sees every batch just as the network that learns does. Its outputs cannot be computed once and kept:
    each epoch cuts and mirrors every image anew, so that no image comes twice.

    Args:
        network: the network that knows; it is copied.
        distillation: how it teaches.
        loss: what its outputs are, where it teaches without labels.
    """

    def __init__(
        self, network: nn.Module, distillation: Distillation, loss: OutputLoss | None = None
    ) -> None:
        self.network = copy.deepcopy(network)
        self.network.eval()
        self.network.requires_grad_(False)
        self.distillation = distillation
        self.loss = loss
        self._half = False
        self._compiled = False
        self._folded: nn.Module | None = None  # the network in fewer operations, once it has seen a batch

    def prepare_(self, device: torch.device, compiled: bool, half: bool) -> None:
        """Make the teacher ready to see what its pupil sees, and as its pupil does.

        Args:
            device: where it moves, channels last.
            compiled: whether to run it through `torch.compile`.
            half: whether to run it under bfloat16 autocast.
        """
        self._half, self._compiled = half, compiled
        self._folded = None
        place_(self.network, device)
        if compiled:
            self.network.compile()

    def fold_(self, x: Inputs) -> None:
        """Fold the batch norms now, by a batch like those to come, where `losses` would do so at its first.

        Networks that learn on streams of their own share what the stream of their caller has made.
        """
        self._running(x)

    def losses(self, x: Inputs, logits: Tensor, hard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss to minimise, and the two that it weighs, against the labels and against this teacher.

        Args:
            x: the batch, (B, C, H, W) or several inputs.
            logits: (B, classes) of the network that learns, float32.
            hard: its loss against the labels.
        """
        network = self._running(x)
        with torch.no_grad(), bfloat16_steps(logits.device, self._half):
            taught = call(network, x)
        soft = self.distillation.soft_loss(logits, taught.float())
        total = self.distillation.loss(hard, soft)
        return total, hard, soft

    def lesson(self, x: Inputs, given: Any) -> tuple[Tensor, Tensor]:
        """Without labels: the loss to minimise, and for how many samples both networks say the same; not a
        number where outputs are values.

        Args:
            x: the batch.
            given: what the network that learns gives for it.
        """
        assert self.loss is not None  # it teaches without labels
        network, size = self._running(x), size_of(x)
        ours = {where: value.float() for where, value in output_tensors(given, size).items()}
        device = next(iter(ours.values())).device
        with torch.no_grad(), bfloat16_steps(device, self._half):
            taught = output_tensors(call(network, x), size)
        wanted = {where: value.float() for where, value in taught.items()}
        with torch.no_grad():
            alike = self.loss.alike(ours, wanted) * size
        if self.loss.likeness != AGREEMENT:
            alike = torch.full_like(alike, math.nan)
        return self.loss.apart(ours, wanted, self.distillation.temperature), alike

    def _running(self, x: Inputs) -> nn.Module:
        """The network as it runs: with batch norms folded into convolutions, as compilers do themselves."""
        if self._compiled:
            return self.network
        if self._folded is None:
            self._folded = folded(self.network, x)
        return self._folded
