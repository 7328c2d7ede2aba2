"""Freely chosen rows: nested by budget, refitted exactly, each loss the cheapest that there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import SEEDS
from rankfold.errors import InputError
from rankfold.lowrank import refit
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.lowrank.rows import OutputMoments, fitted_rows, nested_rows


def problem(seed: int, groups: int = 1, channels: int = 2, outputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A weight of 2x2 kernels and moments of correlated inputs."""
    random = np.random.default_rng(seed)
    n = channels * 4
    weight = random.standard_normal((groups * outputs, channels, 2, 2))
    mixed = random.standard_normal((groups, n, n)) * random.uniform(0.1, 2, n)
    return weight, mixed @ mixed.transpose(0, 2, 1)


@given(SEEDS, st.integers(1, 2), st.integers(1, 8))
def test_the_refit_is_the_best_on_what_is_kept(seed: int, groups: int, rows: int) -> None:
    weight, second = problem(seed, groups)
    found = fitted_rows(weight, groups, second, rows)
    assert (found.support.reshape(groups, -1).sum(axis=1) == rows).all()
    best = refit(weight, groups, second, found.support)
    np.testing.assert_allclose(found.weight, best, atol=1e-8)


def metric(seed: int, groups: int, outputs: int, rank: int) -> np.ndarray:
    """(G, m/G, m/G) second moments of gradients that span so many directions."""
    gradients = np.random.default_rng(seed + 1).standard_normal((groups, outputs, rank))
    return gradients @ gradients.swapaxes(1, 2)


@given(SEEDS, st.integers(1, 3))
def test_every_loss_is_the_cheapest_of_all(seed: int, rank: int) -> None:
    weight, second = problem(seed)
    importance = metric(seed, 1, 3, rank)
    moments = with_ridge(second[0], RIDGE)

    def cost(kept: list[int]) -> float:
        support = np.zeros(8, bool)
        support[kept] = True
        change = (weight - refit(weight, 1, second, support.reshape(2, 4))).reshape(3, -1)  # D
        return float(np.trace(importance[0] @ change @ moments @ change.T))

    kept = list(range(8))
    found = nested_rows(weight, 1, second, range(1, 9), importance=importance)
    while len(kept) > 1:
        kept = min(([other for other in kept if other != one] for one in kept), key=cost)
        assert np.flatnonzero(found[len(kept)].support).tolist() == kept


@given(SEEDS, st.booleans())
def test_outputs_of_other_patches_lose_inputs_together(seed: int, weighed: bool) -> None:
    weight, second = problem(seed)
    _, other = problem(seed + 1)
    parts = [
        OutputMoments(np.array([True, False, True]), second),
        OutputMoments(np.array([False, True, False]), other, share=0.25),
    ]
    importance = metric(seed, 1, 3, 3)
    if not weighed:
        importance = np.eye(3)[None]

    def best(support: np.ndarray) -> np.ndarray:
        fitted = refit(weight, 1, second, support)
        fitted[1] = refit(weight, 1, other, support)[1]
        return fitted

    def cost(kept: list[int]) -> float:
        support = np.zeros(8, bool)
        support[kept] = True
        change = (weight - best(support.reshape(2, 4))).reshape(3, -1)
        first = change[[0, 2]]
        together = importance[0][np.ix_([0, 2], [0, 2])] @ first @ with_ridge(second[0], RIDGE) @ first.T
        alone = importance[0, 1, 1] * change[1] @ with_ridge(other[0], RIDGE) @ change[1]
        return float(np.trace(together) + 0.25 * alone)

    kept = list(range(8))
    given = importance if weighed else None
    found = nested_rows(weight, 1, parts, range(4, 9), importance=given)
    while len(kept) > 4:
        kept = min(([other for other in kept if other != one] for one in kept), key=cost)
        assert np.flatnonzero(found[len(kept)].support).tolist() == kept
        np.testing.assert_allclose(found[len(kept)].weight, best(found[len(kept)].support), atol=1e-9)


@given(SEEDS)
def test_the_refit_is_the_best_for_every_importance(seed: int) -> None:
    weight, second = problem(seed)
    importance = metric(seed, 1, 3, 3)
    found = fitted_rows(weight, 1, second, 4, importance=importance)
    kept = found.support.reshape(-1)
    moments = with_ridge(second[0], RIDGE)
    # The slope of tr(P D S D^T) over the weights that are left, which is convex.
    slope = importance[0] @ (weight - found.weight).reshape(3, -1) @ moments
    np.testing.assert_allclose(slope[:, kept], 0, atol=1e-8 * np.abs(slope).max())


