"""What all data-aware choices share: the error of an output as a quadratic form of the weight, and its exact minimum.

For one group with dense weight W (m, n), inputs x and second moments S = E[x x^T] plus a ridge, the error of a weight M is
tr((W - M) S (W - M)^T). With M bound to columns T it differs only by a constant from tr((W_T - M_T) S_TT (W_T - M_T)^T), where
W_T = W S_:T S_TT^-1 is the best weight on T: the same problem again, with W_T as target and S_TT as moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

from rankfold.errors import InputError

RIDGE = 1e-2  # of the mean input power: keeps directions that the calibration data lack from being free


def check_moments(shape: tuple[int, ...], conv_groups: int, second: np.ndarray | None, cross: np.ndarray | None) -> None:
    """Refuse moments that do not belong to a weight of this shape (m, C_in/G, kh, kw).

    Raises:
        InputError: they have another shape than (G, n, n), or are not finite.
    """
    n = int(np.prod(shape[1:]))
    for label, moments in (("second", second), ("cross", cross)):
        if moments is not None and (moments.shape != (conv_groups, n, n) or not np.isfinite(moments).all()):
            raise InputError(f"{label} moments of shape {moments.shape} must be finite and of shape {(conv_groups, n, n)}")


def with_ridge(second: np.ndarray, ridge: float) -> np.ndarray:
    """S (n, n) plus `ridge` times the mean input power, tr(S)/n, on its diagonal."""
    mean = float(np.trace(second)) / len(second)
    # Without any input, any weight will do: the plain weight error then.
    moments = second.astype(np.float64)  # a copy
    moments[np.diag_indices_from(moments)] += ridge * mean if mean > 0 else 1.0
    return moments


def power(matrix: np.ndarray, moments: np.ndarray) -> float:
    """tr(A S A^T): the mean power of the output A x."""
    return max(float(np.sum((matrix @ moments) * matrix)), 0.0)


@dataclass(frozen=True)
class Regression:
    """The problem of one group: M x' shall be W x.

    Attributes:
        dense: W, (m, n).
        second: (n, n) E[x' x'^T], without the ridge.
        moments: (n, n) S = E[x' x'^T] with the ridge.
        target: (m, n) the best M without bounds: W, unless x' is not x.
    """

    dense: np.ndarray
    second: np.ndarray
    moments: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, dense: np.ndarray, second: np.ndarray, cross: np.ndarray | None, ridge: float) -> Regression:
        """For `second` and `cross` = E[x x'^T] of one group; cross = None: x' is x.

        Raises:
            InputError: x' is not x, and the moments are singular.
        """
        moments = with_ridge(second, ridge)
        if cross is None:
            return cls(dense, second, moments, dense)
        return cls(dense, second, moments, solve_right(dense @ (moments - second + cross), factor(moments)))

    def target_on(self, columns: np.ndarray) -> np.ndarray:
        """(m, |T|) the best weight on the columns T alone, given as ascending indices.

        Raises:
            InputError: the moments on T are singular.
        """
        if len(columns) == len(self.moments):
            return self.target
        rows = self.moments[columns]
        return solve_right(self.target @ rows.T, factor(rows[:, columns]))


def factor(moments: np.ndarray) -> np.ndarray:
    """The lower Cholesky factor of moments.

    Raises:
        InputError: they are singular.
    """
    if not len(moments):
        return moments
    lower, failed = dpotrf(moments, lower=1)
    if failed:
        raise InputError("the second moments of the inputs are singular; use a ridge above 0, or more calibration data")
    return lower


def solve_right(right: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """right @ moments^-1, for moments with the Cholesky factor `lower`."""
    return cho_solve((lower, True), right.T, check_finite=False).T if lower.size else right


def inverse_triangle(lower: np.ndarray) -> np.ndarray:
    """The inverse of a Cholesky factor, itself a lower triangle."""
    return dtrtri(lower, lower=1)[0] if lower.size else lower


def inverse(moments: np.ndarray) -> np.ndarray:
    """moments^-1, by Cholesky.

    Raises:
        InputError: they are singular.
    """
    found, _ = dpotri(factor(moments), lower=1)
    # LAPACK fills one triangle only.
    return np.tril(found) + np.tril(found, -1).T
