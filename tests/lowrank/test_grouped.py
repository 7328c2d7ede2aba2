"""Blocks of channels: against every way to cut them, and the refit against least squares."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.lowrank.grouped import choose_grouping, refit_grouped
from rankfold.lowrank.grouping import Grouping, contiguous
from rankfold.lowrank.regression import with_ridge

RIDGE = 1e-2


def problem(
    seed: int, channels: int, outputs: int, groups: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weight, moments of correlated inputs, and what errors of outputs count."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, channels // groups, 1, 2))
    n = 2 * channels // groups
    inputs = rng.normal(size=(groups, 3 * n, n)) @ rng.normal(size=(groups, n, n))
    return weight, inputs.swapaxes(1, 2) @ inputs / (3 * n), rng.uniform(0.1, 2, size=outputs)


def cost(weight: np.ndarray, second: np.ndarray, counted: np.ndarray, grouping: Grouping) -> float:
    """sum_i p_i (w_i - m_i) S (w_i - m_i)^T of the refit, with the ridge that it is made with."""
    groups = len(second)
    lost = (weight - refit_grouped(weight, groups, grouping, second)).reshape(groups, -1, second.shape[1])
    ridged = np.stack([with_ridge(one, RIDGE) for one in second])
    return float(counted @ np.einsum("gmn,gnk,gmk->gm", lost, ridged, lost).reshape(-1))


def two_blocks(channels: int, outputs: int) -> list[Grouping]:
    """Every way to cut channels and outputs in two equal halves."""
    found = []
    for inputs in combinations(range(1, channels), channels // 2):  # channel 0 is in block 0
        for chosen in combinations(range(outputs), outputs // 2):
            found.append(
                Grouping(
                    np.isin(range(channels), inputs).astype(int), np.isin(range(outputs), chosen).astype(int)
                )
            )
    return found


def test_little_is_lost_against_all_ways_to_cut() -> None:
    """A local search: mostly the best of all ways, always better than channels as they come."""
    best = 0
    for seed in range(12):
        weight, second, counted = problem(seed, 6, 4)
        found = cost(weight, second, counted, choose_grouping(weight, 1, 2, second, counted))
        every = [cost(weight, second, counted, one) for one in two_blocks(6, 4)]
        as_they_come = cost(weight, second, counted, contiguous(6, 4, 2))
        assert min(every) - 1e-9 <= found <= as_they_come + 1e-9
        assert found <= np.quantile(every, 0.05) + 1e-9
        best += found <= min(every) * (1 + 1e-9)
    assert best >= 10


@given(st.integers(0, 999), st.sampled_from([(1, 2), (1, 4), (2, 2)]))
def test_blocks_that_are_there_are_found_and_kept_exactly(seed: int, sizes: tuple[int, int]) -> None:
    groups, blocks = sizes
    rng = np.random.default_rng(seed)
    channels = outputs = 8
    each = channels // groups // blocks
    inputs, of_outputs = (
        np.concatenate(
            [rng.permutation(np.repeat(np.arange(blocks), each)) + g * blocks for g in range(groups)]
        )
        for _ in range(2)
    )
    hidden = Grouping(inputs, of_outputs)
    weight, second, counted = problem(seed, channels, outputs, groups)
    weight = weight * hidden.mask(groups)[:, :, None, None]
    # Inputs that tell of each other could stand in for one another.
    second = np.stack([np.diag(np.diag(one)) for one in second])
    found = choose_grouping(weight, groups, blocks, second, counted)
    np.testing.assert_array_equal(found.mask(groups), hidden.mask(groups))
    np.testing.assert_allclose(refit_grouped(weight, groups, found, second), weight, atol=1e-12)
    # Also from the weight alone.
    assert np.array_equal(choose_grouping(weight, groups, blocks).mask(groups), hidden.mask(groups))


@given(st.integers(0, 999))
def test_the_refit_is_least_squares_on_the_inputs_of_the_block(seed: int) -> None:
    weight, second, _ = problem(seed, 8, 4, groups=2)
    rng = np.random.default_rng(seed)
    inputs = np.concatenate([rng.permutation([0, 0, 1, 1]), rng.permutation([2, 2, 3, 3])])
    grouping = Grouping(inputs, np.array([1, 0, 3, 2]))
    made = refit_grouped(weight, 2, grouping, second)
    kept = grouping.mask(2)
    assert not made[~kept].any()
    for output in range(4):
        group = output // 2
        moments = with_ridge(second[group], RIDGE)
        columns = np.flatnonzero(np.repeat(kept[output], 2))
        wanted = np.linalg.solve(
            moments[np.ix_(columns, columns)], moments[columns] @ weight[output].reshape(-1)
        )
        np.testing.assert_allclose(made[output].reshape(-1)[columns], wanted, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(refit_grouped(weight, 2, grouping)[kept], weight[kept])


def test_wide_layers_are_cut_without_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their outputs are assigned by exact costs all the same."""
    weight, second, counted = problem(3, 8, 8)
    monkeypatch.setattr("rankfold.lowrank.grouped.WIDE", 4)
    found = choose_grouping(weight, 1, 2, second, counted)
    as_they_come = contiguous(8, 8, 2)
    assert cost(weight, second, counted, found) <= cost(weight, second, counted, as_they_come)
    for grouping in two_blocks(8, 8)[:70]:
        other = Grouping(found.inputs, grouping.outputs)
        assert cost(weight, second, counted, found) <= cost(weight, second, counted, other) + 1e-9


def test_what_cannot_be_cut_is_refused() -> None:
    weight, second, _ = problem(0, 6, 4)
    with pytest.raises(
        InputError, match="has no 4 blocks in each of 1 groups: they must divide its outputs and"
    ):
        choose_grouping(weight, 1, 4, second)
    with pytest.raises(InputError, match="must be finite"):
        choose_grouping(weight * np.nan, 1, 2)
