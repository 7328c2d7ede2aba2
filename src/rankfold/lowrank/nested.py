"""The best weights of one group on nested sets of columns, from a single factorisation.

On columns T the best weight is W_T = W S_:T S_TT^-1 (see `regression`). Let T_1 < T_2 < ... be nested, and
the columns ordered so that each set comes first in the next one. With S = C C^T (Cholesky) in this order,

    S_TT = C_TT C_TT^T,    Y = C^-1 (W S)^T,    W_T = Y_T^T (C^-1)_TT,

for every set: C is a lower triangle, and so is its inverse, so that the first rows and columns of both are
those of the first rows and columns of S, and the first rows of Y need no others. Y_T^T = W_T C_TT is the
whitened weight: the power of what a set's best weight gives is ||Y_T||^2.

A larger set T' = T + Q only adds to the sum over rows, as C^-1 has nothing right of its diagonal:

    W_T' = [W_T 0] + Y_Q^T (C^-1)_QT',        Y_T'^T Y_T' = Y_T^T Y_T + Y_Q^T Y_Q,

so that all sets together take little more work than the largest one alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from rankfold.lowrank.regression import factor, inverse_triangle


@dataclass(frozen=True)
class Refit:
    """The best weight on one set of columns.

    Attributes:
        columns: (T,) the set, in an order of its own.
        weight: (m, T) W_T on these columns.
        gram: (m, m) W_T S_TT W_T^T.
    """

    columns: np.ndarray
    weight: np.ndarray
    gram: np.ndarray

    def placed(self, rows: np.ndarray, n: int) -> np.ndarray:
        """(k, n) rows (k, T) of a weight on all columns, zero outside the set."""
        whole = np.zeros((len(rows), n))
        whole[:, self.columns] = rows
        return whole


@dataclass(frozen=True)
class NestedRefits:
    """What the best weights on nested sets have in common.

    Attributes:
        order: (T,) the columns of the largest set, those of the smallest one first.
        inverse: (T, T) C^-1.
        seen: (T, m) Y.
        sizes: of the sets, rising.
    """

    order: np.ndarray
    inverse: np.ndarray
    seen: np.ndarray
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, pull: np.ndarray, moments: np.ndarray, sets: Iterable[np.ndarray]) -> NestedRefits:
        """For sets of columns, (n,) booleans each, of which each holds all smaller ones.

        Args:
            pull: (m, n) W S, for the best weight W on all columns.
            moments: (n, n) S with a ridge.
            sets: at least one.

        Raises:
            InputError: the moments are singular.
        """
        kept = list(sets)
        sizes = np.sum([one.astype(int) for one in kept], axis=0)  # in how many sets a column is
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        lower = factor(moments[np.ix_(order, order)], in_place=True)
        seen = solve_triangular(lower, pull[:, order].T, lower=True, check_finite=False)
        inverted = inverse_triangle(lower, in_place=True)
        return cls(order, inverted, seen, tuple(sorted({int(one.sum()) for one in kept})))

    def refits(self) -> Iterator[tuple[int, Refit]]:
        """The number of columns and the refit of each set, the smallest one first.

        A refit is changed by the next one: what is to stay of it has to be copied.
        """
        outputs = self.seen.shape[1]
        weight = np.zeros((outputs, len(self.order)))
        gram = np.zeros((outputs, outputs))
        before = 0
        for size in self.sizes:
            added = self.seen[before:size].T  # (m, Q)
            weight[:, :size] += added @ self.inverse[before:size, :size]
            gram += added @ added.T
            yield size, Refit(self.order[:size], weight[:, :size], gram)
            before = size
