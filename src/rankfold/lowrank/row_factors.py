"""Low-rank factors on so many inputs of a matrix, of any channel and position, for its output on data.

The counterpart of `sparse_factors` for inputs that are free, as `rows` is that of `support`. On given inputs
the best factors are known exactly (`data_aware`); which inputs is what is searched. Those worth most to W are
not quite those worth most to what the rank keeps of it: with U the outputs that the best factors on all
inputs span, inputs are eliminated for U^T W too, so that none is kept for outputs that the rank drops anyway.
Of both choices the one of the smaller error is taken, so the result is never worse than choosing inputs for W
and factors then. (To choose again for the outputs that the new factors span changes the error by less than
0.1 %.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.blocks import BlockProblem
from rankfold.lowrank.data_aware import decompose_for_data
from rankfold.lowrank.factors import LowRankFactors, check_weight
from rankfold.lowrank.regression import RIDGE, Regression, check_moments, of_group, power, with_ridge
from rankfold.lowrank.rows import OutputMoments, nested_rows

Array = np.ndarray


def row_low_rank(
    weight: Array,
    conv_groups: int,
    rank: int,
    second: Array,
    rows: int,
    *,
    cross: Array | None = None,
    ridge: float = RIDGE,
) -> tuple[LowRankFactors, Array]:
    """W ~ L R of rank r, R zero outside `rows` inputs of each group, both made for the output on data.

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
    support = low_rank_rows(weight, conv_groups, rank, second, [rows], cross=cross, ridge=ridge)[rows]
    factors = decompose_for_data(weight, conv_groups, 1, rank, second, cross, ridge=ridge, support=support)
    return factors, support


def low_rank_rows(
    weight: Array,
    conv_groups: int,
    rank: int,
    second: Array,
    budgets: Iterable[int],
    *,
    cross: Array | None = None,
    ridge: float = RIDGE,
) -> dict[int, Array]:
    """The inputs for factors of rank r, for several numbers of them; each is found as if asked for alone.

    Arguments and errors as of `row_low_rank`, with `budgets` for `rows`.

    Returns:
        The support (C_in, kh*kw) for each of `budgets`.
    """
    check_weight(weight, conv_groups, 1, rank)
    wanted = sorted(set(budgets))
    n = weight[0].size
    for rows in wanted:
        if not rank <= rows <= n:
            raise InputError(f"rows (={rows}) must be from {rank}, the rank, to {n}, the inputs of an output")
    check_moments(weight.shape, conv_groups, second, cross)
    dense = weight.astype(np.float64).reshape(conv_groups, -1, n)  # (G, m/G, n)
    kept = {rows: np.ones((conv_groups, n), bool) for rows in wanted}
    fewer = [rows for rows in wanted if rows < n]
    for group in range(conv_groups):
        problem = Regression.of(dense[group], second[group], of_group(cross, group), ridge)
        for rows, found in _rows_of_group(problem, rank, fewer).items():
            kept[rows][group] = found
    return {rows: there.reshape(conv_groups * weight.shape[1], -1) for rows, there in kept.items()}


def _rows_of_group(problem: Regression, rank: int, budgets: Sequence[int]) -> dict[int, Array]:
    """(n,) booleans for each of `budgets`."""
    if not budgets:
        return {}
    everything = np.ones(len(problem.moments), bool)
    (whole,) = BlockProblem.of(problem, everything, 1).solve(rank)
    choices = [_eliminated(problem.target, problem, budgets)]
    choices.append(_eliminated(whole.outputs.T @ problem.target, problem, budgets))
    found = {}
    for rows in budgets:
        kept = [choice[rows] for choice in choices]
        found[rows] = min(kept, key=lambda there: _lost(problem, there, rank))
    return found


def _eliminated(target: Array, problem: Regression, budgets: Sequence[int]) -> dict[int, Array]:
    """The inputs worth most to a target (any outputs, n)."""
    # Any matrix of n columns is a weight of n channels; the ridge is in the moments already.
    found = nested_rows(target[:, :, None, None], 1, problem.moments[None], budgets, ridge=0.0)
    return {rows: fitted.support.reshape(-1) for rows, fitted in found.items()}


def _lost(problem: Regression, kept: Array, rank: int) -> float:
    """The error of the best factors on some inputs, with the ridge."""
    (block,) = BlockProblem.of(problem, kept, 1).solve(rank)
    return power(problem.target - block.outputs @ block.rows, problem.moments)


def refit_outputs(
    target: Array,
    factors: LowRankFactors,
    conv_groups: int,
    parts: Sequence[OutputMoments],
    *,
    ridge: float = RIDGE,
) -> Array:
    """The best L for an R that is given, where outputs read inputs of different moments.

    Each output has a row of L of its own, the least squares weight on z = R x over the patches that have the
    output: with S their moments and a ridge, l = w S R^T (R S R^T)^-1, for w the output's row of the target.

    Args:
        target: (m, C_in/G, kh, kw) the best weight without bounds.
        factors: of one block, of which `reduce` is R.
        conv_groups: G.
        parts: the moments of sets of outputs, which together are all.
        ridge: as in `decompose_for_data`.

    Returns:
        (m, r, 1, 1).
    """
    n = target[0].size
    right = factors.reduce.reshape(conv_groups, -1, n)  # (G, r, n)
    refitted = np.zeros(factors.expand.shape)
    for part in parts:
        wanted = target[part.outputs].reshape(conv_groups, -1, n)  # (G, m'/G, n)
        rows = []
        for group, second in enumerate(part.second):
            seen = with_ridge(second, ridge) @ right[group].T  # (n, r) S R^T
            inner = right[group] @ seen  # (r, r)
            # A factor that is zero has no direction: the pseudo-inverse leaves it out.
            rows.append(wanted[group] @ seen @ np.linalg.pinv(inner, hermitian=True))
        refitted[part.outputs] = np.concatenate(rows)[:, :, None, None]
    return refitted
