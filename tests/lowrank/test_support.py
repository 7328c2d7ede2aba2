"""Supports by backward elimination: exact costs and refits, nested, and near the best of all supports."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS, low_rank_cases, random_moments
from rankfold.errors import InputError
from rankfold.lowrank import (
    decompose,
    decompose_for_data,
    fitted_supports,
    nested_supports,
    output_error,
    reconstruct,
    refit,
    shared_supports,
)
from rankfold.lowrank.elimination import Elimination, packed
from rankfold.lowrank.regression import with_ridge


@st.composite
def layers(draw, groups=(1, 2), channels=3):
    """A weight, its groups, and second moments of correlated inputs."""
    case = draw(
        low_rank_cases(groups=(1,), conv_groups=groups, channels=channels, outputs=5, scale=0, uneven=False)
    )
    moments = random_moments(draw(GENERATORS), case.conv_groups, case.n)
    return case.weight, case.conv_groups, moments


def random_layer(rng, channels, outputs, kernel):
    """As `layers`, of one group and of given sizes."""
    weight = rng.normal(size=(outputs, channels, *kernel))
    return weight, 1, random_moments(rng, 1, weight[0].size)


def ridged(second):
    return np.stack([with_ridge(moments, 1e-2) for moments in second])


def error(weight, found, conv_groups, second):
    """tr(D S D^T) over all groups."""
    lost = (weight - found).reshape(conv_groups, len(weight) // conv_groups, -1)
    return float(np.einsum("gmi,gij,gmj->", lost, second, lost))


@given(layers(), st.data())
def test_a_refit_is_the_least_squares_solution(layer, data):
    """Against a solver that knows nothing of moments; the ridge as further rows."""
    weight, conv_groups, second = layer
    channels, positions = conv_groups * weight.shape[1], weight.shape[2] * weight.shape[3]
    bits = data.draw(st.lists(st.booleans(), min_size=channels * positions, max_size=channels * positions))
    support = np.array(bits).reshape(channels, positions)
    found = refit(weight, conv_groups, second, support).reshape(conv_groups, len(weight) // conv_groups, -1)
    kept, dense = support.reshape(conv_groups, -1), weight.reshape(found.shape)
    for group, moments in enumerate(ridged(second)):
        assert not found[group][:, ~kept[group]].any()
        root = np.linalg.cholesky(moments)  # moments = root root^T, so that root^T stands for the inputs
        wanted = np.linalg.lstsq(root[kept[group]].T, root.T @ dense[group].T, rcond=None)[0].T
        assert np.allclose(found[group][:, kept[group]], wanted, atol=1e-8)


@given(layers())
def test_supports_are_nested_and_fewer_positions_cost_more(layer):
    weight, conv_groups, second = layer
    channels, positions = conv_groups * weight.shape[1], weight.shape[2] * weight.shape[3]
    for choose in (nested_supports, shared_supports):
        for moments in (None, second):
            supports = choose(weight, conv_groups, moments)
            assert list(supports) == list(range(positions, 0, -1))
            before, larger = -1e-9, np.ones((channels, positions), bool)
            for entries, support in supports.items():
                assert (support.sum(axis=1) == entries).all()
                assert not (support & ~larger).any()
                if choose is shared_supports:
                    assert (support == support[0]).all()
                now = error(weight, refit(weight, conv_groups, second, support), conv_groups, ridged(second))
                assert now >= before * (1 - 1e-9)
                before, larger = now, support


@given(layers())
def test_fitted_supports_are_those_supports_and_their_refits(layer):
    weight, conv_groups, second = layer
    wanted = nested_supports(weight, conv_groups, second), shared_supports(weight, conv_groups, second)
    for found, supports in zip(fitted_supports(weight, conv_groups, second), wanted, strict=True):
        assert found.keys() == supports.keys()
        for entries, fitted in found.items():
            assert np.array_equal(fitted.support, supports[entries])
            refitted = refit(weight, conv_groups, second, fitted.support)
            assert np.allclose(fitted.weight, refitted, atol=1e-6 * np.abs(weight).max())


@given(layers())
def test_costs_of_the_elimination_are_those_of_a_refit(layer):
    weight, conv_groups, second = layer
    moments, n = ridged(second)[0], second.shape[1]
    dense = weight[: len(weight) // conv_groups].reshape(-1, n)
    columns, rng = Elimination(dense, moments), np.random.default_rng(0)
    support = np.ones((weight.shape[1], n // weight.shape[1]), bool)

    def lost(kept):
        return error(
            dense, refit(weight[: len(dense)], 1, second[:1], kept).reshape(dense.shape), 1, moments[None]
        )

    while support.any():
        costs, before = columns.costs().reshape(support.shape), lost(support)
        assert (np.isinf(costs) == ~support).all()
        for place in zip(*np.nonzero(support), strict=True):
            fewer = support.copy()
            fewer[place] = False
            assert before + costs[place] == pytest.approx(lost(fewer), rel=1e-6, abs=1e-9)
        dropped = rng.choice(
            np.flatnonzero(support), min(int(support.sum()), int(rng.integers(1, 4))), replace=False
        )
        together = columns.joint_cost(dropped)
        columns.drop(dropped)
        support.reshape(-1)[dropped] = False
        assert before + together == pytest.approx(lost(support), rel=1e-6, abs=1e-9)
        if rng.integers(2):
            columns.tidy()
        assert (columns.kept == support.reshape(-1)).all()


def test_a_matrix_is_packed_into_its_own_memory():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((150, 150))
    for share in (0.1, 0.5, 0.99, 1.0):
        kept, before = np.flatnonzero(rng.random(150) < share), matrix.copy()
        found = packed(before, kept)
        assert np.array_equal(found, matrix[np.ix_(kept, kept)])
        assert np.shares_memory(found, before)


def test_near_the_best_of_all_supports():
    """Every support of two channels with three positions each, tried; the greedy one is at most a little
    worse on average.
    """
    rng, ratios = np.random.default_rng(0), []
    for _ in range(40):
        weight, _, second = random_layer(rng, 3, 4, (1, 3))
        found = nested_supports(weight, 1, second)
        for entries in (1, 2):
            rows = [row for row in product([False, True], repeat=3) if sum(row) == entries]
            errors = [
                error(weight, refit(weight, 1, second, np.array(rows_)), 1, ridged(second))
                for rows_ in product(rows, repeat=3)
            ]
            ratio = error(weight, refit(weight, 1, second, found[entries]), 1, ridged(second)) / min(errors)
            assert ratio > 1 - 1e-9
            ratios.append(ratio)
    assert np.mean(ratios) < 1.35  # of squares
    assert np.mean(np.isclose(ratios, 1)) > 0.4


def test_many_columns_at_once_are_nearly_as_good_as_one_by_one(monkeypatch):
    weight, _, second = random_layer(np.random.default_rng(0), 24, 10, (3, 3))
    alone = nested_supports(weight, 1, second)
    monkeypatch.setattr("rankfold.lowrank.support.ONE_BY_ONE", 80)  # (216 // 80)^2 = 4 at once
    together = nested_supports(weight, 1, second)
    for entries in (8, 4, 2):
        assert (together[entries].sum(axis=1) == entries).all()
        errors = [
            error(weight, refit(weight, 1, second, support[entries]), 1, ridged(second))
            for support in (together, alone)
        ]
        assert errors[0] < 1.05 * errors[1]


def test_data_change_the_choice():
    """A position that never sees an input is the first to go, whatever its weights."""
    weight = np.ones((2, 1, 2, 2))
    weight[:, 0, 0, 0] = 10
    second = np.diag([0.0, 1, 1, 1])[None]
    assert nested_supports(weight, 1, None)[3].tolist() == [[True, True, True, False]]
    assert nested_supports(weight, 1, second)[3].tolist() == [[False, True, True, True]]


def test_a_refit_takes_back_the_errors_of_earlier_layers():
    rng = np.random.default_rng(0)
    weight, patches = rng.normal(size=(6, 2, 2, 2)), rng.normal(size=(1, 8, 100))
    seen = patches / 2
    second, cross = seen @ seen.swapaxes(1, 2), patches @ seen.swapaxes(1, 2)
    support = np.array([[True, True, False, True], [False, True, True, True]])
    found = refit(weight, 1, second, support, cross, ridge=0)
    assert np.allclose(found, 2 * refit(weight, 1, patches @ patches.swapaxes(1, 2), support, ridge=0))


@given(layers(groups=(1,)), st.integers(0, 9999))
def test_one_group_on_a_support_is_the_optimum(layer, seed):
    """Against the direct solve: project the outputs on those of the support, then truncate."""
    weight, _, second = layer
    rng = np.random.default_rng(seed)
    m, n = len(weight), second.shape[1]
    support = rng.random((weight.shape[1], n // weight.shape[1])) < 0.6
    rank = int(rng.integers(1, min(m, n) + 1))
    factors = decompose_for_data(weight, 1, 1, rank, second, support=support, ridge=1e-9)
    assert not factors.reduce.reshape(rank, -1)[:, ~support.reshape(-1)].any()
    kept = np.flatnonzero(support)
    root = np.linalg.cholesky(second[0])
    outputs = weight.reshape(m, n) @ root
    basis = np.linalg.qr(root[kept].T)[0] if len(kept) else np.zeros((n, 0))
    values = np.linalg.svd(outputs @ basis, compute_uv=False)
    lost = (outputs**2).sum() - (values[:rank] ** 2).sum()
    assert factors.output_error**2 == pytest.approx(lost / (outputs**2).sum(), abs=1e-5)


@given(layers(channels=4), st.integers(0, 9999))
def test_never_worse_on_the_data_than_plain_svd_of_the_weight_on_the_support(layer, seed):
    weight, conv_groups, second = layer
    rng = np.random.default_rng(seed)
    blocks = int(rng.choice([g for g in range(1, weight.shape[1] + 1) if weight.shape[1] % g == 0]))
    support = rng.random((conv_groups * weight.shape[1], weight.shape[2] * weight.shape[3])) < 0.6
    rank = int(rng.integers(1, min(len(weight) // conv_groups, second.shape[1] // blocks) + 1))
    factors = decompose_for_data(weight, conv_groups, blocks, rank, second, support=support)
    kept = support.reshape(conv_groups, 1, -1)
    masked = np.where(kept, weight.reshape(conv_groups, len(weight) // conv_groups, -1), 0.0).reshape(
        weight.shape
    )
    plain = decompose(masked, conv_groups, blocks, rank)
    assert (
        factors.output_error <= output_error(weight, plain, conv_groups, blocks, second) * (1 + 1e-6) + 1e-7
    )
    made = reconstruct(factors, conv_groups, blocks)
    assert not np.where(kept, 0.0, made.reshape(conv_groups, len(weight) // conv_groups, -1)).any()
    assert np.isfinite(made).all()


def test_what_is_refused():
    weight, second = np.ones((4, 2, 1, 2)), np.eye(4)[None]
    with pytest.raises(
        InputError, match=r"a support of shape \(1, 2\) and type bool must be boolean and of shape \(2, 2\)"
    ):
        refit(weight, 1, second, np.ones((1, 2), bool))
    with pytest.raises(InputError, match="type float64 must be boolean"):
        decompose_for_data(weight, 1, 1, 1, second, support=np.ones((2, 2)))
    with pytest.raises(InputError, match=r"second moments of shape \(1, 3, 3\)"):
        nested_supports(weight, 1, np.eye(3)[None])
    with pytest.raises(InputError, match="has no support for 3 groups"):
        shared_supports(weight, 3, None)
    with pytest.raises(InputError, match="singular; use a ridge above 0"):
        nested_supports(weight, 1, np.ones((1, 4, 4)), ridge=0)
