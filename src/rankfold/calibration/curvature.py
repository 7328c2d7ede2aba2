"""Weight gradients of single images in the eigenbasis of a Kronecker product, squared and summed up.

The basis is U (x) V: U for the outputs of a weight, V for its inputs, see `calibration.sensitivity`. Where V
would take long to find and to use, it is itself a Kronecker product over channels and kernel positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from rankfold.calibration.backward import LayerRun, by_image
from rankfold.calibration.patches import patches

CHUNK = 1 << 24  # values of patches and of weight gradients held at a time, 64 MiB each
LARGEST_BASIS = 1152  # n up to which the eigenvectors of E[x x^T] are taken as they are

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Bases:
    """Orthonormal columns for outputs, (G, m/G, m/G), and for inputs, see `LayerSensitivity.inputs`."""

    outputs: Tensor
    inputs: tuple[Tensor, ...]

    def like(self, values: Tensor) -> Bases:
        """The same in the type and on the device of `values`."""
        inputs = tuple(factor.to(values) for factor in self.inputs)
        return Bases(self.outputs.to(values), inputs)


def input_basis(second: np.ndarray, positions: int) -> tuple[Tensor, ...]:
    """Orthonormal columns: (G, n, n), or the two factors of a Kronecker product."""
    groups, n, _ = second.shape
    moments = torch.from_numpy(second)
    if n <= LARGEST_BASIS or positions == 1:
        return (eigenvectors(moments),)
    channels = n // positions
    split = moments.reshape(groups, channels, positions, channels, positions)
    # Partial traces: E[x x^T] averaged over kernel positions, and over channels, each up to a factor.
    over_channels = torch.einsum("gipjp->gij", split)
    over_kernel = torch.einsum("gipiq->gpq", split)
    return eigenvectors(over_channels), eigenvectors(over_kernel)


def eigenvectors(moments: Tensor) -> Tensor:
    """Those of (G, k, k) symmetric matrices, in columns."""
    _, vectors = torch.linalg.eigh(moments)
    return vectors


def times(values: Array, basis: Sequence[Array]) -> Array:
    """(..., G, k, n) times the (G, n, n) that `basis` stands for.

    With two factors, V = A (x) B over n = C * K: v V, with v read as a matrix (C, K), is A^T v B, so that V
    is never made.
    """
    if len(basis) == 1:
        (whole,) = basis
        if len(whole) > 1:
            return values @ whole
        # One matrix for all: as one product, which is faster than one for each of `...`.
        return (values.reshape(-1, len(whole[0])) @ whole[0]).reshape(values.shape)
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


def squared_gradients(
    runs: Sequence[LayerRun],
    bases: Bases,
    images: int,
    mean: np.ndarray | None,
) -> Tensor:
    """(G, m/G, n) the squared weight gradients of single images of one batch in the basis, summed up.

    `mean` is taken off the patches, (G, n), or for each output, (G, m/G, n).
    """
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
    shift = _Shift.of(mean, bases, slopes[0])
    for start in range(0, images, step):
        stop = start + step
        # The gradients of one image's runs add up before they are squared.
        whole: Tensor | None = None
        for run, slope in zip(runs, slopes, strict=True):
            share = len(run.inputs) // images
            inputs = run.inputs
            # The inputs of one image follow each other; a single vector has no batch.
            if inputs.dim() > 1:
                inputs = inputs[start * share : stop * share]
            x = patches(run.layer, inputs.to(slope.dtype))
            gradient = shift.taken_off_(_rotated_gradient(slope[start:stop], x, bases), slope[start:stop])
            whole = gradient if whole is None else whole.add_(gradient)
        assert whole is not None  # there is a run
        # In the network's own type within a part of the batch, in float64 over all.
        total += whole.square_().sum(0).double()
    return total


@dataclass(frozen=True)
class _Shift:
    """What a mean that is taken off all patches takes off rotated gradients: U^T (sum_p g_p E[x]^T) V.

    Attributes:
        bases: U and V.
        rotated: (G, 1, n) E[x]^T V, where all outputs have one mean.
        by_output: (G, m/G, n) E[x]^T of each output.
    """

    bases: Bases
    rotated: Tensor | None = None
    by_output: Tensor | None = None

    @classmethod
    def of(cls, mean: np.ndarray | None, bases: Bases, like: Tensor) -> _Shift:
        """For a mean as `squared_gradients` takes it."""
        if mean is None:
            return cls(bases)
        values = torch.from_numpy(mean).to(like)
        if mean.ndim == 3:
            return cls(bases, by_output=values)
        return cls(bases, rotated=times(values[:, None], bases.inputs))

    def taken_off_(self, gradient: Tensor, slope: Tensor) -> Tensor:
        """Take it off a rotated gradient (b, G, m/G, n), in place, for gradients (b, G, m/G, P)."""
        constant = slope.sum(dim=3)[..., None]  # (b, G, m/G, 1) sum_p g_p
        turn = self.bases.outputs.transpose(1, 2)
        if self.rotated is not None:
            gradient.addcmul_(turn @ constant, self.rotated, value=-1)
        if self.by_output is not None:
            gradient.sub_(times(turn @ (constant * self.by_output), self.bases.inputs))
        return gradient


def _rotated_gradient(
    slope: Tensor,
    x: Tensor,
    bases: Bases,
) -> Tensor:
    """(b, G, m/G, n) U^T (sum_p g_p x_p^T) V of each image, with gradients (b, G, m/G, P) and patches x."""
    images, _, rows, positions = slope.shape
    x = by_image(x, images).transpose(2, 3)  # (b, G, P, n)
    turned = bases.outputs.transpose(1, 2) @ slope
    # (U^T g) (x V) costs n^2 times the positions, ((U^T g) x) V n^2 times the outputs.
    if positions < rows:
        return turned @ times(x, bases.inputs)
    return times(turned @ x, bases.inputs)
