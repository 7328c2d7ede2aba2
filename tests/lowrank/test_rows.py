"""Freely chosen rows: nested by budget, refitted exactly, each loss the cheapest that there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import SEEDS
from rankfold.errors import InputError
from rankfold.lowrank import refit
from rankfold.lowrank.regression import RIDGE, power, with_ridge
from rankfold.lowrank.rows import fitted_rows


def problem(seed: int, groups: int = 1, channels: int = 2, outputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A weight of 2x2 kernels and moments of correlated inputs."""
    random = np.random.default_rng(seed)
    n = channels * 4
    weight = random.standard_normal((groups * outputs, channels, 2, 2))
    mixed = random.standard_normal((groups, n, n)) * random.uniform(0.1, 2, n)
    return weight, mixed @ mixed.transpose(0, 2, 1)


def lost(weight: np.ndarray, fitted: np.ndarray, second: np.ndarray, group: int, outputs: int) -> float:
    """tr(D S D^T) of one group, with the ridge."""
    rows = slice(group * outputs, (group + 1) * outputs)
    change = (weight - fitted)[rows].reshape(outputs, -1)
    return power(change, with_ridge(second[group], RIDGE))


@given(SEEDS, st.integers(1, 2), st.integers(1, 8))
def test_the_refit_is_the_best_on_what_is_kept(seed: int, groups: int, rows: int) -> None:
    weight, second = problem(seed, groups)
    found = fitted_rows(weight, groups, second, rows)
    assert (found.support.reshape(groups, -1).sum(axis=1) == rows).all()
    best = refit(weight, groups, second, found.support)
    np.testing.assert_allclose(found.weight, best, atol=1e-8)


@given(SEEDS)
def test_dropping_one_is_the_best_choice_of_all(seed: int) -> None:
    weight, second = problem(seed)
    found = fitted_rows(weight, 1, second, 7)
    costs = []
    for kept in itertools.combinations(range(8), 7):
        support = np.zeros(8, bool)
        support[list(kept)] = True
        costs.append(lost(weight, refit(weight, 1, second, support.reshape(2, 4)), second, 0, 3))
    assert lost(weight, found.weight, second, 0, 3) <= min(costs) * (1 + 1e-9)


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
    found = fitted_rows(weight, 1, second, 1099)
    assert found.support.sum() == 1099
    np.testing.assert_allclose(found.weight, refit(weight, 1, second, found.support), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, r"rows \(=0\) must be from 1 to 8"),
        ({"rows": 9}, r"rows \(=9\) must be from 1 to 8"),
        ({"importance": np.zeros(3)}, "must be 3 positive finite numbers"),
        ({"importance": np.ones(2)}, "must be 3 positive finite numbers"),
        ({"second": np.ones((1, 4, 4))}, "moments of shape"),
        ({"weight": np.full((3, 2, 2, 2), np.nan)}, "finite"),
        ({"conv_groups": 2}, "of 2 groups"),
    ],
)
def test_what_does_not_fit_is_refused(change, message: str) -> None:
    weight, second = problem(0)
    arguments = {"weight": weight, "conv_groups": 1, "second": second, "rows": 3} | change
    with pytest.raises(InputError, match=message):
        fitted_rows(**arguments)
