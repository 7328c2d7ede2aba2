"""How much the loss of a network rises when the weight of one layer is replaced, foreseen from its gradients.

Let D = W - M be the error that a replacement M leaves in a weight W of (m, n). To the second order the loss
rises by 1/2 vec(D)^T H vec(D), with the Gauss-Newton matrix H = E[vec(A) vec(A)^T] of the gradients A =
sum_p g_p x_p^T of single images: sums over positions p of output gradients g_p (m,) and patches x_p (n,). H
has (m n)^2 entries, too many to keep. In the basis of the eigenvectors U of E[g g^T] and V of E[x x^T] it
is nearly diagonal, and its diagonal there is exactly

    power_ij = E[(U^T A V)_ij^2],     so that     1/2 vec(D)^T H vec(D) ~ 1/2 sum_ij power_ij (U^T D V)_ij^2

(eigenvalue-corrected Kronecker factors, George et al. 2018). A plain Kronecker product (Martens & Grosse
2015) takes the positions of an image for independent; here errors of neighbouring positions may add up or
cancel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.moments import PatchMoments, layers_of, patch_moments
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.patches import kernel_positions, patches
from rankfold.calibration.samples import Inputs, call, map_tensors, size_of
from rankfold.errors import InputError

CHUNK = 1 << 24  # values of patches and of weight gradients held at a time, 64 MiB each
TEMPERATURE = 4.0  # see `sensitivities`
LARGEST_BASIS = 1152  # n up to which the eigenvectors of E[x x^T] are taken as they are

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class LayerSensitivity:
    """The curvature of the loss over the weight of one layer, as an eigenvalue-corrected Kronecker product.

    Attributes:
        moments: of the layer's input patches.
        gradient: (G, m/G, m/G) E[g g^T] over patches, of the loss of one image.
        positions: patches of one image, over all runs of the layer.
        outputs: (G, m/G, m/G) eigenvectors of `gradient`, in columns.
        inputs: (G, n, n) eigenvectors of `moments.second`, in columns; of a convolution of n > 1,152, where
            those would take long to find and to use, two factors of a Kronecker product, (G, C_in/G,
            C_in/G) eigenvectors over channels and (G, kh*kw, kh*kw) over kernel positions.
        power: (G, m/G, n) E over images of the squared entries of outputs^T (sum_p g_p x_p^T) inputs.
    """

    moments: PatchMoments
    gradient: np.ndarray
    positions: float
    outputs: np.ndarray
    inputs: tuple[np.ndarray, ...]
    power: np.ndarray


def predicted_loss(weight: np.ndarray, replacement: np.ndarray, sensitivity: LayerSensitivity) -> float:
    """The expected increase of the loss per image, in nats, with `replacement` in the place of `weight`.

    It is 1/2 vec(D)^T H vec(D), where D = weight - replacement and H is the curvature that `sensitivity`
    knows. The increases of several layers are simply added.

    Args:
        weight: (m, C_in/G, kh, kw), or (m, n) of a linear layer.
        replacement: of the same shape.
        sensitivity: of this layer.

    Raises:
        InputError: the shapes differ, or are not those of the layer.
    """
    groups, outputs, inputs = sensitivity.power.shape
    fits = len(weight) == groups * outputs and weight.size == sensitivity.power.size
    if weight.shape != replacement.shape or not fits:
        raise InputError(
            f"a weight of shape {weight.shape} and its replacement of shape {replacement.shape} must have "
            f"the same shape, {groups * outputs} outputs and {inputs} inputs of each"
        )
    lost = (weight.astype(np.float64) - replacement).reshape(groups, outputs, inputs)
    rotated = _times(sensitivity.outputs.swapaxes(1, 2) @ lost, sensitivity.inputs)
    return float(np.einsum("gmn,gmn,gmn->", sensitivity.power, rotated, rotated)) / 2


def sensitivities(
    model: nn.Module,
    batches: Iterable[Inputs],
    names: Sequence[str],
    seed: int = 0,
    temperature: float = TEMPERATURE,
) -> dict[str, LayerSensitivity]:
    """Run `model` forward and backward over calibration data and gather the sensitivity of some layers.

    The gradients are those of the cross entropy with labels drawn from the network's own softened
    distribution, softmax(z / T): their second moment is the Gauss-Newton matrix (at T = 1 the Fisher
    information) and needs no labels. At T = 1 only the few images count of which the network is unsure; but
    the errors of a compressed network are not small, and make it unsure of others, too.

    Args:
        model: any network with outputs (B, classes); in eval mode while it runs, then as before.
        batches: inputs of the model, on its device; gone through three times.
        names: of convolutions and linear layers.
        seed: of the labels drawn; torch's own random state is left alone.
        temperature: T, above 0.

    Raises:
        InputError: there is no batch, a layer never runs or is none of these, or the outputs are no (B,
            classes) or not finite.
    """
    if not temperature > 0:
        raise InputError(f"temperature (={temperature:g}) must be above 0")
    kept = list(batches)
    moments = patch_moments(model, kept, names)
    backward = _Backward(model, kept, names, seed, temperature)
    gradients = _gradients(backward, moments)
    bases: dict[str, _Bases] = {}
    for name, layer in layers_of(model, names).items():
        bases[name] = _bases(layer, moments[name], gradients[name])
    power = _powers(backward, bases)
    images = sum(size_of(inputs) for inputs in kept)
    found: dict[str, LayerSensitivity] = {}
    for name in names:
        gradient, basis = gradients[name], bases[name]
        found[name] = LayerSensitivity(
            moments[name],
            (gradient.total / gradient.patches).cpu().numpy(),
            gradient.patches / images,
            basis.outputs.cpu().numpy(),
            tuple(factor.numpy() for factor in basis.inputs),
            (power[name] / images).cpu().numpy(),
        )
    return found


@dataclass(frozen=True)
class _Run:
    """One call of a layer: its inputs, and the gradient of the summed loss over its outputs."""

    layer: nn.Conv2d | nn.Linear
    inputs: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class _Backward:
    """A way back through a network for each batch, as often as wanted, each time with the same labels."""

    model: nn.Module
    batches: Sequence[Inputs]
    names: Sequence[str]
    seed: int
    temperature: float

    def __iter__(self) -> Iterator[tuple[str, list[_Run], int]]:
        """For each batch and each layer: the name, the runs, and the number of images."""
        draw = torch.Generator().manual_seed(self.seed)
        for inputs in self.batches:
            runs = self._runs(inputs, draw)
            for name in self.names:
                # Taken out of the dictionary, so that a layer's tensors are freed before the next one's are
                # used.
                yield name, runs.pop(name), size_of(inputs)

    def _runs(self, batch: Inputs, draw: torch.Generator) -> dict[str, list[_Run]]:
        layers = layers_of(self.model, self.names)
        seen: list[tuple[str, Tensor, Tensor]] = []

        def keep(name: str, _: nn.Module, inputs: Tensor, output: Tensor) -> Tensor:
            seen.append((name, inputs.detach(), output))
            return output.clone()  # which an activation in place may change

        with evaluating(self.model), torch.enable_grad(), observing(layers, after=keep):
            scores = call(self.model, map_tensors(batch, _differentiable))
            ascent = _ascent(scores, self.temperature, draw)
            outputs = [output for _, _, output in seen]
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                scores, outputs, ascent, allow_unused=True
            )
        runs: dict[str, list[_Run]] = {name: [] for name in self.names}
        for (name, inputs, output), gradient in zip(seen, gradients, strict=True):
            if gradient is None:
                gradient = torch.zeros_like(output)
            runs[name].append(_Run(layers[name], inputs, gradient))
        return runs


def _differentiable(values: Tensor) -> Tensor:
    """An input of which a graph begins; frozen parameters alone would leave none to go back through."""
    if not values.is_floating_point():
        return values
    return values.detach().requires_grad_()


def _ascent(scores: object, temperature: float, draw: torch.Generator) -> Tensor:
    """(B, classes) gradient over z / T of the cross entropy of softmax(z / T), for labels drawn from that."""
    if not isinstance(scores, Tensor) or scores.dim() != 2 or not scores.requires_grad:
        raise InputError(
            "sensitivities need a network whose outputs are differentiable scores of shape (images, classes)"
        )
    if not torch.isfinite(scores).all():
        raise InputError(
            "the network's outputs on the calibration data are not finite; its weights may be damaged"
        )
    chance = F.softmax(scores.detach().double() / temperature, dim=1)
    # On the processor: the same labels on every device.
    labels = torch.multinomial(chance.cpu(), 1, generator=draw)[:, 0].to(scores.device)
    return (chance - F.one_hot(labels, scores.shape[1])).to(scores.dtype)


@dataclass
class _GradientSum:
    """(G, m/G, m/G) sum of g g^T over so many patches."""

    total: Tensor
    patches: int


def _gradients(backward: _Backward, moments: dict[str, PatchMoments]) -> dict[str, _GradientSum]:
    """Sums of g g^T over all patches of each layer."""
    sums: dict[str, _GradientSum] = {}
    for name, runs, images in backward:
        groups = len(moments[name].second)
        for run in runs:
            slope = _output_gradient(run, groups, images)  # (B, G, m/G, P)
            part = torch.einsum("bgip,bgjp->gij", slope, slope).double()
            count = slope.shape[0] * slope.shape[3]
            if name in sums:
                sums[name].total += part
                sums[name].patches += count
            else:
                sums[name] = _GradientSum(part, count)
    return sums


@dataclass(frozen=True)
class _Bases:
    """Orthonormal columns for outputs, (G, m/G, m/G), and for inputs, see `LayerSensitivity.inputs`."""

    outputs: Tensor
    inputs: tuple[Tensor, ...]


def _bases(layer: nn.Conv2d | nn.Linear, moments: PatchMoments, gradient: _GradientSum) -> _Bases:
    outputs = torch.linalg.eigh(gradient.total)[1]
    return _Bases(outputs, _input_basis(moments.second, kernel_positions(layer)))


def _input_basis(second: np.ndarray, positions: int) -> tuple[Tensor, ...]:
    """Orthonormal columns: (G, n, n), or the two factors of a Kronecker product."""
    groups, n, _ = second.shape
    moments = torch.from_numpy(second)
    if n <= LARGEST_BASIS or positions == 1:
        return (torch.linalg.eigh(moments)[1],)
    channels = n // positions
    split = moments.reshape(groups, channels, positions, channels, positions)
    over_channels = torch.einsum("gipjp->gij", split)
    over_kernel = torch.einsum("gipiq->gpq", split)
    return torch.linalg.eigh(over_channels)[1], torch.linalg.eigh(over_kernel)[1]


def _times(values: Array, basis: Sequence[Array]) -> Array:
    """(..., G, k, n) times the (G, n, n) that `basis` stands for.

    With two factors, V = A (x) B over n = C * K: v V, with v read as a matrix (C, K), is A^T v B, so that V
    is never made.
    """
    if len(basis) == 1:
        return values @ basis[0]
    over_channels, over_kernel = basis
    channels, positions = over_channels.shape[-1], over_kernel.shape[-1]
    *outer, rows, n = values.shape
    flat = values.reshape(*outer, rows * channels, positions)
    inner = (flat @ over_kernel).reshape(*outer, rows, channels, positions)  # v B
    turned = inner.swapaxes(-1, -2).reshape(*outer, rows * positions, channels)
    product = (turned @ over_channels).reshape(*outer, rows, positions, channels)  # (v B)^T A = (A^T v B)^T
    return product.swapaxes(-1, -2).reshape(*outer, rows, n)


def _powers(backward: _Backward, bases: dict[str, _Bases]) -> dict[str, Tensor]:
    """(G, m/G, n) of each layer: the squared weight gradients of single images in the basis, summed up."""
    sums: dict[str, Tensor] = {}
    for name, runs, images in backward:
        part = _power(runs, bases[name], images)
        if name in sums:
            sums[name] += part
        else:
            sums[name] = part
    return sums


def _power(runs: Sequence[_Run], bases: _Bases, images: int) -> Tensor:
    """As `_powers`, for the runs of one layer on one batch."""
    outputs = bases.outputs
    groups, rows, _ = outputs.shape
    n = math.prod(factor.shape[1] for factor in bases.inputs)
    total = torch.zeros(groups, rows, n, dtype=torch.float64, device=outputs.device)
    if not runs:
        return total
    like = runs[0].gradient
    left = outputs.to(like).transpose(1, 2)
    right = [factor.to(like) for factor in bases.inputs]
    slopes = [_output_gradient(run, groups, images) for run in runs]  # (B, G, m/G, P) each
    most_positions = max(slope.shape[3] for slope in slopes)
    step = max(1, CHUNK // (n * groups * (rows + most_positions)))
    for start in range(0, images, step):
        stop = start + step
        # The gradients of one image's runs add up before they are squared.
        whole = torch.zeros((), dtype=left.dtype, device=left.device)
        for run, slope in zip(runs, slopes, strict=True):
            whole = whole + _rotated_gradient(run, slope[start:stop], (start, stop), images, left, right)
        total += whole.double().square().sum(0)
    return total


def _rotated_gradient(
    run: _Run,
    slope: Tensor,
    part: tuple[int, int],
    images: int,
    left: Tensor,
    right: Sequence[Tensor],
) -> Tensor:
    """(b, G, m/G, n) U^T (sum_p g_p x_p^T) V of the images `part`, with output gradients (b, G, m/G, P)."""
    start, stop = part
    share = 1
    if run.inputs.dim() > 1:
        share = len(run.inputs) // images  # inputs of the layer for each image
    inputs = run.inputs[start * share : stop * share].to(slope.dtype)
    x = _by_image(patches(run.layer, inputs), len(slope)).transpose(2, 3)  # (b, G, P, n)
    turned = left @ slope
    # (U^T g) (x V) costs n^2 times the positions, ((U^T g) x) V n^2 times the outputs.
    positions, rows = slope.shape[3], slope.shape[2]
    if positions < rows:
        return turned @ _times(x, right)
    return _times(turned @ x, right)


def _output_gradient(run: _Run, groups: int, images: int) -> Tensor:
    """(B, G, m/G, P)."""
    slope = run.gradient
    if isinstance(run.layer, nn.Linear):
        leading = 1
        if slope.dim() > 1:
            leading = len(slope)
        slope = slope.reshape(leading, -1, slope.shape[-1]).transpose(1, 2)  # (B, m, P)
    slope = slope.flatten(2)
    return _by_image(slope.reshape(len(slope), groups, -1, slope.shape[2]), images)


def _by_image(values: Tensor, images: int) -> Tensor:
    """(k*B, G, c, P), k parts of each image one after another, as (B, G, c, k*P)."""
    if len(values) % images:
        raise InputError(
            f"a layer runs on {len(values)} inputs for {images} images; "
            "sensitivities need the same number for each image"
        )
    parts = values.reshape(images, len(values) // images, *values.shape[1:])  # (B, k, G, c, P)
    return parts.movedim(1, 3).flatten(3)
