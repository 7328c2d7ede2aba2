"""What all data-aware choices share: an output's error, quadratic in the weight, and its exact minimum.

For one group with dense weight W (m, n), inputs x (n,) and second moments S = E[x x^T] (n, n) plus a ridge,
the error of a weight M is E(M) = tr((W - M) S (W - M)^T).

**Columns.** Let M be zero outside the columns T. E is least where its derivative by M_T is zero, (W - M) S_:T
= 0, and so for W_T = W S_:T S_TT^-1. For any other M on T, W - M = (W - W_T) + (W_T - M), of which the mixed
term is zero, as the second part lies on T and (W - W_T) S_:T = 0. So

    E(M) = E(W_T) + tr((W_T - M) S_TT (W_T - M)^T):

the same problem again, with W_T as target and S_TT as moments.

**Other inputs.** Where M sees x' instead of x (earlier layers are compressed already), E||W x - M x'||^2 with
the ridge p ||W - M||_F^2, which pulls M towards W, is least for M = W (E[x x'^T] + p I) (E[x' x'^T] + p
I)^-1. This M is the target then, and the same argument holds with S = E[x' x'^T] + p I.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

from rankfold.errors import InputError

MIRRORED = 256  # columns of a symmetric matrix that are copied at a time
RIDGE = 1e-2  # of the mean input power: keeps directions that the calibration data lack from being free


def check_moments(
    shape: tuple[int, ...],
    conv_groups: int,
    second: np.ndarray | None,
    cross: np.ndarray | None,
) -> None:
    """Refuse moments that do not belong to a weight of this shape (m, C_in/G, kh, kw).

    Raises:
        InputError: they have another shape than (G, n, n), or are not finite.
    """
    n = int(np.prod(shape[1:]))
    wanted = (conv_groups, n, n)
    for label, moments in (("second", second), ("cross", cross)):
        if moments is None:
            continue
        if moments.shape != wanted or not np.isfinite(moments).all():
            raise InputError(f"{label} moments of shape {moments.shape} must be finite and of shape {wanted}")


def of_group(moments: np.ndarray | None, group: int) -> np.ndarray | None:
    """The moments (n, n) of one group, of those of all groups (G, n, n); None of None."""
    if moments is None:
        return None
    return moments[group]


def with_ridge(second: np.ndarray, ridge: float) -> np.ndarray:
    """S (n, n) plus `ridge` times the mean input power, tr(S)/n, on its diagonal.

    With a ridge of 0 it is S itself, not a copy, where there is any input.
    """
    if ridge == 0 and np.trace(second) > 0:
        return second.astype(np.float64, copy=False)
    moments = second.astype(np.float64)  # a copy
    add_ridge_(moments, ridge)
    return moments


def add_ridge_(second: np.ndarray, ridge: float) -> None:
    """`with_ridge` in place of S."""
    mean = float(np.trace(second)) / len(second)
    # Without any input, any weight will do: the plain weight error then.
    added = 1.0
    if mean > 0:
        added = ridge * mean
    second[np.diag_indices_from(second)] += added


def power(matrix: np.ndarray, moments: np.ndarray) -> float:
    """tr(A S A^T): the mean power of the output A x."""
    sum_of_products = np.sum((matrix @ moments) * matrix)
    # Rounding may bring it below zero.
    return max(float(sum_of_products), 0.0)


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
    def of(
        cls,
        dense: np.ndarray,
        second: np.ndarray,
        cross: np.ndarray | None,
        ridge: float,
    ) -> Regression:
        """For `second` and `cross` = E[x x'^T] of one group; cross = None: x' is x.

        Raises:
            InputError: x' is not x, and the moments are singular.
        """
        moments = with_ridge(second, ridge)
        if cross is None:
            return cls(dense, second, moments, dense)
        only_ridge = moments - second  # p I
        wanted = dense @ (only_ridge + cross)
        target = solve_right(wanted, factor(moments))
        return cls(dense, second, moments, target)

    @cached_property
    def pull(self) -> np.ndarray:
        """(m, n) the target times S; its columns T are those of W_T S_TT, for any columns T."""
        return self.target @ self.moments

    def target_on(self, columns: np.ndarray) -> np.ndarray:
        """(m, |T|) the best weight on the columns T alone, given as ascending indices.

        Raises:
            InputError: the moments on T are singular.
        """
        if len(columns) == len(self.moments):
            return self.target
        inner = self.moments[np.ix_(columns, columns)]  # (|T|, |T|), S_TT
        return solve_right(self.pull[:, columns], factor(inner))


def factor(moments: np.ndarray, *, in_place: bool = False) -> np.ndarray:
    """The lower Cholesky factor of moments.

    Args:
        moments: (n, n), symmetric.
        in_place: whether they may be written over, so that no memory for another matrix is needed.

    Raises:
        InputError: they are singular.
    """
    if not len(moments):
        return moments
    # Turned, which changes nothing: LAPACK has columns in a row, and copies what has rows in one more slowly.
    lower, failed = dpotrf(moments.T, lower=1, overwrite_a=in_place)
    if failed:
        raise InputError(
            "the second moments of the inputs are singular; use a ridge above 0, or more calibration data"
        )
    return lower


def solve_right(right: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """right @ moments^-1, for moments with the Cholesky factor `lower`."""
    if not lower.size:
        return right
    return cho_solve((lower, True), right.T, check_finite=False).T


def inverse_triangle(lower: np.ndarray, *, in_place: bool = False) -> np.ndarray:
    """The inverse of a Cholesky factor, itself a lower triangle; written over it where it may be."""
    if not lower.size:
        return lower
    inverted, _ = dtrtri(lower, lower=1, overwrite_c=in_place)
    return inverted


def inverse(moments: np.ndarray) -> np.ndarray:
    """moments^-1, by Cholesky.

    Raises:
        InputError: they are singular.
    """
    whole, _ = dpotri(factor(moments), lower=1, overwrite_c=1)
    # LAPACK fills one triangle only; the other one is copied block by block, which needs no more memory.
    for start in range(0, len(whole), MIRRORED):
        stop = start + MIRRORED
        square = np.tril(whole[start:stop, start:stop])
        whole[start:stop, start:stop] = square + np.tril(square, -1).T
        whole[start:stop, stop:] = whole[stop:, start:stop].T
    return whole.T  # symmetric, and in the order of rows


class Inverses:
    """Inverses of moments, each made once for all choices of columns that begin with the same moments."""

    def __init__(self) -> None:
        self._known: list[tuple[np.ndarray, np.ndarray]] = []

    def of(self, moments: np.ndarray) -> np.ndarray:
        """(n, n) the inverse, not to be changed.

        Args:
            moments: (n, n) with a ridge, not changed later.

        Raises:
            InputError: they are singular.
        """
        for known, found in self._known:
            if known is moments or np.array_equal(known, moments):
                return found
        found = inverse(moments)
        self._known.append((moments, found))
        return found
