"""What rounding to a few bits costs a layer, whatever it becomes: its weights, its inputs, values between.

Let D be what rounding takes off the weight that a layer's matrices stand for, each of them at the step size
that `quantise_` gives it. The loss rises by 1/2 <D, H D> with the curvature H over the weight, as for any
other change (`calibration.sensitivity`). Where batch norm follows the layer, H is that over inputs without
their means: nothing has kept the error of the mean output small, but the norm takes it back. Elsewhere inputs
count with their means, also those of windows: biases were made for the weights before these were rounded.

What rounding the dense layer's inputs costs is known (`calibration.input_rounding`). A replacement M passes
errors e of inputs on more or less than W does, as E[g^T M e e^T M^T g] with independent e and g says; by this
ratio its loss is more or less. The value between two matrices is read once, so that its errors are taken for
independent, and it is taken as normally distributed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import ndtri

from rankfold.calibration.input_rounding import InputRounding
from rankfold.calibration.sensitivity import LayerSensitivity, predicted_loss
from rankfold.mapping.window_cover import AnyWindow
from rankfold.nn.quantisers import Quantiser
from rankfold.planning.kinds.stored import Stored, StoredPair

Array = np.ndarray
QUANTILES = 512  # of each value between two matrices


@dataclass(frozen=True)
class LayerRounding:
    """What is known of rounding in one layer.

    Attributes:
        sensitivity: of the loss to errors of its weight that nothing has made small.
        inputs: of the dense layer.
        corrected: whether batch norm takes a constant error of its outputs back.
        windows: of the loss to such errors of the matrices of its windows, by (a, b) or part of the plane.
        narrow_bits: those at which weights leave out their lowest level, as cells do not hold it.
    """

    sensitivity: LayerSensitivity
    inputs: InputRounding
    corrected: bool
    windows: Mapping[AnyWindow, LayerSensitivity] = field(default_factory=dict)
    narrow_bits: frozenset[int] = frozenset()


class RoundingLosses:
    """What rounding costs one layer as one of the things that it may become, in nats per image.

    Args:
        stored: what it becomes, for each part of its plane.
        known: of the layer.
    """

    def __init__(self, stored: Sequence[Stored], known: LayerRounding) -> None:
        self._stored, self._known = stored, known
        self._weights: dict[int, float] = {}
        self._inputs: dict[int, float] = {}
        # What errors of inputs cost by channel (C_in,), passed on by the layer's own weight and by this one.
        self._by_reference: Array = np.sum([_passed(one, one.reference) for one in stored], axis=0)
        self._by_weight: Array = np.sum([_passed(one, one.weight) for one in stored], axis=0)

    def of(self, weight_bits: int, input_bits: int) -> float:
        """Of weights of so many bits together with inputs of so many."""
        # A layer that stores nothing reads nothing, either.
        if not self._stored:
            return 0.0
        if weight_bits not in self._weights:
            narrow = weight_bits in self._known.narrow_bits
            self._weights[weight_bits] = sum(_of_weights(one, weight_bits, narrow) for one in self._stored)
        if input_bits not in self._inputs:
            self._inputs[input_bits] = self._of_inputs(input_bits)
        return self._weights[weight_bits] + self._inputs[input_bits]

    def _of_inputs(self, bits: int) -> float:
        inputs = self._known.inputs
        lost, power = inputs.losses[bits], inputs.errors[bits]
        by_reference = float(self._by_reference @ power)
        # Without any errors, or outputs that count, nothing is passed on either way.
        if by_reference > 0:
            lost *= float(self._by_weight @ power) / by_reference
        for one in self._stored:
            if isinstance(one, StoredPair):
                lost += self._between(one, bits)
        return lost

    def _between(self, pair: StoredPair, bits: int) -> float:
        means, variances = pair.between()
        powers = rounding_power(means, variances, bits, without_mean=self._known.corrected)
        return float(pair.importance() @ powers) / 2


def _of_weights(stored: Stored, bits: int, narrow: bool) -> float:
    """Of all matrices rounded to so many bits, each at a step size of its own."""
    made = stored.product([rounded(matrix, bits, narrow) for matrix in stored.matrices])
    return predicted_loss(stored.weight, made, stored.sensitivity)


def _passed(stored: Stored, weight: Array) -> Array:
    """(C_in,) E[g^T M e e^T M^T g] over all patches of an image, for independent e of power 1 in one channel.

    Args:
        stored: says what errors of outputs cost.
        weight: (m', C_in/G, ph, pw) M.
    """
    gradient = stored.sensitivity.gradient  # (G, m'/G, m'/G)
    groups = len(gradient)
    by_group = weight.reshape(groups, -1, weight[0].size)  # (G, m'/G, n)
    counted = np.einsum("gmn,gmn->gn", gradient @ by_group, by_group)
    found: Array = stored.sensitivity.positions * counted.reshape(groups * weight.shape[1], -1).sum(axis=1)
    return found


def rounded(values: Array, bits: int, narrow: bool = False) -> Array:
    """The values on the levels of a weight quantiser that was fitted to them, any shape."""
    quantiser = Quantiser(bits, signed=True, narrow=narrow)
    given = torch.from_numpy(np.ascontiguousarray(values))
    quantiser.fit_(given)
    made: Array = (quantiser.levels(given) * quantiser.scale.double()).numpy()
    return made


def rounding_power(means: Array, variances: Array, bits: int, *, without_mean: bool) -> Array:
    """(K,) E[e^2] of K normally distributed values that one signed quantiser rounds, fitted to all of them.

    Args:
        means: (K,).
        variances: (K,).
        bits: of the quantiser.
        without_mean: whether E[e]^2 is left out.
    """
    places = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
    values = means[:, None] + np.sqrt(variances)[:, None] * places  # (K, QUANTILES)
    errors = rounded(values, bits) - values
    if without_mean:
        errors -= errors.mean(axis=1, keepdims=True)
    power: Array = np.square(errors).mean(axis=1)
    return power
