"""Factors by Gram matrices are those of the SVD within what is proven, or there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.lowrank import decompose, factors, gram, reconstruct


@st.composite
def cases(draw):
    """Blocks (G, g, m, n) of singular values that fall as fast as the case says, and a rank."""
    m, n = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    count = draw(st.sampled_from([(1, 1), (2, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1.0, 1e-12, 1e12]))
    falling = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 8.0])) * np.arange(min(m, n))
    u, _, vt = np.linalg.svd(rng.standard_normal((*count, m, n)), full_matrices=False)
    return scale * (u * 10.0**-falling) @ vt, draw(st.integers(1, min(m, n)))


@given(cases())
@settings(max_examples=150, deadline=None)
def test_the_error_is_within_the_proven_bound_of_the_best(case):
    blocks, rank = case
    *_, m, n = blocks.shape
    values = np.linalg.svd(blocks, compute_uv=False)
    whole = np.sum(blocks**2)
    best = np.sum(values[..., rank:] ** 2) / whole
    made = gram.truncate_by_gram(blocks, rank)
    alone = gram.lost_by_gram(blocks, rank)
    unit = (max(m, n) + 10 * min(m, n)) * 2.0**-53
    if alone is not None:
        assert abs(alone**2 - best) <= min(m, n) * unit + 1e-12 * best
    if made is None:
        # Only where the error is too small for the bound to say anything.
        assert best <= 2 * rank * unit / gram.TOLERANCE * (1 + 1e-3) + 1e-15
        return
    left, right, error = made
    assert left.shape == (*blocks.shape[:2], m, rank) and right.shape == (*blocks.shape[:2], rank, n)
    found = np.sum((blocks - left @ right) ** 2) / whole
    assert best * (1 - 1e-9) <= found <= best + 2 * rank * unit + 1e-9 * best
    assert error == pytest.approx(np.sqrt(found), rel=1e-6)
    # Balanced: both factors of each component have the same norm.
    norms = np.linalg.norm(left, axis=-2), np.linalg.norm(right, axis=-1)
    np.testing.assert_allclose(*norms, rtol=1e-6)


def test_weights_that_have_the_rank_are_left_to_the_svd():
    rng = np.random.default_rng(0)
    block = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 9))
    assert gram.truncate_by_gram(block[None], 2) is None and gram.lost_by_gram(block[None], 2) is None
    assert gram.truncate_by_gram(np.zeros((1, 4, 5)), 2) is None


@pytest.mark.parametrize("shape", [(12, 8, 3, 3), (40, 16, 1, 1)])
@pytest.mark.parametrize("groups", [1, 4])
def test_large_weights_are_decomposed_as_small_ones_are(shape, groups, monkeypatch):
    weight = np.random.default_rng(1).standard_normal(shape)
    usual = decompose(weight, 1, groups, 1)
    for module in (gram, factors):
        monkeypatch.setattr(module, "is_large", lambda _: True)
    made = decompose(weight, 1, groups, 1)
    assert (made.error, made.plain_error) == pytest.approx((usual.error, usual.plain_error), rel=1e-9)
    np.testing.assert_allclose(reconstruct(made, 1, groups), reconstruct(usual, 1, groups), atol=1e-8)
    monkeypatch.setattr(np.linalg, "svd", None)
    decompose(weight, 1, groups, 1)  # without any
