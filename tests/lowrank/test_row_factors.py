"""Low-rank factors on chosen rows: the best on them, and never worse than what they stand in for."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import SEEDS
from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors, decompose_for_data, reconstruct
from rankfold.lowrank.metric import OutputMetric
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.lowrank.row_factors import low_rank_rows, refit_outputs, row_low_rank, uncounted
from rankfold.lowrank.rows import OutputMoments, fitted_rows
from rankfold.mapping.window_matrix import window_weight


def moments_of(seed: int, groups: int, n: int) -> np.ndarray:
    """(G, n, n) of correlated inputs."""
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((groups, n, n)) * random.uniform(0.1, 2, n)
    return mixed @ mixed.transpose(0, 2, 1)


def lost(weight: np.ndarray, made: np.ndarray, second: np.ndarray) -> float:
    """tr((W - M) S (W - M)^T) with the ridge, over all groups."""
    groups, n = len(second), second.shape[1]
    change = (weight - made).reshape(groups, -1, n)
    return sum(
        float(np.trace(part @ with_ridge(of_group, RIDGE) @ part.T))
        for part, of_group in zip(change, second, strict=True)
    )


@given(SEEDS, st.integers(1, 2), st.integers(1, 2), st.tuples(st.integers(1, 2), st.integers(1, 3)))
def test_free_factors_of_a_window_are_never_worse_than_those_of_the_kernel(
    seed, groups, rank, window
) -> None:
    random = np.random.default_rng(seed)
    kernel = random.standard_normal((groups * 3, 2, 2, 3))
    stride, dilation = (1, 2), (1, 1)
    copies = window_weight(kernel, groups, stride, dilation, window)
    n = copies[0].size
    second = moments_of(seed, groups, n)
    # Any factors of the kernel: here those for some moments of its own inputs.
    pair = decompose_for_data(kernel, groups, 1, rank, moments_of(seed + 1, groups, kernel[0].size))
    tied = window_weight(reconstruct(pair, groups, 1), groups, stride, dilation, window)
    pixels = window[0] * window[1]
    free = decompose_for_data(copies, groups, 1, min(pixels * rank, n), second)
    assert lost(copies, reconstruct(free, groups, 1), second) <= lost(copies, tied, second) * (1 + 1e-9)


@given(SEEDS, st.integers(1, 2), st.integers(1, 3), st.integers(0, 5))
def test_rows_and_factors_are_no_worse_than_rows_first(seed, groups, rank, more) -> None:
    random = np.random.default_rng(seed)
    weight, second = random.standard_normal((groups * 4, 2, 2, 2)), moments_of(seed, groups, 8)
    rows = rank + more
    factors, support = row_low_rank(weight, groups, rank, second, rows)
    assert (support.reshape(groups, -1).sum(axis=1) == rows).all()
    made = reconstruct(factors, groups, 1)
    assert np.linalg.matrix_rank(made.reshape(groups, 4, 8)).max() <= rank
    assert (made.reshape(groups, 4, 8)[:, :, ~support.reshape(groups, 8)[0]][0] == 0).all()
    first = fitted_rows(weight, groups, second, rows).support
    plain = decompose_for_data(weight, groups, 1, rank, second, support=first)
    assert lost(weight, made, second) <= lost(weight, reconstruct(plain, groups, 1), second) * (1 + 1e-9)
    if rows == 8:
        whole = decompose_for_data(weight, groups, 1, rank, second)
        np.testing.assert_allclose(made, reconstruct(whole, groups, 1), atol=1e-8)


def test_it_comes_near_the_best_of_all_choices() -> None:
    ratios = []
    for seed in range(7):
        random = np.random.default_rng(seed)
        weight, second = random.standard_normal((4, 2, 2, 2)), moments_of(seed, 1, 8)
        factors, _ = row_low_rank(weight, 1, 2, second, 4)
        errors = []
        for kept in combinations(range(8), 4):
            support = np.isin(np.arange(8), kept).reshape(2, 4)
            made = decompose_for_data(weight, 1, 1, 2, second, support=support)
            errors.append(lost(weight, reconstruct(made, 1, 1), second))
        ratios.append(lost(weight, reconstruct(factors, 1, 1), second) / min(errors))
    assert min(ratios) > 1 - 1e-9 and float(np.median(ratios)) < 1.05


def test_inputs_that_changed_are_answered_for() -> None:
    random = np.random.default_rng(3)
    weight = random.standard_normal((4, 2, 2, 2))
    seen = random.standard_normal((200, 8))
    changed = seen + 0.5 * random.standard_normal((200, 8))
    second, cross = changed.T @ changed / 200, seen.T @ changed / 200
    factors, support = row_low_rank(weight, 1, 2, second[None], 5, cross=cross[None])
    blind, other = row_low_rank(weight, 1, 2, second[None], 5)

    def error(made: np.ndarray) -> float:
        return float(np.square(seen @ weight.reshape(4, 8).T - changed @ made.reshape(4, 8).T).sum())

    assert support.sum() == other.sum() == 5
    assert error(reconstruct(factors, 1, 1)) < error(reconstruct(blind, 1, 1))


@given(SEEDS, st.integers(1, 2), st.integers(1, 3))
def test_rows_of_a_number_do_not_depend_on_others(seed: int, groups: int, rank: int) -> None:
    random = np.random.default_rng(seed)
    weight, second = random.standard_normal((groups * 4, 2, 2, 2)), moments_of(seed, groups, 8)
    found = low_rank_rows(weight, groups, rank, second, [8, 5, 3])
    for rows, several in found.items():
        alone = low_rank_rows(weight, groups, rank, second, [rows])[rows]
        np.testing.assert_array_equal(several.support, alone.support)
        # The factors of many numbers come from one factorisation, those of surgery from one of their own.
        factors, _ = row_low_rank(weight, groups, rank, second, rows)
        product = (several.outputs @ several.rows).reshape(weight.shape)
        np.testing.assert_allclose(product, reconstruct(factors, groups, 1), rtol=1e-6, atol=1e-8)


@given(SEEDS, st.integers(1, 2), st.integers(1, 4))
def test_outputs_of_different_moments_are_fitted_to_their_own(seed: int, groups: int, rank: int) -> None:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((groups * 4, 2, 2, 2))
    first = np.tile([True, True, False, False], groups)
    parts = [OutputMoments(own, moments_of(seed + k, groups, 8)) for k, own in enumerate((first, ~first))]
    factors = decompose_for_data(weight, groups, 1, rank, parts[0].second + parts[1].second)
    fitted = replace(factors, expand=refit_outputs(weight, factors.reduce, groups, parts))
    for part in parts:
        errors = [
            lost(weight[part.outputs], reconstruct(made, groups, 1)[part.outputs], part.second)
            for made in (fitted, factors)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-9) + 1e-9
        # The least squares fit by another way: on inputs of which the moments are those with the ridge.
        for group, second in enumerate(part.second):
            roots = np.linalg.cholesky(with_ridge(second, RIDGE))  # (n, n), its rows' products are S
            right = factors.reduce.reshape(groups, rank, 8)[group]
            wanted = weight[part.outputs].reshape(groups, 2, 8)[group]
            best, *_ = np.linalg.lstsq((right @ roots).T, (wanted @ roots).T, rcond=None)
            own = fitted.expand[part.outputs].reshape(groups, 2, rank)[group]
            np.testing.assert_allclose(own, best.T, rtol=1e-6, atol=1e-8)


@given(SEEDS, st.integers(1, 2), st.integers(1, 3))
def test_factors_by_importance_cost_least(seed: int, groups: int, rank: int) -> None:
    """Of all of their rank, as seen from the best ones for plain errors and from steps to all sides."""
    random = np.random.default_rng(seed)
    weight, second = random.standard_normal((groups * 4, 2, 2, 2)), moments_of(seed, groups, 8)
    roots = random.standard_normal((groups, 4, 4))
    importance = roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(4)
    metric = OutputMetric.of(importance)
    np.testing.assert_allclose(metric.plain(metric.counted(weight)), weight, atol=1e-9)
    plain = decompose_for_data(weight, groups, 1, rank, second)
    found = uncounted(decompose_for_data(metric.counted(weight), groups, 1, rank, second), metric)

    def cost(factors: LowRankFactors) -> float:
        change = (weight - reconstruct(factors, groups, 1)).reshape(groups, 4, 8)
        moments = np.stack([with_ridge(one, RIDGE) for one in second])
        return sum(
            float(np.trace(p @ d @ s @ d.T)) for p, d, s in zip(importance, change, moments, strict=True)
        )

    # Groups count by themselves: each one's scale of the importance is its own.
    assert cost(found) <= cost(plain) * (1 + 1e-9)
    for _ in range(5):
        step = replace(
            found,
            expand=found.expand + 1e-3 * random.standard_normal(found.expand.shape),
            reduce=found.reduce + 1e-3 * random.standard_normal(found.reduce.shape),
        )
        assert cost(found) <= cost(step)


@pytest.mark.parametrize(("rank", "rows"), [(3, 2), (2, 9)])
def test_rows_that_there_are_not(rank: int, rows: int) -> None:
    weight, second = np.ones((4, 2, 2, 2)), moments_of(0, 1, 8)
    with pytest.raises(InputError, match=rf"rows \(={rows}\) must be from {rank}, the rank, to 8"):
        row_low_rank(weight, 1, rank, second, rows)
