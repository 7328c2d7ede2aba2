"""Grouped truncated SVD: exact errors, Theorem 1, balanced factors, and which (g, r) a layer can have."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.strategies import LowRankCase, low_rank_cases
from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors, RankRule, check_rank, decompose, reconstruct
from rankfold.lowrank.factors import full_rank
from rankfold.workload import ConvShape


def relative(weight: np.ndarray, approximation: np.ndarray) -> float:
    """||W - A||_F / ||W||_F, zero of a zero weight."""
    total = np.linalg.norm(weight)
    if total == 0:
        return 0.0
    return float(np.linalg.norm(weight - approximation) / total)


@given(low_rank_cases(full=True))
@settings(max_examples=60, deadline=None)
def test_full_rank_gives_the_weight_back(case: LowRankCase) -> None:
    weight, conv_groups, groups, _ = case
    factors = decompose(*case)
    assert relative(weight, reconstruct(factors, conv_groups, groups)) < 1e-10
    assert factors.error < 1e-10


@given(low_rank_cases())
@settings(max_examples=100, deadline=None)
def test_error_is_the_frobenius_distance(case: LowRankCase) -> None:
    weight, conv_groups, groups, _ = case
    factors = decompose(*case)
    assert factors.error == pytest.approx(
        relative(weight, reconstruct(factors, conv_groups, groups)), rel=1e-7, abs=1e-12
    )


@given(low_rank_cases())
@settings(max_examples=150, deadline=None)
def test_theorem_1_groups_never_do_worse_at_equal_rank(case: LowRankCase) -> None:
    weight, conv_groups, _, rank = case
    factors = decompose(*case)
    assert factors.error <= factors.plain_error * (1 + 1e-12) + 1e-15
    per_group = weight[0].size
    limit = min(len(weight) // conv_groups, per_group)
    plain = decompose(weight, conv_groups, 1, min(rank, limit))
    assert factors.plain_error == pytest.approx(plain.error, rel=1e-9, abs=1e-15)


def test_theorem_1_is_strict_for_blocks_that_do_not_share_a_column_space() -> None:
    weight = np.zeros((4, 2, 1, 1))
    weight[0, 0] = weight[1, 1] = 1
    factors = decompose(weight, 1, 2, 1)
    assert factors.error == 0
    assert factors.plain_error == pytest.approx(np.sqrt(0.5))


@given(low_rank_cases(groups=(1,)))
@settings(max_examples=80, deadline=None)
def test_one_group_is_the_best_approximation_of_eckart_and_young(case: LowRankCase) -> None:
    weight, conv_groups, _, rank = case
    factors = decompose(*case)
    assert factors.error == factors.plain_error
    matrices = weight.reshape(conv_groups, len(weight) // conv_groups, -1)
    tail = sum(float(np.sum(np.linalg.svd(matrix, compute_uv=False)[rank:] ** 2)) for matrix in matrices)
    total = float(np.sum(weight**2))
    assert factors.error == pytest.approx(np.sqrt(tail / total) if total else 0.0, rel=1e-7, abs=1e-12)
    for index, matrix in enumerate(matrices):
        left = factors.expand.reshape(conv_groups, -1, rank)[index]
        right = factors.reduce.reshape(conv_groups, rank, -1)[index]
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        best = (u[:, :rank] * s[:rank]) @ vt[:rank]
        # The best approximation is unique only where the singular values differ, its distance always.
        assert np.linalg.norm(matrix - left @ right) <= np.linalg.norm(
            matrix - best
        ) + 1e-10 * np.linalg.norm(matrix)


@given(low_rank_cases())
@settings(max_examples=80, deadline=None)
def test_factors_have_the_documented_shapes_and_are_balanced(case: LowRankCase) -> None:
    weight, conv_groups, groups, rank = case
    m, channels, kh, kw = weight.shape
    factors = decompose(*case)
    assert factors.reduce.shape == (conv_groups * groups * rank, channels // groups, kh, kw)
    assert factors.expand.shape == (m, groups * rank, 1, 1)
    assert factors.reduce.dtype == factors.expand.dtype == np.float64
    columns = np.linalg.norm(
        factors.expand.reshape(conv_groups, m // conv_groups, groups * rank), axis=1
    ).ravel()
    rows = np.linalg.norm(factors.reduce.reshape(conv_groups * groups * rank, -1), axis=1)
    scale = np.sqrt(np.linalg.norm(weight)) or 1.0
    np.testing.assert_allclose(columns, rows, rtol=1e-9, atol=1e-12 * scale)


@given(low_rank_cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_other_factors_of_the_same_form_are_closer(case: LowRankCase, seed: int) -> None:
    weight, conv_groups, groups, _ = case
    factors = decompose(*case)
    rng = np.random.default_rng(seed)
    other = LowRankFactors(
        factors.reduce + 1e-2 * np.abs(factors.reduce).max() * rng.standard_normal(factors.reduce.shape),
        factors.expand + 1e-2 * np.abs(factors.expand).max() * rng.standard_normal(factors.expand.shape),
        0.0, 0.0,
    )  # fmt: skip
    assert factors.error <= relative(weight, reconstruct(other, conv_groups, groups)) + 1e-12


def test_each_group_of_the_convolution_splits_on_its_own() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 4, 3, 3))
    both = reconstruct(decompose(weight, 2, 2, 2), 2, 2)
    for part in (slice(0, 3), slice(3, 6)):
        alone = reconstruct(decompose(weight[part], 1, 2, 2), 1, 2)
        np.testing.assert_allclose(both[part], alone, rtol=0, atol=1e-12)


def test_blocks_are_runs_of_input_channels() -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 4, 3, 2))
    whole = reconstruct(decompose(weight, 1, 2, 2), 1, 2)
    for channels in (slice(0, 2), slice(2, 4)):
        np.testing.assert_allclose(
            whole[:, channels], reconstruct(decompose(weight[:, channels], 1, 1, 2), 1, 1), rtol=0, atol=1e-12
        )


def test_a_zero_weight_has_no_error_and_float32_is_computed_in_float64() -> None:
    factors = decompose(np.zeros((4, 4, 3, 3)), 1, 2, 1)
    assert (factors.error, factors.plain_error) == (0.0, 0.0)
    weight = np.random.default_rng(2).standard_normal((8, 4, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        decompose(weight, 1, 2, 3).reduce, decompose(weight.astype(np.float64), 1, 2, 3).reduce
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(bad: float) -> None:
    weight = np.ones((4, 4, 3, 3))
    weight[1, 2, 0, 0] = bad
    with pytest.raises(InputError, match=r"a weight of shape \(4, 4, 3, 3\) cannot be decomposed.*finite"):
        decompose(weight, 1, 1, 1)


def test_a_weight_of_another_rank_of_tensor_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"shape \(4, 4\) cannot be decomposed: it must be \(m, C_in/G, kh, kw\)"
    ):
        decompose(np.ones((4, 4)), 1, 1, 1)


@pytest.mark.parametrize("groups", [3, 5, 8, 0, -1])
def test_groups_that_do_not_divide_the_channels(groups: int) -> None:
    with pytest.raises(
        InputError, match=rf"groups \(={groups}\) must divide its 4 input channels; use one of 1, 2, 4$"
    ):
        decompose(np.ones((4, 4, 3, 3)), 2, groups, 1)


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_rank_out_of_range_names_the_limit(rank: int) -> None:
    with pytest.raises(
        InputError, match=rf"rank \(={rank}\) must lie between 1 and 3, the full rank with 2 groups"
    ):
        decompose(np.ones((6, 4, 3, 3)), 2, 2, rank)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 3))
def test_full_rank_is_the_largest_rank_accepted(
    conv_groups: int, groups: int, channels: int, m: int, k: int
) -> None:
    shape = ConvShape(
        "c", conv_groups * groups * channels, conv_groups * m, (k, k), (k, k), groups=conv_groups
    )
    limit = full_rank(shape, groups)
    assert limit == min(m, channels * k * k)
    check_rank(shape, groups, limit)
    with pytest.raises(InputError, match="layer c: rank"):
        check_rank(shape, groups, limit + 1)


@given(st.integers(1, 10_000))
def test_a_whole_number_is_that_rank_for_every_layer(number: int) -> None:
    rule = RankRule.parse(f" {number} ")
    assert rule.rank(ConvShape("c", 3, 7, (3, 3), (3, 3))) == number


@given(st.integers(1, 64), st.integers(2, 64), st.integers(1, 128), st.integers(1, 4))
def test_a_fraction_is_of_the_output_channels_of_one_group(
    numerator: int, denominator: int, m: int, conv_groups: int
) -> None:
    assume(numerator < denominator)
    shape = ConvShape("c", 4 * conv_groups, m * conv_groups, (3, 3), (3, 3), groups=conv_groups)
    rule = RankRule.parse(f"{numerator}/{denominator}")
    if numerator * m % denominator:
        with pytest.raises(
            InputError, match=f"layer c: rank .* of {m} output channels is not a whole number"
        ):
            rule.rank(shape)
    else:
        assert rule.rank(shape) == numerator * m // denominator


def test_a_decimal_is_the_same_as_its_fraction() -> None:
    assert RankRule.parse("0.125") == RankRule.parse("1/8") == RankRule(Fraction(1, 8), True)
    assert RankRule.parse("4") == RankRule(Fraction(4), False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "-1/8",
        "9/8",
        "1.5",
        "1/0",
        "eighth",
        "nan",
        "inf",
        "m/8",
        "1/8/2",
        "0x4",
        "1/1",
        "1.0",
        "4/2",
        "1e9",
        "1_0",
    ],
)
def test_other_ranks_are_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"must be a whole number such as 4 or a fraction of the output channels such as 1/8"
    ):
        RankRule.parse(text)


def test_tiny_weights_have_the_error_of_ordinary_ones() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4, 3, 3))
    assert decompose(1e-170 * weight, 1, 2, 2).error == pytest.approx(decompose(weight, 1, 2, 2).error)
