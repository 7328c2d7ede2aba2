"""Low-rank factors on so many inputs of a matrix, of any channel and position, for its output on data."""

from __future__ import annotations

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.blocks import BlockProblem
from rankfold.lowrank.data_aware import decompose_for_data
from rankfold.lowrank.factors import LowRankFactors, check_weight
from rankfold.lowrank.regression import RIDGE, Regression, check_moments, of_group, power
from rankfold.lowrank.rows import fitted_rows
from rankfold.lowrank.sparse_factors import GAIN, ROUNDS
from rankfold.lowrank.support import ONE_BY_ONE


def row_low_rank(
    weight: np.ndarray,
    conv_groups: int,
    rank: int,
    second: np.ndarray,
    rows: int,
    *,
    cross: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> tuple[LowRankFactors, np.ndarray]:
    """W ~ L R of rank r, R zero outside `rows` inputs of each group, both made for the output on data.

    The counterpart of `sparse_factors.row_sparse` for inputs that are free to be of any channel and position,
    as `rows.fitted_rows` is that of `support.nested_supports`. Inputs are judged by the error of the best
    factors on them, which `decompose_for_data` finds exactly. The first choice is that of `fitted_rows` for
    W. Then, with U the outputs that the current factors span, inputs are eliminated for U^T W, so that none
    is kept for outputs that the rank drops anyway. The best choice of all rounds is kept, so the result is
    never worse than choosing inputs first and factors then. Of n > 576 inputs, for which a round takes long,
    there are two rounds.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        rank: r.
        second: (G, n, n) as in `decompose_for_data`.
        rows: of each group, r to n.
        cross: as in `decompose_for_data`.
        ridge: as in `decompose_for_data`; errors are compared with it.

    Returns:
        The factors, and the support (C_in, kh*kw).

    Raises:
        InputError: see `decompose_for_data`; or there are not so many inputs.
    """
    check_weight(weight, conv_groups, 1, rank)
    n = weight[0].size
    if not rank <= rows <= n:
        raise InputError(f"rows (={rows}) must be from {rank}, the rank, to {n}, the inputs of an output")
    check_moments(weight.shape, conv_groups, second, cross)
    dense = weight.astype(np.float64).reshape(conv_groups, -1, n)  # (G, m/G, n)
    kept = np.ones((conv_groups, n), bool)
    for group in range(conv_groups):
        problem = Regression.of(dense[group], second[group], of_group(cross, group), ridge)
        kept[group] = _best_rows(problem, rank, rows)
    support = kept.reshape(conv_groups * weight.shape[1], -1)
    factors = decompose_for_data(weight, conv_groups, 1, rank, second, cross, ridge=ridge, support=support)
    return factors, support


def _best_rows(problem: Regression, rank: int, rows: int) -> np.ndarray:
    """(n,) booleans, of the inputs of all rounds those whose factors have the least error."""
    n = len(problem.moments)
    best = np.ones(n, bool)
    if rows == n:
        return best
    rounds = ROUNDS
    if n > ONE_BY_ONE:
        rounds = 2
    least = np.inf
    wanted = problem.target
    for _ in range(rounds):
        # Any matrix of n columns is a weight of n channels; the ridge is in the moments already.
        found = fitted_rows(wanted[:, :, None, None], 1, problem.moments[None], rows, ridge=0.0)
        kept = found.support.reshape(-1)
        (block,) = BlockProblem.of(problem, kept, 1).solve(rank)
        error = power(problem.target - block.outputs @ block.rows, problem.moments)
        settled = error > least * (1 - GAIN)
        if error < least:
            best, least = kept, error
        if settled:
            break
        wanted = block.outputs.T @ problem.target  # (r, n)
    return best
