"""Factors that keep a layer's output on real inputs, rather than its weight."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.factors import LowRankFactors, decompose, reconstruct

RIDGE = 1e-2  # of the mean input power: keeps directions that the calibration data lack from being free
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
) -> LowRankFactors:
    """Minimise the error of the output on data, ||(W - L R_) X||_F, over factors of a given rank.

    With S = E[x x^T] the error is tr(D S D^T), D = W - L R_. For one group the optimum is the truncated SVD of W S^(1/2),
    unwhitened (the reduced-rank regression of Izenman 1975). For more, groups are optimised in turn: with all others fixed,
    the best block M_i is the truncation, under S_ii, of M_i + D S_:i S_ii^-1, so each step is exact and none loses; it starts
    from the plain grouped SVD and so is never worse on the data. The ridge adds ridge * tr(S)/n * ||D||_F^2, of which the
    plain SVD is the optimum, and so does not change that.

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

    Raises:
        InputError: the weight or the moments are not finite, or shapes, groups or rank do not fit.
    """
    plain = decompose(weight, conv_groups, groups, rank)
    m, channels, kh, kw = weight.shape
    n = channels * kh * kw
    for label, moments in (("second", second), ("cross", cross)):
        if moments is not None and (moments.shape != (conv_groups, n, n) or not np.isfinite(moments).all()):
            raise InputError(f"{label} moments of shape {moments.shape} must be finite and of shape {(conv_groups, n, n)}")
    dense = weight.astype(np.float64).reshape(conv_groups, m // conv_groups, n)
    start = reconstruct(plain, conv_groups, groups).reshape(conv_groups, m // conv_groups, n)
    left = np.zeros((conv_groups, groups, m // conv_groups, rank))
    right = np.zeros((conv_groups, groups, rank, n // groups))
    lost = power = 0.0
    for group in range(conv_groups):
        moments = _with_ridge(second[group], ridge)
        target = dense[group]
        if cross is not None:
            shift = moments - second[group] + cross[group]
            target = np.linalg.solve(moments, (dense[group] @ shift).T).T
        blocks = _blocks(target, start[group], moments, groups, rank)
        for index, block in enumerate(blocks):
            left[group, index], right[group, index] = _balanced(block, rank)
        found = (left[group] @ right[group]).swapaxes(0, 1).reshape(m // conv_groups, n)
        lost += _power(target - found, second[group])
        power += _power(target, second[group])
    factors = LowRankFactors(
        reduce=right.reshape(conv_groups * groups * rank, channels // groups, kh, kw),
        expand=left.swapaxes(1, 2).reshape(m, groups * rank, 1, 1),
        error=0.0,
        plain_error=plain.plain_error,
        output_error=math.sqrt(lost / power) if power > 0 else 0.0,
    )
    return _with_error(factors, weight, conv_groups, groups)


def output_error(weight: np.ndarray, factors: LowRankFactors, conv_groups: int, groups: int, second: np.ndarray) -> float:
    """||(W - L R_) X||_F / ||W X||_F on the data that `second` (G, n, n) was taken from."""
    shape = conv_groups, len(weight) // conv_groups, -1
    dense = weight.astype(np.float64).reshape(shape)
    lost = dense - reconstruct(factors, conv_groups, groups).reshape(shape)
    power = sum(_power(dense[group], second[group]) for group in range(conv_groups))
    return math.sqrt(sum(_power(lost[group], second[group]) for group in range(conv_groups)) / power) if power > 0 else 0.0


def _with_ridge(second: np.ndarray, ridge: float) -> np.ndarray:
    power = float(np.trace(second)) / len(second)
    # Without any input, any weight will do: the plain SVD then.
    return second + np.eye(len(second)) * (ridge * power if power > 0 else 1.0)


def _blocks(target: np.ndarray, start: np.ndarray, moments: np.ndarray, groups: int, rank: int) -> list[np.ndarray]:
    """The blocks M_i (m, n/g) of rank r that bring (target - M) S (target - M)^T down, from the columns of `start`."""
    size = len(moments) // groups
    cuts = [slice(index * size, (index + 1) * size) for index in range(groups)]
    found = start.copy()
    lost = target - found
    before = math.inf
    for _ in range(SWEEPS):
        for cut in cuts:
            free = target[:, cut] if groups == 1 else found[:, cut] + _solve(lost @ moments[:, cut], moments[cut, cut])
            block = _truncated(free, moments[cut, cut], rank)
            lost[:, cut] += found[:, cut] - block
            found[:, cut] = block
        error = _power(lost, moments)
        if groups == 1 or before - error <= SETTLED * error:
            break
        before = error
    return [found[:, cut] for cut in cuts]


def _solve(right: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """right @ moments^-1, for symmetric moments."""
    return np.linalg.solve(moments, right.T).T


def _truncated(block: np.ndarray, moments: np.ndarray, rank: int) -> np.ndarray:
    """The matrix of rank r nearest to `block` in tr(D S D^T): its projection on the leading outputs, U U^T block."""
    _, vectors = np.linalg.eigh(block @ moments @ block.T)
    leading = vectors[:, -rank:]
    return leading @ (leading.T @ block)


def _balanced(block: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (m, r) and (r, n) of a matrix of rank r, each with half of its scale."""
    u, s, vt = np.linalg.svd(block, full_matrices=False)
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, root[:, None] * vt[:rank]


def _power(matrix: np.ndarray, moments: np.ndarray) -> float:
    """tr(A S A^T)."""
    return max(float(np.sum((matrix @ moments) * matrix)), 0.0)


def _with_error(factors: LowRankFactors, weight: np.ndarray, conv_groups: int, groups: int) -> LowRankFactors:
    size = float(np.linalg.norm(weight))
    lost = float(np.linalg.norm(weight - reconstruct(factors, conv_groups, groups)))
    return replace(factors, error=lost / size if size > 0 else 0.0)
