"""How much the loss of a network rises when the weight of one layer is replaced, foreseen from its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.moments import PatchMoments, patch_moments
from rankfold.calibration.observation import evaluating
from rankfold.calibration.patches import patches
from rankfold.errors import InputError

CHUNK = 1 << 24  # values of patches and of weight gradients held at a time, 64 MiB each
TEMPERATURE = 4.0  # see `sensitivities`
LARGEST_BASIS = 1152  # n up to which the eigenvectors of E[x x^T] are taken as they are

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class LayerSensitivity:
    """The curvature of the loss over the weight of one layer, as an eigenvalue-corrected Kronecker product.

    The gradient of the weight on one image is a sum over positions, sum_p g_p x_p^T, of output gradients and patches. Its
    second moment is kept as its diagonal in the basis of the eigenvectors of E[g g^T] and E[x x^T] (George et al. 2018),
    so that, unlike in a plain Kronecker product (Martens & Grosse 2015), errors of neighbouring positions may add up or cancel.

    Attributes:
        moments: of the layer's input patches.
        gradient: (G, m/G, m/G) E[g g^T] over patches, of the loss of one image.
        positions: patches of one image, over all runs of the layer.
        outputs: (G, m/G, m/G) eigenvectors of `gradient`, in columns.
        inputs: (G, n, n) eigenvectors of `moments.second`, in columns; of a convolution of n > 1,152, where those would take
            long to find and to use, two factors of a Kronecker product, (G, C_in/G, C_in/G) eigenvectors over channels and
            (G, kh*kw, kh*kw) over kernel positions.
        power: (G, m/G, n) E over images of the squared entries of outputs^T (sum_p g_p x_p^T) inputs.
    """

    moments: PatchMoments
    gradient: np.ndarray
    positions: float
    outputs: np.ndarray
    inputs: tuple[np.ndarray, ...]
    power: np.ndarray


def predicted_loss(weight: np.ndarray, replacement: np.ndarray, sensitivity: LayerSensitivity) -> float:
    """The expected increase of the loss per image, in nats, with `replacement` in the place of `weight`: 1/2 vec(D)^T H vec(D).

    D = weight - replacement; H is the curvature that `sensitivity` knows. The increases of several layers are simply added.

    Args:
        weight: (m, C_in/G, kh, kw), or (m, n) of a linear layer.
        replacement: of the same shape.
        sensitivity: of this layer.

    Raises:
        InputError: the shapes differ, or are not those of the layer.
    """
    groups, outputs, inputs = sensitivity.power.shape
    if weight.shape != replacement.shape or weight.size != sensitivity.power.size or len(weight) != groups * outputs:
        raise InputError(
            f"a weight of shape {weight.shape} and its replacement of shape {replacement.shape} must have the same shape, "
            f"{groups * outputs} outputs and {inputs} inputs of each"
        )
    lost = (weight.astype(np.float64) - replacement).reshape(groups, outputs, inputs)
    rotated = _times(sensitivity.outputs.swapaxes(1, 2) @ lost, sensitivity.inputs)
    return float(np.einsum("gmn,gmn,gmn->", sensitivity.power, rotated, rotated)) / 2


def sensitivities(
    model: nn.Module, batches: Iterable[Tensor], names: Sequence[str], seed: int = 0, temperature: float = TEMPERATURE
) -> dict[str, LayerSensitivity]:
    """Run `model` forward and backward over calibration data and gather the sensitivity of the layers `names`.

    The gradients are those of the cross entropy with labels drawn from the network's own softened distribution, softmax(z / T):
    their second moment is the Gauss-Newton matrix (at T = 1 the Fisher information) and needs no labels. At T = 1 only the few
    images count of which the network is unsure; but the errors of a compressed network are not small, and make it unsure of
    others, too.

    Args:
        model: any network with outputs (B, classes); in eval mode while it runs, then as before.
        batches: inputs of the model, (B, ...), on its device; gone through three times.
        names: of convolutions and linear layers.
        seed: of the labels drawn; torch's own random state is left alone.
        temperature: T, above 0.

    Raises:
        InputError: there is no batch, a layer never runs or is none of these, or the outputs are no (B, classes) or not finite.
    """
    if not temperature > 0:
        raise InputError(f"temperature (={temperature:g}) must be above 0")
    kept = list(batches)
    moments = patch_moments(model, kept, names)
    groups = {name: moments[name].second.shape[0] for name in names}
    layers = dict(model.named_modules())

    gradients: dict[str, Tensor] = {}
    patches_seen = dict.fromkeys(names, 0)
    for name, runs, images in _backward(model, kept, names, seed, temperature):
        for run in runs:
            found = _output_gradient(run, groups[name], images)
            gradients[name] = gradients.get(name, 0) + torch.einsum("bgip,bgjp->gij", found, found).double()
            patches_seen[name] += found.shape[0] * found.shape[3]
    outputs = {name: torch.linalg.eigh(gradients[name])[1] for name in names}
    inputs = {name: _input_basis(moments[name].second, _positions(layers[name])) for name in names}

    power: dict[str, Tensor] = {}
    for name, runs, images in _backward(model, kept, names, seed, temperature):
        power[name] = power.get(name, 0) + _power(runs, outputs[name], inputs[name], images)
    count = sum(len(batch) for batch in kept)
    return {
        name: LayerSensitivity(
            moments[name],
            (gradients[name] / patches_seen[name]).cpu().numpy(),
            patches_seen[name] / count,
            outputs[name].cpu().numpy(),
            tuple(factor.numpy() for factor in inputs[name]),
            (power[name] / count).cpu().numpy(),
        )
        for name in names
    }


def _positions(layer: nn.Module) -> int:
    """kh * kw."""
    return layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1


def _input_basis(second: np.ndarray, positions: int) -> tuple[Tensor, ...]:
    """Orthonormal columns: (G, n, n), or the two factors of a Kronecker product."""
    groups, n, _ = second.shape
    moments = torch.from_numpy(second)
    if n <= LARGEST_BASIS or positions == 1:
        return (torch.linalg.eigh(moments)[1],)
    split = moments.reshape(groups, n // positions, positions, n // positions, positions)
    channels, kernel = torch.einsum("gipjp->gij", split), torch.einsum("gipiq->gpq", split)
    return torch.linalg.eigh(channels)[1], torch.linalg.eigh(kernel)[1]


def _times(values: Array, basis: Sequence[Array]) -> Array:
    """(..., G, k, n) times the (G, n, n) that `basis` stands for."""
    if len(basis) == 1:
        return values @ basis[0]
    channels, kernel = basis
    *outer, rows, n = values.shape
    inner = (values.reshape(*outer, -1, kernel.shape[-1]) @ kernel).reshape(*outer, rows, -1, kernel.shape[-1])
    turned = inner.swapaxes(-1, -2).reshape(*outer, -1, channels.shape[-1]) @ channels
    return turned.reshape(*outer, rows, -1, channels.shape[-1]).swapaxes(-1, -2).reshape(*outer, rows, n)


@dataclass(frozen=True)
class _Run:
    """One call of a layer: its inputs, and the gradient of the summed loss over its outputs."""

    layer: nn.Conv2d | nn.Linear
    inputs: Tensor
    gradient: Tensor


def _backward(
    model: nn.Module, batches: Iterable[Tensor], names: Sequence[str], seed: int, temperature: float
) -> Iterator[tuple[str, list[_Run], int]]:
    """For each batch and each layer: the name, the runs, and the number of images. The same seed draws the same labels."""
    draw = torch.Generator().manual_seed(seed)
    for batch in batches:
        seen: list[tuple[str, Tensor, Tensor]] = []
        with evaluating(model), torch.enable_grad(), _recording(model, names, seen):
            # Frozen parameters would leave no graph to go back through.
            scores = model(batch.detach().requires_grad_() if batch.is_floating_point() else batch)
            if not isinstance(scores, Tensor) or scores.dim() != 2 or not scores.requires_grad:
                raise InputError(
                    "sensitivities need a network whose outputs are differentiable scores of shape (images, classes)"
                )
            if not torch.isfinite(scores).all():
                raise InputError("the network's outputs on the calibration data are not finite; its weights may be damaged")
            chance = F.softmax(scores.detach().double() / temperature, dim=1)
            drawn = torch.multinomial(chance.cpu(), 1, generator=draw)[:, 0].to(scores.device)
            ascent = (chance - F.one_hot(drawn, scores.shape[1])).to(scores.dtype)
            slopes = torch.autograd.grad(scores, [output for _, _, output in seen], ascent, allow_unused=True)
        runs: dict[str, list[_Run]] = {name: [] for name in names}
        modules = dict(model.named_modules())
        for (name, inputs, output), slope in zip(seen, slopes, strict=True):
            runs[name].append(_Run(modules[name], inputs, torch.zeros_like(output) if slope is None else slope))
        for name in names:
            yield name, runs.pop(name), len(batch)


def _power(runs: Sequence[_Run], outputs: Tensor, inputs: Sequence[Tensor], images: int) -> Tensor:
    """(G, m/G, n): the squares of each image's weight gradient in the basis, summed over the images."""
    groups, n = inputs[0].shape[0], math.prod(factor.shape[1] for factor in inputs)
    total = torch.zeros(groups, outputs.shape[1], n, dtype=torch.float64, device=outputs.device)
    if not runs:
        return total
    left, right = outputs.to(runs[0].gradient), [factor.to(runs[0].gradient) for factor in inputs]
    slopes = [_output_gradient(run, groups, images) for run in runs]
    size = n * groups * (outputs.shape[1] + max(slope.shape[3] for slope in slopes))
    step = max(1, CHUNK // size)
    for start in range(0, images, step):
        whole = torch.zeros((), dtype=left.dtype, device=left.device)
        for run, slope in zip(runs, slopes, strict=True):
            part = slope[start : start + step]
            share = len(run.inputs) // images if run.inputs.dim() > 1 else 1
            seen = patches(run.layer, run.inputs[start * share : (start + step) * share].to(part.dtype))
            found = _by_image(seen, len(part))
            turned = left.transpose(1, 2) @ part
            if part.shape[3] < part.shape[2]:  # n^2 times the positions, or n^2 times the outputs
                whole = whole + turned @ _times(found.transpose(2, 3), right)
            else:
                whole = whole + _times(turned @ found.transpose(2, 3), right)
        total += whole.double().square().sum(0)
    return total


def _output_gradient(run: _Run, groups: int, images: int) -> Tensor:
    """(B, G, m/G, P)."""
    slope = run.gradient
    if isinstance(run.layer, nn.Linear):
        slope = slope.reshape(len(slope) if slope.dim() > 1 else 1, -1, slope.shape[-1]).transpose(1, 2)
    slope = slope.flatten(2)
    return _by_image(slope.reshape(len(slope), groups, -1, slope.shape[2]), images)


def _by_image(values: Tensor, images: int) -> Tensor:
    """(k*B, G, c, P), k parts of each image one after another, as (B, G, c, k*P)."""
    if len(values) % images:
        raise InputError(
            f"a layer runs on {len(values)} inputs for {images} images; sensitivities need the same number for each image"
        )
    parts = values.reshape(images, len(values) // images, *values.shape[1:])
    return parts.movedim(1, 3).flatten(3)


@contextmanager
def _recording(model: nn.Module, names: Sequence[str], seen: list[tuple[str, Tensor, Tensor]]) -> Iterator[None]:
    """Keep name, input and output of every run of the named modules while inside."""
    modules, hooks = dict(model.named_modules()), []
    for name in names:

        def record(
            _: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor], output: Tensor, name: str = name
        ) -> Tensor:
            seen.append((name, (inputs[0] if inputs else keywords["input"]).detach(), output))
            return output.clone()  # which an activation in place may change

        hooks.append(modules[name].register_forward_hook(record, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