@given(SEEDS, st.integers(1, 2), st.sets(st.integers(1, 8), min_size=1))
def test_budgets_do_not_depend_on_each_other(seed: int, groups: int, budgets: set[int]) -> None:
    weight, second = problem(seed, groups)
    importance = metric(seed, groups, 3, 3)
    together = nested_rows(weight, groups, second, sorted(budgets), importance=importance)
    assert set(together) == budgets
    for rows, found in together.items():
        alone = fitted_rows(weight, groups, second, rows, importance=importance)
        assert np.array_equal(found.support, alone.support)
        np.testing.assert_allclose(found.weight, alone.weight, rtol=1e-9, atol=1e-12)


@given(SEEDS, st.integers(2, 8))
def test_a_smaller_budget_keeps_a_part_of_a_larger_one(seed: int, rows: int) -> None:
    weight, second = problem(seed)
    larger = fitted_rows(weight, 1, second, rows).support
    smaller = fitted_rows(weight, 1, second, rows - 1).support
    assert not (smaller & ~larger).any()


def test_an_output_that_counts_more_keeps_its_inputs() -> None:
    # Output 0 reads input 0, output 1 reads input 1, and inputs know nothing of each other.
    weight = np.zeros((2, 1, 1, 2))
    weight[0, 0, 0, 0], weight[1, 0, 0, 1] = 1.0, 1.1
    second = np.eye(2)[None]
    assert fitted_rows(weight, 1, second, 1).support.tolist() == [[False, True]]
    counted = fitted_rows(weight, 1, second, 1, importance=np.array([2.0, 1.0]))
    assert counted.support.tolist() == [[True, False]]
    assert counted.weight[0, 0, 0, 0] == pytest.approx(1.0)


def test_without_data_the_weightiest_stay_as_they_are() -> None:
    weight, _ = problem(0)
    found = fitted_rows(weight, 1, None, 3)
    energy = np.square(weight).sum(axis=0).reshape(-1)
    assert set(np.flatnonzero(found.support)) == set(np.argsort(energy)[-3:])
    kept = found.weight != 0
    assert np.array_equal(found.weight[kept], weight[kept])


def test_wide_layers_lose_several_at_once() -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((2, 300, 2, 2))  # 1,200 inputs: 4 go in one step
    samples = random.standard_normal((1300, 1200))
    second = (samples.T @ samples / 1300)[None]
    together = nested_rows(weight, 1, second, [1097, 1098, 1099])
    found = fitted_rows(weight, 1, second, 1097)
    assert np.array_equal(found.support, together[1097].support)
    assert [kept.support.sum() for kept in together.values()] == [1097, 1098, 1099]
    assert not (together[1098].support & ~together[1099].support).any()
    np.testing.assert_allclose(found.weight, refit(weight, 1, second, found.support), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, r"rows \(=0\) must be from 1 to 8"),
        ({"rows": 9}, r"rows \(=9\) must be from 1 to 8"),
        ({"importance": np.zeros(3)}, "positive and finite for every output"),
        ({"importance": np.ones(2)}, "one positive number for each of 3 outputs"),
        ({"importance": np.zeros((1, 3, 3))}, "positive semi-definite and not zero"),
        ({"importance": np.diag([1.0, 1.0, -1.0])[None]}, "positive semi-definite and not zero"),
        ({"importance": np.triu(np.ones((3, 3)))[None]}, "a finite symmetric matrix"),
        ({"second": np.ones((1, 4, 4))}, "moments of shape"),
        ({"second": [OutputMoments(np.array([True, False, True]), np.eye(8)[None])]}, "one set of moments"),
        ({"weight": np.full((3, 2, 2, 2), np.nan)}, "finite"),
        ({"conv_groups": 2}, "of 2 groups"),
    ],
)
def test_what_does_not_fit_is_refused(change, message: str) -> None:
    weight, second = problem(0)
    arguments = {"weight": weight, "conv_groups": 1, "second": second, "rows": 3} | change
    with pytest.raises(InputError, match=message):
        fitted_rows(**arguments)
