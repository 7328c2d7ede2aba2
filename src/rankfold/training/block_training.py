"""One block of a network in training: what it gives comes nearer to values that are wanted of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from rankfold.calibration.output_losses import OutputLoss
from rankfold.calibration.outputs import ONLY
from rankfold.errors import InputError
from rankfold.nn.quantised import QuantConv2d, QuantLinear
from rankfold.nn.quantisers import Quantiser
from rankfold.training.distillation import Distillation
from rankfold.training.kept_values import KeptValues
from rankfold.training.reconstruction_recipe import BATCH
from rankfold.training.step_bounds import StepSizes

STEP_SHARE = 0.1  # of the rate, that step sizes are trained at
AT_A_TIME = 64  # samples whose error is measured
SOFT = Distillation()  # how scores are compared


class BlockLoss(Protocol):
    """How far outputs of a block are from those wanted, as a sum over samples, and what that is beside."""

    def __call__(self, outputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, and that which it is divided by."""


@dataclass(frozen=True)
class Squares:
    """Squared errors beside squares of what is wanted, each output with its weight.

    Attributes:
        importance: of each output of one sample; None: all count alike.
    """

    importance: Tensor | None

    def __call__(self, outputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """sum w (y - t)^2 and sum w t^2."""
        error, size = (outputs - wanted).square(), wanted.square()
        if self.importance is not None:
            error, size = self.importance * error, self.importance * size
        return error.sum(), size.sum()


@dataclass(frozen=True)
class OfOutputs:
    """What errors of the network's only output cost, scores softened as in distillation.

    Attributes:
        loss: that of the network's outputs.
    """

    loss: OutputLoss

    def __call__(self, outputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the samples, and their number."""
        apart = self.loss.apart({ONLY: outputs}, {ONLY: wanted}, SOFT.temperature)
        return apart * len(outputs), outputs.new_full((), len(outputs))


@dataclass(frozen=True)
class BlockTraining:
    """All that a block is trained with.

    Attributes:
        inputs: of the block, for each sample.
        wanted: what it is to give.
        loss: how far that is.
        steps: how many.
        rate: of Adam at the first step.
        seed: of the samples of each step.
        device: where the block is.
    """

    inputs: KeptValues
    wanted: KeptValues
    loss: BlockLoss
    steps: int
    rate: float
    seed: int
    device: torch.device

    def error(self, block: nn.Module) -> float:
        """Of all samples, inf where it is no finite number."""
        total = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for start in range(0, self.inputs.samples, AT_A_TIME):
                sums = self._sums(block, slice(start, start + AT_A_TIME))
                total += torch.stack(sums).double().cpu()
        error, size = total.tolist()
        if error == 0:
            return 0.0
        relative = error / size if size > 0 else error
        return relative if math.isfinite(relative) else math.inf

    def train_(self, block: nn.Module, each: Callable[[], None]) -> tuple[float, float]:
        """Train a block in eval mode; the error before and after.

        It stays as it was where it is not better in the end.

        Args:
            block: the module; batch norms keep their statistics.
            each: called after each step.

        Raises:
            InputError: the block gives values that are not finite.
        """
        before = self.error(block)
        if before == math.inf:
            raise InputError("values of the compressed network are not finite; its weights may be damaged")
        if before == 0:
            return before, before
        kept = {name: value.clone() for name, value in block.state_dict().items()}
        with torch.enable_grad():
            self._steps_(block, each)
        after = self.error(block)
        if after < before:
            return before, after
        block.load_state_dict(kept)
        return before, before

    def _steps_(self, block: nn.Module, each: Callable[[], None]) -> None:
        adam = torch.optim.Adam(_groups(block, self.rate))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.steps)
        step_sizes = StepSizes(block)
        # Its own, on the processor: the same samples on every device, and torch's random state untouched.
        draw = torch.Generator().manual_seed(self.seed)
        for layer in block.modules():
            # Only there do they keep all levels of weights in use.
            if isinstance(layer, (QuantConv2d, QuantLinear)):
                layer.training = True
        for _ in range(self.steps):
            samples = torch.randint(self.inputs.samples, (BATCH,), generator=draw)
            error, size = self._sums(block, samples)
            adam.zero_grad(set_to_none=True)
            (error / size.clamp(min=torch.finfo(size.dtype).tiny)).backward()  # type: ignore[no-untyped-call]
            with step_sizes.bounded():
                adam.step()
            schedule.step()
            each()
        for layer in block.modules():
            layer.training = False

    def _sums(self, block: nn.Module, samples: Tensor | slice) -> tuple[Tensor, Tensor]:
        outputs = block(self.inputs.of(samples, self.device))
        return self.loss(outputs, self.wanted.of(samples, self.device))


def trainable(block: nn.Module) -> bool:
    """Whether a block has anything to train."""
    return any(parameter.requires_grad for parameter in block.parameters())


def _groups(block: nn.Module, rate: float) -> list[dict[str, object]]:
    """The parameters of a block with their rates."""
    own = {id(module.step) for module in block.modules() if isinstance(module, Quantiser)}
    trained = [parameter for parameter in block.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if id(parameter) not in own]
    steps = [parameter for parameter in trained if id(parameter) in own]
    groups: list[dict[str, object]] = []
    for parameters, share in ((weights, 1.0), (steps, STEP_SHARE)):
        if parameters:
            groups.append({"params": parameters, "lr": share * rate})
    return groups
