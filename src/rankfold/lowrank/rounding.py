"""Rounding of a weight to a grid, column by column, each column's error made up for by those after it.

For one group with weight W (m, n) and second moments S = E[x x^T] (n, n) plus a ridge, the output's error of
a rounded weight Q is tr(E S E^T), E = W - Q. Every output, a row of W, is a problem of its own. Let S = T T^T
with T upper triangular, for the columns in the order in which they are rounded. Then the error is ||E T||^2,
and as T has nothing below its diagonal, column j of E T knows only the columns rounded up to then:

    (E T)_j = T_jj E_j + sum_{i<j} E_i T_ij = T_jj (Z_j - Q_j),   Z_j = W_j + sum_{i<j} E_i T_ij / T_jj

So rounding Z_j in place of W_j gives each term of the sum its least value for what was rounded before, and
the error is sum_j T_jj^2 ||Z_j - Q_j||^2, where T_jj^2 = 1 / (S_RR^-1)_jj for the columns R from j on: the
part of input j that the inputs after it cannot give. That Z is what the best change of the columns after each
rounded one comes to: optimal brain quantisation (Frantar & Alistarh, "Optimal Brain Compression", 2022) in a
fixed order (Frantar et al., "GPTQ", 2023, with the Cholesky factor of S^-1, which is T^-1 here; the same as
Babai's nearest plane in the lattice of T, 1986). For uncorrelated inputs T is diagonal, and it is rounding to
the nearest, the optimum then. Columns of much power go first, as the ones after can still make up for them.

Weights that a mask drops are zero in W and in Q: the rows of one mask are a problem on its columns alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rankfold.lowrank.regression import factor

Nearest = Callable[[np.ndarray], np.ndarray]  # values of any shape to the nearest ones of the grid


def rounded(
    weight: np.ndarray,
    moments: np.ndarray,
    nearest: Nearest,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """The weight (m, n) of one group on a grid, for a small error of its outputs.

    Args:
        weight: (m, n) float64, zero where it is dropped; not changed.
        moments: (n, n) second moments with a ridge, see `regression.with_ridge`; not changed.
        nearest: rounds to the grid.
        kept: (m, n) booleans, the weights that a mask keeps; None: all.

    Returns:
        (m, n) values of the grid, zero where the mask drops them.

    Raises:
        InputError: the moments are singular.
    """
    if kept is None:
        kept = np.ones(weight.shape, bool)
    result = np.zeros_like(weight)
    masks, mask_of_row = np.unique(kept, axis=0, return_inverse=True)
    order = np.argsort(-np.diagonal(moments), kind="stable")
    for index, mask in enumerate(masks):
        rows = np.flatnonzero(mask_of_row.reshape(-1) == index)
        columns = order[mask[order]]
        if len(columns):
            where = np.ix_(rows, columns)
            result[where] = _in_order(weight[where], moments[np.ix_(columns, columns)], nearest)
    return result


def _in_order(weight: np.ndarray, moments: np.ndarray, nearest: Nearest) -> np.ndarray:
    """`rounded`, of all columns from the first to the last."""
    # Turned around, an upper triangle is a lower one: S = T T^T.
    turned = np.tril(factor(moments[::-1, ::-1]))
    triangle = turned[::-1, ::-1]
    result = np.empty_like(weight)
    errors = np.empty_like(weight)  # E
    for j in range(weight.shape[1]):
        made_up = errors[:, :j] @ triangle[:j, j] / triangle[j, j]
        result[:, j] = nearest(weight[:, j] + made_up)
        errors[:, j] = weight[:, j] - result[:, j]
    return result
