"""How much errors of a network's outputs matter: the loss, and gradients that have its curvature.

Let y be the outputs that the dense network gives for an image, and p(t | y) a model of what they say. What
is lost where they become y + e is the divergence KL(p(. | y) || p(. | y + e)), to the second order
1/2 e^T F e with the Fisher information F. All that is known of layers is made of single gradients over
weights (see `calibration.sensitivity`), so that F is drawn, too: gradients a over y with E[a a^T] = F serve
as those of any loss, in one way back.

- Scores: a class t at each position, softmax(z / T) of scores z; a = softmax(z / T) - onehot(t) with t
  drawn; T = 1 where classes are many (`softness`). The loss is the mean over an output's P positions, in
  nats, and a has 1 / sqrt(P); several outputs add up.
- Values: each is normally distributed around y with the variance s^2 of its channel over the samples. The
  divergence is e^2 / (2 s^2). Its mean over channels and positions, times two, is the share of the outputs'
  variance that the error is, 1 where a network gives its mean outputs for every image; that is the loss, as
  it has no unit and means the same for all networks. With N such numbers in an image a is sqrt(2 / N) / s
  times standard normal draws. Of several outputs, which may be of very different sizes, it is the mean.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.calibration.outputs import (
    PROBABILITIES,
    SCORES,
    OutputModel,
    OutputsError,
    check_finite,
    dimension,
    output_tensors,
)
from rankfold.plan.prediction import NATS, RELATIVE_ERROR

# What networks are measured by beside the dense one, without labels.
AGREEMENT, OUTPUT_ERROR = "agreement", "relative output error"

MANY_CLASSES = 1000  # above which scores are not softened

Outputs = Mapping[str, Tensor]  # by where they are in what a network gives, (B, ...) each


class OutputLoss(ABC):
    """What errors of outputs cost, see above.

    Attributes:
        model: what the outputs are taken for.
        unit: of the loss.
    """

    model: OutputModel
    unit: str

    def read(self, given: object, size: int) -> dict[str, Tensor]:
        """The outputs among what a network gives for a batch.

        Raises:
            InputError: they are no outputs of this model, or not finite.
        """
        found = output_tensors(given, size)
        for where, value in found.items():
            self._check(where, value)
        check_finite(found)
        return found

    @abstractmethod
    def _check(self, where: str, value: Tensor) -> None:
        """Refuse an output that this loss is not of."""

    def ascents(self, outputs: Outputs, draw: torch.Generator, temperature: float) -> dict[str, Tensor]:
        """Drawn gradients over the outputs, whose second moment is the curvature of the loss.

        Args:
            outputs: of a batch.
            draw: on the processor: the same on every device.
            temperature: T that scores are divided by; the gradients are over z / T.
        """
        if self.draws_together(outputs):
            return self._ascents(outputs, draw, temperature)
        # Outputs of many values take too much memory all at once.
        samples = max(len(value) for value in outputs.values())
        each = []
        for number in range(samples):
            sample = {where: value[number : number + 1] for where, value in outputs.items()}
            each.append(self._ascents(sample, draw, temperature))
        return {where: torch.cat([one[where] for one in each]) for where in outputs}

    def draws_together(self, outputs: Outputs) -> bool:
        """Whether all samples of a batch are drawn for at once; else one by one, so that parts of a batch get
        what all of it gets.
        """
        return False

    @abstractmethod
    def _ascents(self, outputs: Outputs, draw: torch.Generator, temperature: float) -> dict[str, Tensor]:
        """See `ascents`."""

    @property
    @abstractmethod
    def likeness(self) -> str:
        """What `alike` is called."""

    def alike(self, outputs: Outputs, wanted: Outputs) -> Tensor:
        """How like outputs are to wanted ones, mean over the batch and over outputs."""
        return torch.stack(list(self.alike_each(outputs, wanted).values())).mean()

    @abstractmethod
    def alike_each(self, outputs: Outputs, wanted: Outputs) -> dict[str, Tensor]:
        """Each output by itself, mean over the batch: of scores the share of the same most likely classes, of
        values their error in units of their variance.
        """

    @abstractmethod
    def apart(self, outputs: Outputs, wanted: Outputs, temperature: float) -> Tensor:
        """How far outputs are from wanted ones, mean over the batch: what training makes small.

        Args:
            outputs: of a batch.
            wanted: the same of another network.
            temperature: that scores of both are divided by.
        """


@dataclass(frozen=True)
class ScoreLoss(OutputLoss):
    """The divergence of softmax outputs, in nats."""

    model: OutputModel = field(default_factory=lambda: OutputModel(SCORES))
    unit: str = field(default=NATS, init=False)

    def _check(self, where: str, value: Tensor) -> None:
        self._dim(where, value)

    def _dim(self, where: str, value: Tensor) -> int:
        """That of the classes.

        Raises:
            OutputsError: the output has none, or one class alone.
        """
        dim = dimension(replace(self.model, dim=self.model.dim or 1), where, value)
        if value.shape[dim] == 1:
            raise OutputsError(
                f"{where} has the shape {tuple(value.shape)}, one class in dimension {dim}, whose softmax is "
                "1 whatever the network says; take it for values, or name the dimension of the classes"
            )
        return dim

    def draws_together(self, outputs: Outputs) -> bool:
        """Where there is one position each."""
        return all(value.ndim == 2 for value in outputs.values())

    def _ascents(self, outputs: Outputs, draw: torch.Generator, temperature: float) -> dict[str, Tensor]:
        found = {}
        for where, value in outputs.items():
            dim = self._dim(where, value)
            rows = self._scores(value).movedim(dim, -1)  # (B, ..., K)
            flat = rows.reshape(-1, rows.shape[-1])
            gradient = _score_ascent(flat.detach(), softness(rows.shape[-1], temperature), draw)
            positions = len(flat) // max(1, len(value))
            if positions > 1:
                gradient /= math.sqrt(positions)
            gradient = gradient.reshape(rows.shape).movedim(-1, dim)
            found[where] = self._over_outputs(gradient, value).to(value.dtype)
        return found

    def apart(self, outputs: Outputs, wanted: Outputs, temperature: float) -> Tensor:
        """T^2 KL(softmax(wanted / T) || softmax(outputs / T)), mean over positions, summed over outputs."""
        parts = []
        for where, value in outputs.items():
            ours, theirs = self._scores(value), self._scores(wanted[where])
            dim = self._dim(where, value)
            parts.append(soft_divergence(ours, theirs, softness(value.shape[dim], temperature), dim))
        return torch.stack(parts).sum()

    @property
    def likeness(self) -> str:
        """Agreement."""
        return AGREEMENT

    def alike_each(self, outputs: Outputs, wanted: Outputs) -> dict[str, Tensor]:
        """The share of positions with the same most likely class."""
        found = {}
        for where, value in outputs.items():
            dim = self._dim(where, value)
            found[where] = (value.argmax(dim) == wanted[where].argmax(dim)).double().mean()
        return found

    def _scores(self, value: Tensor) -> Tensor:
        """Of an output, up to a constant at each position."""
        return value

    def _over_outputs(self, gradient: Tensor, value: Tensor) -> Tensor:
        """A gradient over scores as one over the output."""
        return gradient


@dataclass(frozen=True)
class ProbabilityLoss(ScoreLoss):
    """The same of outputs p behind a softmax, whose logarithms are scores: d/dp = 1/p d/dz."""

    model: OutputModel = field(default_factory=lambda: OutputModel(PROBABILITIES))

    def _check(self, where: str, value: Tensor) -> None:
        super()._check(where, value)
        if (value < 0).any() or (value > 1 + 1e-3).any():
            raise OutputsError(
                f"{where} has values outside 0 to 1, which are no probabilities; say scores or values"
            )

    def _scores(self, value: Tensor) -> Tensor:
        return _not_zero(value).log()

    def _over_outputs(self, gradient: Tensor, value: Tensor) -> Tensor:
        return gradient / _not_zero(value.detach()).to(gradient.dtype)


def _not_zero(chances: Tensor) -> Tensor:
    """Chances that are too small for their type as the smallest that has a reciprocal."""
    return chances.clamp(min=4 * torch.finfo(chances.dtype).tiny)


def softness(classes: int, temperature: float) -> float:
    """T that scores of so many classes are divided by: 1 at most where they are many.

    At T = 4 a class of chance 1e-7 counts as one of 0.018, and 6,000 of them, which a recogniser of
    characters has, outweigh the one that it is sure of.
    """
    return min(temperature, 1.0) if classes > MANY_CLASSES else temperature


def soft_divergence(scores: Tensor, wanted: Tensor, temperature: float, dim: int = 1) -> Tensor:
    """T^2 KL(softmax(wanted / T) || softmax(scores / T)), mean over the batch and over positions.

    T^2 keeps its gradient as large as that of the labels, whatever T is (Hinton, Vinyals & Dean 2015).

    Args:
        scores: (B, ...).
        wanted: of the same shape.
        temperature: T.
        dim: that of the classes; all others but the first are positions.
    """
    # Logarithms on both sides: probabilities of a sure network would underflow.
    log_probabilities = F.log_softmax(scores / temperature, dim)
    log_wanted = F.log_softmax(wanted / temperature, dim)
    divergence = F.kl_div(
        log_probabilities,
        log_wanted,
        reduction="batchmean",  # torch's "mean" would divide by the classes too
        log_target=True,
    )
    positions = scores[:1].numel() // scores.shape[dim]
    if positions > 1:
        divergence = divergence / positions
    return temperature**2 * divergence


def _score_ascent(scores: Tensor, temperature: float, draw: torch.Generator) -> Tensor:
    """(rows, K) gradient over z / T of the cross entropy of softmax(z / T), for labels drawn from that, in
    float64.
    """
    softened = scores.double() / temperature
    chance = F.softmax(softened, dim=1)
    # On the processor: the same labels on every device.
    drawn = torch.multinomial(chance.cpu(), 1, generator=draw)  # (rows, 1)
    labels = drawn[:, 0].to(scores.device)
    return chance - F.one_hot(labels, scores.shape[1])


@dataclass(frozen=True)
class ValueLoss(OutputLoss):
    """The squared error of values in units of their variance.

    Attributes:
        weights: w of each output, of its shape for one sample or one that is spread over it: the loss is the
            sum of w e^2 over all values e of errors.
    """

    model: OutputModel
    weights: Mapping[str, Tensor]
    unit: str = field(default=RELATIVE_ERROR, init=False)

    def _check(self, where: str, value: Tensor) -> None:
        if where not in self.weights:
            raise OutputsError(
                f"{where} is there for some samples and not for others; give all outputs always"
            )

    def _ascents(self, outputs: Outputs, draw: torch.Generator, temperature: float) -> dict[str, Tensor]:
        found = {}
        for where, value in outputs.items():
            drawn = torch.randn(value.shape, generator=draw, dtype=value.dtype)
            scale = (2 * self.weights[where]).sqrt().to(value)
            found[where] = scale * drawn.to(value.device)
        return found

    @property
    def likeness(self) -> str:
        """The error, in units of the variance."""
        return OUTPUT_ERROR

    def alike_each(self, outputs: Outputs, wanted: Outputs) -> dict[str, Tensor]:
        """Times their number, as what is lost of all is the mean."""
        parts = self._parts(outputs, wanted)
        return {where: len(parts) * part for where, part in parts.items()}

    def apart(self, outputs: Outputs, wanted: Outputs, temperature: float) -> Tensor:
        """sum w (y - t)^2, mean over the batch."""
        return torch.stack(list(self._parts(outputs, wanted).values())).sum()

    def _parts(self, outputs: Outputs, wanted: Outputs) -> dict[str, Tensor]:
        """What each output adds to the loss."""
        found = {}
        for where, value in outputs.items():
            weight = self.weights[where].to(value)
            found[where] = (weight * (value - wanted[where]).square()).sum() / len(value)
        return found


def tops_of(outputs: Outputs) -> list[str]:
    """Those of the outputs that have a way back; others depend on nothing, as positions of anchors do.

    Raises:
        OutputsError: there is none.
    """
    found = [where for where, output in outputs.items() if output.requires_grad]
    if not found:
        raise OutputsError("the network's outputs are not differentiable, so that no loss is known for them")
    return found


def differentiable(values: Tensor) -> Tensor:
    """An input of which a graph begins; frozen parameters alone would leave none to go back through."""
    if not values.is_floating_point():
        return values
    return values.detach().requires_grad_()
