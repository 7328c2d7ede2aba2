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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.backward import Backward, LayerRun, by_image
from rankfold.calibration.moments import PatchMoments, layers_of, patch_moments
from rankfold.calibration.patches import LayerModule, kernel_positions, patches
from rankfold.calibration.samples import Inputs, size_of
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


def predicted_loss(
    weight: np.ndarray,
    replacement: np.ndarray,
    sensitivity: LayerSensitivity,
) -> float:
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
    fits = weight.shape == replacement.shape
    fits = fits and len(weight) == groups * outputs
    fits = fits and weight.size == sensitivity.power.size
    if not fits:
        raise InputError(
            f"a weight of shape {weight.shape} and its replacement of shape {replacement.shape} must have "
            f"the same shape, {groups * outputs} outputs and {inputs} inputs of each"
        )
    lost = weight.astype(np.float64) - replacement  # D
    lost = lost.reshape(groups, outputs, inputs)
    turned = sensitivity.outputs.swapaxes(1, 2) @ lost  # U^T D
    rotated = _times(turned, sensitivity.inputs)  # U^T D V
    doubled = np.einsum("gmn,gmn,gmn->", sensitivity.power, rotated, rotated)
    return float(doubled) / 2


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
    kept = list(batches)  # gone through for the moments, for E[g g^T], and for the power in its basis
    moments = patch_moments(model, kept, names)
    backward = Backward(
        model,
        kept,
        names,
        seed,
        temperature,
    )
    gradients = _gradients(backward, moments)
    bases: dict[str, _Bases] = {}
    for name, layer in layers_of(model, names).items():
        bases[name] = _bases(
            layer,
            moments[name],
            gradients[name],
        )
    power = _powers(backward, bases)
    images = sum(size_of(inputs) for inputs in kept)
    found: dict[str, LayerSensitivity] = {}
    for name in names:
        gradient = gradients[name]
        basis = bases[name]
        found[name] = LayerSensitivity(
            moments[name],
            gradient=_array(gradient.total / gradient.patches),
            positions=gradient.patches / images,
            outputs=_array(basis.outputs),
            inputs=tuple(_array(factor) for factor in basis.inputs),
            power=_array(power[name] / images),
        )
    return found


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()


@dataclass
class _GradientSum:
    """(G, m/G, m/G) sum of g g^T over so many patches."""

    total: Tensor
    patches: int


def _gradients(
    backward: Backward,
    moments: dict[str, PatchMoments],
) -> dict[str, _GradientSum]:
    """Sums of g g^T over all patches of each layer."""
    sums: dict[str, _GradientSum] = {}
    for name, runs, images in backward:
        groups = len(moments[name].second)
        for run in runs:
            slope = run.output_gradient(groups, images)  # (B, G, m/G, P)
            # Summed in the network's own type, over one batch; over all batches in float64.
            part = torch.einsum("bgip,bgjp->gij", slope, slope).double()
            _, _, _, positions = slope.shape
            count = len(slope) * positions
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

    def like(self, values: Tensor) -> _Bases:
        """The same in the type and on the device of `values`."""
        inputs = tuple(factor.to(values) for factor in self.inputs)
        return _Bases(self.outputs.to(values), inputs)


def _bases(
    layer: LayerModule,
    moments: PatchMoments,
    gradient: _GradientSum,
) -> _Bases:
    outputs = _eigenvectors(gradient.total)
    inputs = _input_basis(moments.second, kernel_positions(layer))
    return _Bases(outputs, inputs)


def _input_basis(second: np.ndarray, positions: int) -> tuple[Tensor, ...]:
    """Orthonormal columns: (G, n, n), or the two factors of a Kronecker product."""
    groups, n, _ = second.shape
    moments = torch.from_numpy(second)
    if n <= LARGEST_BASIS or positions == 1:
        return (_eigenvectors(moments),)
    channels = n // positions
    split = moments.reshape(groups, channels, positions, channels, positions)
    # Partial traces: E[x x^T] averaged over kernel positions, and over channels, each up to a factor.
    over_channels = torch.einsum("gipjp->gij", split)
    over_kernel = torch.einsum("gipiq->gpq", split)
    return _eigenvectors(over_channels), _eigenvectors(over_kernel)


