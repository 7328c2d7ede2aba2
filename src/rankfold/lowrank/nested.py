"""The best weights of one group on nested sets of columns, from a single factorisation.

On columns T the best weight is W_T = W S_:T S_TT^-1 (see `regression`). Let T_1 < T_2 < ... be nested, and
the columns ordered so that each set comes first in the next one. With S = C C^T (Cholesky) in this order,

    S_TT = C_TT C_TT^T,    Y = C^-1 (W S)^T,    W_T = Y_T^T C_TT^-1,

for every set: C is a lower triangle, so that its first rows and columns are the factor of the first rows and
columns of S, and the first rows of Y need no others. Y_T^T = W_T C_TT is the whitened weight: the power of
what a set's best weight gives is ||Y_T||^2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from rankfold.lowrank.regression import factor


@dataclass(frozen=True)
class NestedRefits:
    """What the best weights on nested sets have in common.

    Attributes:
        order: (T,) the columns of the largest set, those of the smallest one first.
        lower: (T, T) C.
        seen: (T, m) Y.
    """

    order: np.ndarray
    lower: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, moments: np.ndarray, sets: Iterable[np.ndarray]) -> NestedRefits:
        """For sets of columns, (n,) booleans each, of which each holds all smaller ones.

        Args:
            target: (m, n) W, the best weight on all columns.
            moments: (n, n) S with a ridge.
            sets: at least one.

        Raises:
            InputError: the moments are singular.
        """
        sizes = np.sum([kept.astype(int) for kept in sets], axis=0)  # in how many sets a column is
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        columns = moments[:, order]  # (n, T)
        lower = factor(columns[order])
        seen = solve_triangular(lower, (target @ columns).T, lower=True, check_finite=False)
        return cls(order, lower, seen)

    def whitened(self, size: int) -> np.ndarray:
        """(m, T) W_T C_TT of the set of so many columns."""
        return self.seen[:size].T

    def unwhitened(self, rows: np.ndarray, n: int) -> np.ndarray:
        """(k, n) the rows B of a weight, zero outside the set, from (k, T) B C_TT."""
        size = rows.shape[1]
        lower = self.lower[:size, :size]
        plain = np.zeros((len(rows), n))
        solved = solve_triangular(lower, rows.T, trans="T", lower=True, check_finite=False)
        plain[:, self.order[:size]] = solved.T
        return plain
