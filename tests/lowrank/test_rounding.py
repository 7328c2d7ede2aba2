"""Rounding with compensation: literal steps, uncorrelated inputs, nearer to the optimum than the nearest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from common.strategies import SEEDS
from rankfold.errors import InputError
from rankfold.lowrank.regression import RIDGE, power, with_ridge
from rankfold.lowrank.rounding import rounded

STEP, LOW, HIGH = 0.5, -8, 7


def nearest(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values / STEP), LOW, HIGH) * STEP


def problem(seed: int, m: int = 3, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A weight and the moments of correlated inputs, two of which are nearly the same."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((n, 50)) * random.uniform(0.3, 2, (n, 1))
    inputs[1] = inputs[0] + 0.1 * inputs[1]
    return random.standard_normal((m, n)), with_ridge(inputs @ inputs.T / 50, RIDGE)


def literally(weight: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Each column rounded in turn, and all columns after it refitted to the dense outputs anew."""
    order = np.argsort(-np.diagonal(moments), kind="stable")
    result = weight.copy()
    for place in range(len(order)):
        column, left = order[place], order[place + 1 :]
        result[:, column] = nearest(result[:, column])
        # The least error given what is rounded: (W - Q) S_:R = 0 on the columns R that are left.
        fixed = order[: place + 1]
        error = weight[:, fixed] - result[:, fixed]
        pulled = error @ moments[np.ix_(fixed, left)]
        result[:, left] = weight[:, left] + np.linalg.solve(moments[np.ix_(left, left)], pulled.T).T
    return result


@given(SEEDS, st.integers(1, 4), st.integers(1, 9))
def test_it_is_rounding_with_a_refit_after_each_column(seed: int, m: int, n: int) -> None:
    weight, moments = problem(seed, m, max(n, 2))
    assert_allclose(rounded(weight, moments, nearest), literally(weight, moments), atol=1e-9)


@given(SEEDS)
def test_for_uncorrelated_inputs_it_is_the_nearest(seed: int) -> None:
    weight, moments = problem(seed)
    assert_array_equal(rounded(weight, np.diag(np.diagonal(moments)), nearest), nearest(weight))


def test_errors_lie_between_the_best_grid_point_and_the_nearest_ones() -> None:
    found, plain, best = 0.0, 0.0, 0.0
    for seed in range(40):
        weight, moments = problem(seed, m=1, n=4)
        found += power(weight - rounded(weight, moments, nearest), moments)
        plain += power(weight - nearest(weight), moments)
        # All grid points around the weight: two steps to each side hold the best one.
        offsets = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 4)).reshape(4, -1).T * STEP
        errors = weight - (nearest(weight) + offsets)
        best += np.einsum("ki,ij,kj->k", errors, moments, errors).min()
    assert best <= found + 1e-9
    # Far nearer to the best than to plain rounding.
    assert found - best < 0.5 * (plain - best)


def test_outputs_of_other_masks_are_problems_of_their_own() -> None:
    weight, moments = problem(1, m=4)
    kept = np.random.default_rng(2).random(weight.shape) < 0.6
    kept[3] = False
    made = rounded(weight * kept, moments, nearest, kept)
    assert (made[~kept] == 0).all()
    for row, mask in enumerate(kept):
        alone = rounded(weight[row : row + 1, mask], moments[np.ix_(mask, mask)], nearest)
        assert_array_equal(made[row, mask], alone[0])


def test_singular_moments_are_refused() -> None:
    with pytest.raises(InputError, match="the second moments of the inputs are singular"):
        rounded(np.ones((1, 2)), np.ones((2, 2)), nearest)