def _eigenvectors(moments: Tensor) -> Tensor:
    """Those of (G, k, k) symmetric matrices, in columns."""
    _, vectors = torch.linalg.eigh(moments)
    return vectors


def _times(values: Array, basis: Sequence[Array]) -> Array:
    """(..., G, k, n) times the (G, n, n) that `basis` stands for.

    With two factors, V = A (x) B over n = C * K: v V, with v read as a matrix (C, K), is A^T v B, so that V
    is never made.
    """
    if len(basis) == 1:
        return values @ basis[0]
    over_channels, over_kernel = basis
    channels = over_channels.shape[-1]
    positions = over_kernel.shape[-1]
    *outer, rows, n = values.shape
    flat = values.reshape(*outer, rows * channels, positions)
    inner = flat @ over_kernel  # v B
    inner = inner.reshape(*outer, rows, channels, positions)
    turned = inner.swapaxes(-1, -2)
    turned = turned.reshape(*outer, rows * positions, channels)
    product = turned @ over_channels  # (v B)^T A = (A^T v B)^T
    product = product.reshape(*outer, rows, positions, channels)
    product = product.swapaxes(-1, -2)
    return product.reshape(*outer, rows, n)


def _powers(
    backward: Backward,
    bases: dict[str, _Bases],
) -> dict[str, Tensor]:
    """(G, m/G, n) of each layer: the squared weight gradients of single images in the basis, summed up."""
    sums: dict[str, Tensor] = {}
    for name, runs, images in backward:
        part = _power(runs, bases[name], images)
        if name in sums:
            sums[name] += part
        else:
            sums[name] = part
    return sums


def _power(
    runs: Sequence[LayerRun],
    bases: _Bases,
    images: int,
) -> Tensor:
    """As `_powers`, for the runs of one layer on one batch."""
    groups, rows, _ = bases.outputs.shape
    n = math.prod(factor.shape[1] for factor in bases.inputs)
    total = torch.zeros(
        groups,
        rows,
        n,
        dtype=torch.float64,
        device=bases.outputs.device,
    )
    if not runs:
        return total
    slopes = [run.output_gradient(groups, images) for run in runs]  # (B, G, m/G, P) each
    bases = bases.like(slopes[0])
    most_positions = max(slope.shape[3] for slope in slopes)
    values = n * groups * (rows + most_positions)  # patches and weight gradients of one image
    step = max(1, CHUNK // values)
    for start in range(0, images, step):
        stop = start + step
        # The gradients of one image's runs add up before they are squared.
        whole = slopes[0].new_zeros(())
        for run, slope in zip(runs, slopes, strict=True):
            share = len(run.inputs) // images
            inputs = run.inputs
            # The inputs of one image follow each other; a single vector has no batch.
            if inputs.dim() > 1:
                inputs = inputs[start * share : stop * share]
            x = patches(run.layer, inputs.to(slope.dtype))
            gradient = _rotated_gradient(slope[start:stop], x, bases)
            whole = whole + gradient
        total += whole.double().square().sum(0)
    return total


def _rotated_gradient(
    slope: Tensor,
    x: Tensor,
    bases: _Bases,
) -> Tensor:
    """(b, G, m/G, n) U^T (sum_p g_p x_p^T) V of each image, with gradients (b, G, m/G, P) and patches x."""
    images, _, rows, positions = slope.shape
    x = by_image(x, images).transpose(2, 3)  # (b, G, P, n)
    turned = bases.outputs.transpose(1, 2) @ slope
    # (U^T g) (x V) costs n^2 times the positions, ((U^T g) x) V n^2 times the outputs.
    if positions < rows:
        return turned @ _times(x, bases.inputs)
    return _times(turned @ x, bases.inputs)
