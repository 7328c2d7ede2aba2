"""How much the loss of a network rises when the weight of one layer is replaced, foreseen from its gradients.

Let D = W - M be the error that a replacement M leaves in a weight W of (m, n). To the second order the loss
rises by 1/2 vec(D)^T H vec(D), with the Gauss-Newton matrix H = E[vec(A) vec(A)^T] of the gradients A =
sum_p g_p x_p^T of single images: sums over positions p of output gradients g_p (m,) and patches x_p (n,). H
has (m n)^2 entries, too many to keep. In the basis of the eigenvectors U of E[g g^T] and V of E[x x^T] it
is nearly diagonal, and its diagonal there is exactly

    power_ij = E[(U^T A V)_ij^2],     so that     1/2 vec(D)^T H vec(D) ~ 1/2 sum_ij power_ij (U^T D V)_ij^2

(eigenvalue-corrected Kronecker factors, George et al. 2018). A plain Kronecker product (Martens & Grosse
2015) takes the positions of an image for independent; here errors of neighbouring positions may add up or
cancel. `calibration.network_sensitivities` gathers it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rankfold.calibration.curvature import times
from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError

TEMPERATURE = 4.0  # see `network_sensitivities.sensitivities`


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

    @property
    def weighed_moments(self) -> PatchMoments:
        """The moments, with E[g g^T] as what errors of outputs count together (`calibration.importance`)."""
        return replace(self.moments, importance=self.gradient)

    def increase(self, lost: np.ndarray) -> float:
        """1/2 sum_ij power_ij (U^T D V)_ij^2 for D (G, m/G, n)."""
        if len(self.inputs) == 2:
            return self._wide_increase(lost)
        turned = self.outputs.swapaxes(1, 2) @ lost  # U^T D
        rotated = times(turned, self.inputs)  # U^T D V
        return float(np.einsum("gmn,gmn,gmn->", self.power, rotated, rotated)) / 2

    def _wide_increase(self, lost: np.ndarray) -> float:
        """The same for V = A (x) B, in float32: of positive terms, so that nothing cancels."""
        over_channels, over_kernel, outputs, power = self._single
        groups, rows, _ = lost.shape
        channels, positions = over_channels.shape[1], over_kernel.shape[1]
        turned = outputs.swapaxes(1, 2) @ lost.astype(np.float32)  # U^T D
        by_position = turned.reshape(groups, rows, channels, positions).swapaxes(2, 3)
        flat = by_position.reshape(groups, rows * positions, channels)
        product = (flat @ over_channels).reshape(groups, rows, positions, channels)
        rotated = over_kernel.swapaxes(1, 2)[:, None] @ product  # (G, m/G, K, C) U^T D V
        np.square(rotated, out=rotated)
        rotated *= power
        return float(np.sum(rotated, dtype=np.float64)) / 2

    @cached_property
    def _single(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A, B, U and the power in float32; the latter (G, m/G, K, C), as products come."""
        over_channels, over_kernel = self.inputs
        split = self.power.reshape(*self.power.shape[:2], over_channels.shape[1], over_kernel.shape[1])
        parts = over_channels, over_kernel, self.outputs, split.swapaxes(2, 3)
        first, second, third, fourth = [np.ascontiguousarray(part, np.float32) for part in parts]
        return first, second, third, fourth


def predicted_loss(
    weight: np.ndarray,
    replacement: np.ndarray,
    sensitivity: LayerSensitivity,
) -> float:
    """The expected increase of the loss per image, in its unit, with `replacement` in the place of `weight`.

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
    return sensitivity.increase(lost.reshape(groups, outputs, inputs))
