"""Row-sparse low-rank: a support and low-rank factors on it, chosen together for a layer's output on data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.blocks import BlockProblem, joined
from rankfold.lowrank.data_aware import decompose_for_data
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.factors import LowRankFactors, check_weight
from rankfold.lowrank.regression import (
    RIDGE,
    Regression,
    check_moments,
    factor,
    inverse,
    of_group,
    power,
    solve_right,
)
from rankfold.lowrank.support import free_levels

ROUNDS = 6  # of choosing a support for the outputs that the factors keep
GAIN = 1e-3  # relative gain of a round, below which it is the last


def row_sparse(
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
    rank: int,
    second: np.ndarray,
    entries: int,
    *,
    cross: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> tuple[LowRankFactors, np.ndarray]:
    """W ~ L R_, R_ zero outside a support of e positions per input channel, both made for the output on data.

    A support is judged by the error that `decompose_for_data` reaches on it. The first one is that of
    `nested_supports` for the dense weight. Then, in turn: with U_i the outputs that block i of the current
    factors spans, a new support is chosen for U_i^T (what the other blocks leave of W), by the same backward
    elimination with exact refit, so that positions which only matter to outputs that the rank drops anyway
    are not kept; and factors are made for it. The best one is kept, so the result is never worse than
    choosing the support first and the factors then. The search is greedy: the best of all supports it may
    miss.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g, blocks of input channels in each of the G groups.
        rank: r of each block.
        second: (G, n, n) as in `decompose_for_data`.
        entries: e, from 1 to kh*kw.
        cross: as in `decompose_for_data`.
        ridge: as in `decompose_for_data`; errors are compared with it.

    Returns:
        The factors, and the support (C_in, kh*kw).

    Raises:
        InputError: see `decompose_for_data`; or a kernel does not have so many positions.
    """
    check_weight(weight, conv_groups, groups, rank)
    positions = weight.shape[2] * weight.shape[3]
    if not 1 <= entries <= positions:
        raise InputError(f"entries (={entries}) must lie between 1 and the {positions} positions of a kernel")
    check_moments(weight.shape, conv_groups, second, cross)
    outputs = len(weight) // conv_groups
    dense = weight.astype(np.float64).reshape(conv_groups, outputs, -1)
    supports = []
    for group in range(conv_groups):
        problem = Regression.of(
            dense[group],
            second[group],
            of_group(cross, group),
            ridge,
        )
        kept = _best_support(problem, groups, rank, entries, positions)
        supports.append(kept.reshape(-1, positions))
    support = np.concatenate(supports)
    factors = decompose_for_data(
        weight,
        conv_groups,
        groups,
        rank,
        second,
        cross=cross,
        ridge=ridge,
        support=support,
    )
    return factors, support


def _best_support(
    problem: Regression,
    groups: int,
    rank: int,
    entries: int,
    positions: int,
) -> np.ndarray:
    """(n,) booleans, of the supports of all rounds the one whose factors have the least error."""
    best = np.ones(0, bool)
    least = np.inf
    for kept, error in _rounds(problem, groups, rank, entries, positions):
        settled = error > least * (1 - GAIN)
        if error < least:
            best = kept
            least = error
        if settled:
            break
    return best


def _rounds(
    problem: Regression,
    groups: int,
    rank: int,
    entries: int,
    positions: int,
) -> Iterator[tuple[np.ndarray, float]]:
    """Supports (n,) of one group and the errors of the factors on them."""
    whole = inverse(problem.moments)
    kept = _eliminated(
        problem.target,
        problem.moments,
        whole,
        entries,
        positions,
    )
    cuts = np.split(np.arange(len(kept)), groups)  # columns of each block
    inner = [problem.moments[np.ix_(cut, cut)] for cut in cuts]  # S_ii
    if groups == 1:
        inverses = [whole]
    else:
        inverses = [inverse(moments) for moments in inner]
    lowers = [factor(moments) for moments in inner]
    for _ in range(ROUNDS):
        blocks = BlockProblem.of(problem, kept, groups).solve(rank)
        lost = problem.target - joined(blocks)  # (m, n) D
        yield kept, power(lost, problem.moments)
        kept = kept.copy()
        for index, (block, cut) in enumerate(zip(blocks, cuts, strict=True)):
            moments = inner[index]
            # The best block with the others as they are, of any rank, F* of `blocks`; of it the outputs that
            # the block spans.
            pull = lost @ problem.moments[:, cut]  # (m, n_i) D S_:i
            free = block.outputs @ block.rows + solve_right(pull, lowers[index])
            wanted = block.outputs.T @ free  # (r, n_i)
            there = _eliminated(
                wanted,
                moments,
                inverses[index],
                entries,
                positions,
            )
            kept[cut] = there
            # The exact refit on the new support, of these outputs: what later blocks have left to do.
            refit = Regression(wanted, moments, moments, wanted)
            rows = np.zeros(wanted.shape)
            rows[:, there] = refit.target_on(np.flatnonzero(there))
            freed = block.rows - rows
            lost[:, cut] += block.outputs @ freed


def _eliminated(
    target: np.ndarray,
    moments: np.ndarray,
    inverted: np.ndarray | None,
    entries: int,
    positions: int,
) -> np.ndarray:
    """(n,) booleans: e positions of each input channel, for a target (any outputs, n)."""
    columns = Elimination(target, moments, inverted)
    levels = free_levels([columns], positions)
    support = next(support for left, support in levels if left == entries)
    return support.reshape(-1)
