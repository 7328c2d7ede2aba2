"""`Stored`: the matrices that a layer keeps in its arrays, and the weight that they stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

Array = np.ndarray


@dataclass(frozen=True)
class Stored(ABC):
    """What a layer stores.

    Attributes:
        reference: (m', C_in/G, ph, pw) what its weight stands in for: the layer's own, or the matrix of a
            window with shifted copies of that.
        sensitivity: of the loss to such a weight.
    """

    reference: Array
    sensitivity: LayerSensitivity

    @property
    @abstractmethod
    def matrices(self) -> tuple[Array, ...]:
        """What is rounded, each with a step size of its own, in the order in which they run."""

    @abstractmethod
    def product(self, matrices: Sequence[Array]) -> Array:
        """The weight (m', C_in/G, ph, pw) that such matrices stand for."""

    @property
    def weight(self) -> Array:
        """The one that those of `matrices` stand for."""
        return self.product(self.matrices)


@dataclass(frozen=True)
class StoredWeight(Stored):
    """One matrix.

    Attributes:
        matrix: (m', C_in/G, ph, pw).
    """

    matrix: Array

    @property
    def matrices(self) -> tuple[Array, ...]:
        """It alone."""
        return (self.matrix,)

    def product(self, matrices: Sequence[Array]) -> Array:
        """The matrix."""
        (matrix,) = matrices
        return matrix


@dataclass(frozen=True)
class StoredPair(Stored):
    """Two matrices with a value between them, which is rounded as inputs are.

    Attributes:
        rows: (G, g, r, n/g) the first one, R of each block of inputs.
        outputs: (G, g, m'/G, r) the second one, L of each block.
    """

    rows: Array
    outputs: Array

    @property
    def matrices(self) -> tuple[Array, ...]:
        """R, then L."""
        return self.rows, self.outputs

    def product(self, matrices: Sequence[Array]) -> Array:
        """[L_1 R_1 ... L_g R_g] of each group."""
        rows, outputs = matrices
        blocks = outputs @ rows  # (G, g, m'/G, n/g)
        whole: Array = blocks.swapaxes(1, 2).reshape(self.reference.shape)
        return whole

    def between(self) -> tuple[Array, Array]:
        """(G*g*r,) mean and variance of the values between both on data."""
        groups, blocks, _, width = self.rows.shape
        moments = self.sensitivity.moments
        mean = moments.mean.reshape(groups, blocks, width, 1)
        means = (self.rows @ mean)[..., 0]  # (G, g, r)
        squares = np.empty_like(means)
        for group, second in enumerate(moments.second):
            for block, rows in enumerate(self.rows[group]):
                own = slice(block * width, (block + 1) * width)
                squares[group, block] = np.einsum("ri,ij,rj->r", rows, second[own, own], rows, optimize=True)
        variances = np.maximum(squares - means**2, 0.0)
        return means.ravel(), variances.ravel()

    def importance(self) -> Array:
        """(G*g*r,) what the error of a value between both costs, 1/2 of this times its square, in nats per
        image: sum over positions of (g^T l)^2, for its column l of L.
        """
        counted = np.einsum(
            "gbmr,gmk,gbkr->gbr", self.outputs, self.sensitivity.gradient, self.outputs, optimize=True
        )
        found: Array = self.sensitivity.positions * counted.ravel()
        return found
