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

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.blocks import Block, leading_vectors
from rankfold.lowrank.data_aware import balanced, decompose_for_data
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.factors import LowRankFactors, check_weight
from rankfold.lowrank.metric import OutputMetric
from rankfold.lowrank.nested import NestedRefits
from rankfold.lowrank.regression import RIDGE, Inverses, Regression, check_moments, of_group, with_ridge
from rankfold.lowrank.rows import OutputMoments, eliminated

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
    found = low_rank_rows(weight, conv_groups, rank, second, [rows], cross=cross, ridge=ridge)
    support = found[rows].support
    factors = decompose_for_data(
        weight, conv_groups, 1, rank, second, cross=cross, ridge=ridge, support=support
    )
    return factors, support


@dataclass(frozen=True)
class RowFactors:
    """A support of inputs, and the best factors on it.

    Attributes:
        support: (C_in, kh*kw) booleans, as many in each group.
        outputs: (G, m/G, r) L of each group, orthonormal columns.
        kept: (G, r, |T|) R on the support, by rising inputs.
    """

    support: Array
    outputs: Array
    kept: Array

    @property
    def rows(self) -> Array:
        """(G, r, n) R, zero outside the support."""
        groups, rank, _ = self.kept.shape
        own = self.support.reshape(groups, -1)
        whole = np.zeros((groups, rank, own.shape[1]))
        for rows, there, kept in zip(whole, own, self.kept, strict=True):
            rows[:, there] = kept
        return whole


def low_rank_rows(
    weight: Array,
    conv_groups: int,
    rank: int,
    second: Array,
    budgets: Iterable[int],
    *,
    cross: Array | None = None,
    ridge: float = RIDGE,
    inverses: Inverses | None = None,
    worth_most: Mapping[int, Array] | None = None,
) -> dict[int, RowFactors]:
    """Factors of rank r for several numbers of inputs; each are found as if they were asked for alone.

    Arguments and errors as of `row_low_rank`, with `budgets` for `rows`; `inverses` as of `rows.nested_rows`;
    `worth_most` the inputs (G, n) that elimination leaves of the weight itself, by their number, where they
    are known; None: they are found here.

    Returns:
        For each of `budgets` the inputs, and the factors on them.
    """
    check_weight(weight, conv_groups, 1, rank)
    wanted = sorted(set(budgets))
    n = weight[0].size
    for rows in wanted:
        if not rank <= rows <= n:
            raise InputError(f"rows (={rows}) must be from {rank}, the rank, to {n}, the inputs of an output")
    check_moments(weight.shape, conv_groups, second, cross)
    dense = weight.astype(np.float64).reshape(conv_groups, -1, n)  # (G, m/G, n)
    by_group = []
    for group in range(conv_groups):
        problem = Regression.of(dense[group], second[group], of_group(cross, group), ridge)
        known = None
        if worth_most is not None:
            known = {rows: worth_most[rows][group] for rows in wanted if rows < n}
        by_group.append(_factors_of_group(problem, rank, wanted, inverses or Inverses(), known))
    found = {}
    for rows in wanted:
        kept, outputs, right = zip(*[of_budget[rows] for of_budget in by_group], strict=True)
        support = np.reshape(kept, (conv_groups * weight.shape[1], -1))
        found[rows] = RowFactors(support, np.stack(outputs), np.stack(right))
    return found


# (n,) booleans, the inputs T; U (m, r) orthonormal; B (r, |T|).
Factored = tuple[Array, Array, Array]


def _factors_of_group(
    problem: Regression,
    rank: int,
    budgets: Sequence[int],
    inverses: Inverses,
    worth_most: Mapping[int, Array] | None,
) -> dict[int, Factored]:
    """For each of `budgets`."""
    n = len(problem.moments)
    whole = leading_vectors(problem.pull @ problem.target.T, rank)  # of W S W^T, see `blocks`
    found: dict[int, Factored] = {}
    fewer = [rows for rows in budgets if rows < n]
    if len(fewer) < len(budgets):
        found[n] = np.ones(n, bool), whole, whole.T @ problem.target
    if not fewer:
        return found
    best = dict.fromkeys(fewer, -math.inf)
    for target, known in ((problem.target, worth_most), (whole.T @ problem.target, None)):
        sets = known
        if sets is None:
            inverted = inverses.of(problem.moments)
            sets = eliminated([Elimination(target, problem.moments, inverted)], fewer)
        for rows, refit in NestedRefits.of(problem.pull, problem.moments, sets.values()).refits():
            outputs = leading_vectors(refit.gram, rank)
            # The rest of the power of W x is the error, see `blocks`: what is kept is to be large.
            power = float(np.sum(outputs * (refit.gram @ outputs)))
            if power > best[rows]:
                best[rows] = power
                order = np.argsort(refit.columns)
                found[rows] = sets[rows], outputs, (outputs.T @ refit.weight)[:, order]
    return found


def uncounted(factors: LowRankFactors, metric: OutputMetric | None) -> LowRankFactors:
    """The factors of a weight W from those of A W, which have one block: A^-1 L and R, of equal scale.

    Their errors are still those of A W. Without a metric they are what was given.
    """
    if metric is None:
        return factors
    groups = len(metric.root)
    plain = metric.plain(factors.expand)
    left = plain.reshape(groups, -1, plain.shape[1])  # (G, m/G, r)
    right = factors.reduce.reshape(groups, left.shape[2], -1)  # (G, r, n)
    outputs, rows = np.empty_like(left), np.empty_like(right)
    for group in range(groups):
        orthonormal, rest = np.linalg.qr(left[group])
        block = Block(orthonormal, rest @ right[group])
        outputs[group], rows[group] = balanced(block, np.any(block.rows != 0, axis=0))
    return replace(factors, expand=outputs.reshape(plain.shape), reduce=rows.reshape(factors.reduce.shape))


def refit_outputs(
    target: Array,
    reduce: Array,
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
        reduce: (G*r, C_in/G, kh, kw) R.
        conv_groups: G.
        parts: the moments of sets of outputs, which together are all.
        ridge: as in `decompose_for_data`.

    Returns:
        (m, r, 1, 1).
    """
    n = target[0].size
    right = reduce.reshape(conv_groups, -1, n)  # (G, r, n)
    refitted = np.zeros((len(target), right.shape[1], 1, 1))
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
