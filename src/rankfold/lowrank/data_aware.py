"""Factors that keep a layer's output on real inputs, rather than its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rankfold.lowrank.factors import LowRankFactors, decompose, reconstruct
from rankfold.lowrank.regression import RIDGE, Regression, check_moments, factor, power, solve_right
from rankfold.lowrank.support import columns_of

SWEEPS = 30
SETTLED = 1e-5  # relative gain of a sweep over all groups, below which it stops


def decompose_for_data(
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
    rank: int,
    second: np.ndarray,
    cross: np.ndarray | None = None,
    ridge: float = RIDGE,
    support: np.ndarray | None = None,
) -> LowRankFactors:
    """Minimise the error of the output on data, ||(W - L R_) X||_F, over factors of a given rank.

    With S = E[x x^T] the error is tr(D S D^T), D = W - L R_. For one group the optimum is the truncated SVD of W S^(1/2),
    unwhitened (the reduced-rank regression of Izenman 1975). For more, groups are optimised in turn: with all others fixed,
    the best block M_i is the truncation, under S_ii, of M_i + D S_:i S_ii^-1, so each step is exact and none loses; it starts
    from the plain grouped SVD and so is never worse on the data. The ridge adds ridge * tr(S)/n * ||D||_F^2, of which the
    plain SVD is the optimum, and so does not change that.

    With a support, R_ is zero outside it. Restricted to the columns T of the support the problem is the same one, with W
    refitted on T as target and S_TT as moments (see `regression`): all of the above holds among the weights on T, the plain SVD
    being that of the weight on T. Where a block keeps fewer than `rank` columns, its further factors are zero.

    The scale is shared evenly between the factors, as in `decompose`.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g, blocks of input channels in each of the G groups.
        rank: r of each block.
        second: (G, n, n) second moments of the input patches of each group, n = C_in/G * kh * kw, ordered (channel, ky, kx).
        cross: (G, n, n) E[x x'^T] between the patches x that the dense network sees and the patches x' that are seen here,
            whose second moments `second` then are: L R_ x' approximates W x. None: they are the same.
        ridge: see above, at least 0.
        support: (C_in, kh*kw) booleans, the kernel positions of each input channel that R_ may use; None: all.

    Raises:
        InputError: the weight or the moments are not finite, or shapes, groups or rank do not fit.
    """
    plain = decompose(weight, conv_groups, groups, rank)
    check_moments(weight.shape, conv_groups, second, cross)
    m, channels, kh, kw = weight.shape
    n = channels * kh * kw
    dense = weight.astype(np.float64).reshape(conv_groups, m // conv_groups, n)
    kept = np.ones((conv_groups, n), bool) if support is None else columns_of(support, weight.shape, conv_groups)
    left = np.zeros((conv_groups, groups, m // conv_groups, rank))
    right = np.zeros((conv_groups, groups, rank, n // groups))
    lost = whole = 0.0
    for group in range(conv_groups):
        problem = Regression.of(dense[group], second[group], None if cross is None else cross[group], ridge)
        found = low_rank_on(problem, kept[group], groups, rank)
        for index, (block, there) in enumerate(zip(np.split(found, groups, axis=1), np.split(kept[group], groups), strict=True)):
            left[group, index], right[group, index][:, there] = _balanced(block[:, there], rank)
        lost += power(problem.target - found, second[group])
        whole += power(problem.target, second[group])
    factors = LowRankFactors(
        reduce=right.reshape(conv_groups * groups * rank, channels // groups, kh, kw),
        expand=left.swapaxes(1, 2).reshape(m, groups * rank, 1, 1),
        error=0.0,
        plain_error=plain.plain_error,
        output_error=math.sqrt(lost / whole) if whole > 0 else 0.0,
    )
    return _with_error(factors, weight, conv_groups, groups)


def output_error(weight: np.ndarray, factors: LowRankFactors, conv_groups: int, groups: int, second: np.ndarray) -> float:
    """||(W - L R_) X||_F / ||W X||_F on the data that `second` (G, n, n) was taken from."""
    shape = conv_groups, len(weight) // conv_groups, -1
    dense = weight.astype(np.float64).reshape(shape)
    lost = dense - reconstruct(factors, conv_groups, groups).reshape(shape)
    whole = sum(power(dense[group], second[group]) for group in range(conv_groups))
    return math.sqrt(sum(power(lost[group], second[group]) for group in range(conv_groups)) / whole) if whole > 0 else 0.0


def low_rank_on(problem: Regression, kept: np.ndarray, groups: int, rank: int) -> np.ndarray:
    """The matrix (m, n) of one group with blocks of rank r and zeros outside the columns `kept`; see `decompose_for_data`.

    Args:
        problem: of m outputs and n inputs.
        kept: (n,) booleans.
        groups: g, equal blocks of the n columns.
        rank: r of each block.
    """
    columns = np.flatnonzero(kept)
    target, moments = problem.target_on(columns), problem.moments[np.ix_(columns, columns)]
    found = np.zeros(problem.target.shape)
    if groups == 1:
        found[:, columns] = _truncated(target, moments, rank)
        return found
    cuts = [slice(*ends) for ends in pairwise(np.searchsorted(columns, np.arange(groups + 1) * (len(kept) // groups)))]
    start = np.concatenate([_truncated(problem.dense[:, columns[cut]], None, rank) for cut in cuts], axis=1)
    found[:, columns] = _blocks(target, start, moments, cuts, rank)
    return found


def _blocks(target: np.ndarray, start: np.ndarray, moments: np.ndarray, cuts: Sequence[slice], rank: int) -> np.ndarray:
    """The matrix M (m, n) with blocks M[:, cut] of rank r that brings tr((target - M) S (target - M)^T) down, from `start`."""
    found = start.copy()
    lost = target - found
    lowers = [factor(moments[cut, cut]) for cut in cuts]
    before = math.inf
    for _ in range(SWEEPS):
        for cut, lower in zip(cuts, lowers, strict=True):
            free = found[:, cut] + solve_right(lost @ moments[:, cut], lower)
            block = _truncated(free, moments[cut, cut], rank)
            lost[:, cut] += found[:, cut] - block
            found[:, cut] = block
        error = power(lost, moments)
        if before - error <= SETTLED * error:
            break
        before = error
    return found


def _truncated(block: np.ndarray, moments: np.ndarray | None, rank: int) -> np.ndarray:
    """The matrix of rank r nearest to `block` in tr(D S D^T), S = 1 where None: U U^T block, U its leading outputs."""
    _, vectors = np.linalg.eigh((block if moments is None else block @ moments) @ block.T)
    leading = vectors[:, -rank:]
    return leading @ (leading.T @ block)


def _balanced(block: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (m, r) and (r, n) of a matrix of rank r, each with half of its scale."""
    left, right = np.zeros((len(block), rank)), np.zeros((rank, block.shape[1]))
    u, s, vt = np.linalg.svd(block, full_matrices=False)
    root = np.sqrt(s[:rank])
    left[:, : len(root)], right[: len(root)] = u[:, :rank] * root, root[:, None] * vt[:rank]
    return left, right


def _with_error(factors: LowRankFactors, weight: np.ndarray, conv_groups: int, groups: int) -> LowRankFactors:
    size = float(np.linalg.norm(weight))
    lost = float(np.linalg.norm(weight - reconstruct(factors, conv_groups, groups)))
    return replace(factors, error=lost / size if size > 0 else 0.0)
