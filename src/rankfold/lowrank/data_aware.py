"""Factors that keep a layer's output on real inputs, rather than its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rankfold.lowrank.blocks import Block, BlockProblem, joined
from rankfold.lowrank.factors import LowRankFactors, check_weight, plain_error, reconstruct
from rankfold.lowrank.regression import RIDGE, Regression, check_moments, of_group, power
from rankfold.lowrank.support import columns_of


def decompose_for_data(
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
    rank: int,
    second: np.ndarray,
    *,
    cross: np.ndarray | None = None,
    ridge: float = RIDGE,
    support: np.ndarray | None = None,
) -> LowRankFactors:
    """Minimise the error of the output on data, ||(W - L R_) X||_F, over factors of a given rank.

    With S = E[x x^T] the error is tr(D S D^T), D = W - L R_. For one group the optimum is the truncated SVD
    of W S^(1/2), unwhitened (the reduced-rank regression of Izenman 1975). For more, groups are optimised in
    turn: with all others fixed, the best block M_i is the truncation, under S_ii, of M_i + D S_:i S_ii^-1
    (see `blocks`). It is taken in the first sweep and approached in later ones. No step loses, and the first
    one starts from the plain grouped SVD, so that the result is never worse on the data. The ridge adds ridge
    * tr(S)/n * ||D||_F^2, of which the plain SVD is the optimum, and so does not change that.

    With a support, R_ is zero outside it. Restricted to the columns T of the support the problem is the same
    one, with W refitted on T as target and S_TT as moments (see `regression`): all of the above holds among
    the weights on T, the plain SVD being that of the weight on T. Where a block keeps fewer than `rank`
    columns, its further factors are zero.

    The scale is shared evenly between the factors, as in `decompose`.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g, blocks of input channels in each of the G groups.
        rank: r of each block.
        second: (G, n, n) second moments of the input patches of each group, n = C_in/G * kh * kw, ordered
            (channel, ky, kx).
        cross: (G, n, n) E[x x'^T] between the patches x that the dense network sees and the patches x' that
            are seen here, whose second moments `second` then are: L R_ x' approximates W x. None: they are
            the same.
        ridge: see above, at least 0.
        support: (C_in, kh*kw) booleans, the kernel positions of each input channel that R_ may use; None:
            all.

    Raises:
        InputError: the weight or the moments are not finite, or shapes, groups or rank do not fit.
    """
    check_weight(weight, conv_groups, groups, rank)
    check_moments(weight.shape, conv_groups, second, cross)
    m, channels, kh, kw = weight.shape
    n = channels * kh * kw
    outputs = m // conv_groups
    dense = weight.astype(np.float64).reshape(conv_groups, outputs, n)
    kept = np.ones((conv_groups, n), bool)
    if support is not None:
        kept = columns_of(support, weight.shape, conv_groups)
    left = np.zeros((conv_groups, groups, outputs, rank))
    right = np.zeros((conv_groups, groups, rank, n // groups))
    lost = 0.0
    whole = 0.0
    for group, moments in enumerate(second):
        problem = Regression.of(dense[group], moments, of_group(cross, group), ridge)
        blocks = BlockProblem.of(problem, kept[group], groups).solve(rank)
        left[group], right[group] = balanced_blocks(blocks, kept[group])
        # What is reported is the error without the ridge.
        lost += power(problem.target - joined(blocks), moments)
        whole += power(problem.target, moments)
    made = LowRankFactors(
        reduce=right.reshape(-1, channels // groups, kh, kw),
        # (G, g, m/G, r) -> (G, m/G, g, r): L = [L_1 ... L_g]
        expand=left.swapaxes(1, 2).reshape(m, groups * rank, 1, 1),
        error=0.0,
        plain_error=plain_error(weight, conv_groups, rank),
        output_error=_relative(lost, whole),
    )
    return _with_error(made, weight, conv_groups, groups)


def output_error(
    weight: np.ndarray,
    factors: LowRankFactors,
    conv_groups: int,
    groups: int,
    second: np.ndarray,
) -> float:
    """||(W - L R_) X||_F / ||W X||_F on the data that `second` (G, n, n) was taken from."""
    shape = conv_groups, len(weight) // conv_groups, -1
    dense = weight.astype(np.float64).reshape(shape)
    made = reconstruct(factors, conv_groups, groups).reshape(shape)  # (G, m/G, n)
    lost = 0.0
    whole = 0.0
    for group, moments in enumerate(second):
        lost += power(dense[group] - made[group], moments)
        whole += power(dense[group], moments)
    return _relative(lost, whole)


def _relative(lost: float, whole: float) -> float:
    """sqrt(lost / whole), of powers; zero of a silent output."""
    if whole <= 0:
        return 0.0
    return math.sqrt(lost / whole)


def balanced_blocks(blocks: Sequence[Block], kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors (g, m/G, r) and (g, r, n/g) of the blocks of a group, zero outside its columns `kept` (n,)."""
    factors = [balanced(block, own) for block, own in zip(blocks, np.split(kept, len(blocks)), strict=True)]
    left, right = zip(*factors, strict=True)
    return np.stack(left), np.stack(right)


def balanced(block: Block, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors (m, r) and (r, n) of a block, each with half of its scale, zero outside the columns `kept`."""
    left = np.zeros(block.outputs.shape)
    right = np.zeros(block.rows.shape)
    u, s, vt = np.linalg.svd(block.rows[:, kept], full_matrices=False)
    root = np.sqrt(s)  # (k,)
    # k is below r where a block keeps fewer columns: the other factors are zero.
    k = len(s)
    left[:, :k] = block.outputs @ u * root
    right[:k, kept] = root[:, None] * vt
    return left, right


def _with_error(
    factors: LowRankFactors,
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
) -> LowRankFactors:
    size = float(np.linalg.norm(weight))
    if size == 0:
        return replace(factors, error=0.0)
    made = reconstruct(factors, conv_groups, groups)
    lost = float(np.linalg.norm(weight - made))
    return replace(factors, error=lost / size)
