"""Data-aware factors: the optimum for one group, never worse than plain SVD, balanced, and what is
refused.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS, correlated_patches, low_rank_cases
from rankfold.errors import InputError
from rankfold.lowrank import decompose, decompose_for_data, output_error, reconstruct


@st.composite
def problems(draw, groups=(1, 2, 4)):
    """A weight with a size of its factors, strongly correlated patches, and their second moments."""
    case = draw(low_rank_cases(groups=groups, conv_groups=(1, 1, 2), outputs=8, scale=3, uneven=False))
    patches = correlated_patches(
        draw(GENERATORS),
        case.conv_groups,
        case.n,
        decay=10.0 ** -draw(st.integers(0, 3)),
        samples=draw(st.integers(1, 4)),
    )
    return *case, patches, patches @ patches.swapaxes(1, 2)


@given(problems(groups=(1,)))
def test_one_group_is_the_optimum(problem):
    """Against the direct solve, the singular values of the whitened matrix: no matrix of the rank has a
    smaller error.
    """
    weight, conv_groups, groups, rank, patches, second = problem
    factors = decompose_for_data(weight, conv_groups, groups, rank, second, ridge=0)
    lost = power = 0.0
    for group, dense in enumerate(weight.reshape(conv_groups, len(weight) // conv_groups, -1)):
        values = np.linalg.svd(dense @ patches[group], compute_uv=False)
        lost, power = lost + (values[rank:] ** 2).sum(), power + (values**2).sum()
    assert factors.output_error == pytest.approx(np.sqrt(lost / power), rel=1e-6, abs=1e-6)


@given(problems())
def test_never_worse_on_the_data_than_plain_svd(problem):
    weight, conv_groups, groups, rank, patches, second = problem
    plain = decompose(weight, conv_groups, groups, rank)
    factors = decompose_for_data(weight, conv_groups, groups, rank, second)
    before = output_error(weight, plain, conv_groups, groups, second)
    assert factors.output_error <= before * (1 + 1e-6) + 1e-7
    assert factors.error >= plain.error - 1e-9  # which is the best for the weight
    assert factors.reduce.shape == plain.reduce.shape
    assert factors.expand.shape == plain.expand.shape
    # What is reported is what the patches show.
    lost = (weight - reconstruct(factors, conv_groups, groups)).reshape(
        conv_groups, len(weight) // conv_groups, -1
    ) @ patches
    dense = weight.reshape(conv_groups, len(weight) // conv_groups, -1) @ patches
    assert factors.output_error == pytest.approx(
        np.linalg.norm(lost) / np.linalg.norm(dense), rel=1e-5, abs=1e-6
    )


@given(problems())
def test_the_factors_share_the_scale(problem):
    weight, conv_groups, groups, rank, _, second = problem
    factors = decompose_for_data(weight, conv_groups, groups, rank, second)
    left = factors.expand.reshape(conv_groups, -1, groups, rank).swapaxes(1, 2)
    right = factors.reduce.reshape(conv_groups, groups, rank, -1)
    assert np.allclose(
        (left**2).sum(axis=2), (right**2).sum(axis=3), rtol=1e-6, atol=1e-12 * (weight**2).max()
    )


@given(problems())
def test_white_data_give_the_plain_svd(problem):
    weight, conv_groups, groups, rank, _, second = problem
    white = np.broadcast_to(np.eye(second.shape[1]), second.shape)
    factors = decompose_for_data(weight, conv_groups, groups, rank, white)
    assert factors.error == pytest.approx(decompose(weight, conv_groups, groups, rank).error, abs=1e-6)


def test_blocks_find_what_the_plain_svd_has_nothing_of():
    """Each block's largest row hardly matters on the data, and its leading vector alone never leads to the
    other one.
    """
    weight = np.zeros((4, 8))
    weight[[0, 1, 2, 3], [0, 1, 4, 5]] = 2, 1, 2, 1
    second = np.diag([1.0, 36, 1, 1, 1, 36, 1, 1])
    factors = decompose_for_data(weight.reshape(4, 8, 1, 1), 1, 2, 1, second[None], ridge=0)
    assert factors.output_error == pytest.approx(np.sqrt(8 / 80), rel=1e-6)


@pytest.mark.parametrize("kind", [int, np.float32])
def test_moments_of_any_type_are_taken_in_double_precision(kind):
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(6, 4, 1, 1)), rng.integers(-3, 4, size=(4, 50))
    second = (inputs @ inputs.T)[None]
    found, wanted = (
        decompose_for_data(weight, 1, 2, 1, moments)
        for moments in (second.astype(kind), second.astype(float))
    )
    assert np.array_equal(found.reduce, wanted.reduce) and np.array_equal(found.expand, wanted.expand)


def test_errors_of_earlier_layers_are_taken_back():
    """Inputs that come shrunk by half: the factors grow, and the output is right again."""
    rng = np.random.default_rng(0)
    weight, patches = rng.normal(size=(6, 8, 1, 1)), rng.normal(size=(1, 8, 100))
    seen = patches / 2
    second, cross = seen @ seen.swapaxes(1, 2), patches @ seen.swapaxes(1, 2)
    factors = decompose_for_data(weight, 1, 1, 6, second, cross=cross, ridge=0)
    found = reconstruct(factors, 1, 1).reshape(6, 8) @ seen[0]
    assert np.allclose(found, weight.reshape(6, 8) @ patches[0])


def test_silent_inputs_give_the_plain_svd():
    weight = np.random.default_rng(0).normal(size=(16, 8, 3, 3))
    silent = decompose_for_data(weight, 1, 2, 4, np.zeros((1, 72, 72)))
    assert silent.error == pytest.approx(decompose(weight, 1, 2, 4).error)
    assert silent.output_error == 0


def test_what_is_refused():
    weight = np.ones((4, 2, 1, 1))
    with pytest.raises(
        InputError, match=r"second moments of shape \(1, 3, 3\) must be finite and of shape \(1, 2, 2\)"
    ):
        decompose_for_data(weight, 1, 1, 1, np.eye(3)[None])
    with pytest.raises(InputError, match="cross moments"):
        decompose_for_data(weight, 1, 1, 1, np.eye(2)[None], cross=np.full((1, 2, 2), np.nan))
    with pytest.raises(InputError, match="groups"):
        decompose_for_data(weight, 1, 3, 1, np.eye(2)[None])
