"""Blocks of several groups: no sweep makes them worse, they settle where exact alternation does, and float32
is enough.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS, correlated_patches, second_moments
from rankfold.lowrank.blocks import BlockProblem, joined
from rankfold.lowrank.regression import RIDGE, Regression, power


@st.composite
def problems(draw):
    """A regression with correlated inputs, the columns that may be used, g and r."""
    groups = draw(st.sampled_from([2, 3, 4]))
    outputs = draw(st.integers(2, 12))
    n = groups * draw(st.integers(2, 8))
    rng = draw(GENERATORS)
    regression = random_regression(rng, outputs, n)
    kept = np.ones(n, bool)
    if draw(st.booleans()):
        kept[rng.permutation(n)[: n // 3]] = False
    narrowest = min(int(part.sum()) for part in np.split(kept, groups))
    rank = draw(st.integers(1, max(1, min(outputs, narrowest))))
    return regression, kept, groups, rank


def random_regression(rng, outputs, n):
    """Any weight (m, n), and moments of correlated inputs of different sizes."""
    patches = correlated_patches(rng, 1, n, decay=1) * np.geomspace(1, 0.03, n)[:, None]
    (moments,) = second_moments(patches)
    return Regression.of(rng.normal(size=(outputs, n)), moments, None, RIDGE)


def error(regression, blocks):
    """tr(D S D^T)."""
    return power(regression.target - joined(blocks), regression.moments)


def alternated(regression, kept, groups, rank, sweeps=400):
    """Each block in turn exactly, by a singular value decomposition of what it should be, whitened."""
    n = len(kept)
    cuts = [
        np.flatnonzero(kept[: n // groups * (i + 1)])[np.count_nonzero(kept[: n // groups * i]) :]
        for i in range(groups)
    ]
    found = np.zeros_like(regression.dense)
    for _ in range(sweeps):
        for cut in cuts:
            found[:, cut] = 0
            lost = regression.target - found
            root = np.linalg.cholesky(regression.moments[np.ix_(cut, cut)])
            wanted = np.linalg.solve(root, (lost @ regression.moments[:, cut]).T).T
            u, s, vt = np.linalg.svd(wanted, full_matrices=False)
            found[:, cut] = np.linalg.solve(root.T, ((u[:, :rank] * s[:rank]) @ vt[:rank]).T).T
    return power(regression.target - found, regression.moments)


@given(problems())
def test_no_sweep_makes_them_worse(drawn):
    regression, kept, groups, rank = drawn
    problem = BlockProblem.of(regression, kept, groups)
    errors = [error(regression, problem.solve(rank, sweeps)) for sweeps in range(6)]
    scale = 1e-9 * power(regression.target, regression.moments)
    assert all(after <= before + scale for before, after in pairwise(errors))


@given(problems())
def test_a_target_that_is_known_and_float32_change_nothing(drawn):
    regression, kept, groups, rank = drawn
    problem = BlockProblem.of(regression, kept, groups)
    wanted = error(regression, problem.solve(rank, 3))
    given_ = BlockProblem.of(regression, kept, groups, regression.target_on(np.flatnonzero(kept)))
    whole = power(regression.target, regression.moments)
    assert error(regression, given_.solve(rank, 3)) == pytest.approx(wanted, rel=1e-6, abs=1e-9 * whole)
    assert error(regression, problem.in_float32().solve(rank, 3)) == pytest.approx(
        wanted, rel=1e-3, abs=1e-5 * whole
    )
    assert all(block.rows.dtype == np.float32 for block in problem.in_float32().solve(rank, 1))


def test_they_settle_where_exact_alternation_does():
    """On average over problems; each may end in another local optimum."""
    rng, ours, exact = np.random.default_rng(0), [], []
    for _ in range(20):
        n, outputs = 24, 10
        regression = random_regression(rng, outputs, n)
        kept = np.ones(n, bool)
        ours.append(error(regression, BlockProblem.of(regression, kept, 4).solve(2)))
        exact.append(alternated(regression, kept, 4, 2))
    assert np.mean(np.array(ours) / exact) < 1.05
