"""Row-sparse low-rank: never worse than one after the other, near the best of all, and exact where the
structure is there.
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.strategies import random_moments
from common.thorough import thorough
from rankfold.errors import InputError
from rankfold.lowrank import decompose_for_data, nested_supports, output_error, reconstruct, row_sparse
from rankfold.lowrank.regression import with_ridge


def ridged(second):
    return np.stack([with_ridge(moments, 1e-2) for moments in second])


@settings(max_examples=40)
@given(st.integers(0, 9999), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_never_worse_than_the_support_first(seed, groups, conv_groups):
    rng = np.random.default_rng(seed)
    outputs, channels, kernel = (
        int(rng.integers(1, 7)),
        groups * int(rng.integers(1, 3)),
        [(1, 2), (2, 2), (3, 3)][seed % 3],
    )
    weight = rng.normal(size=(conv_groups * outputs, channels, *kernel))
    second = random_moments(rng, conv_groups, weight[0].size, decay=0.05)
    entries = int(rng.integers(1, kernel[0] * kernel[1] + 1))
    rank = int(rng.integers(1, min(outputs, weight[0].size // groups) + 1))
    factors, support = row_sparse(weight, conv_groups, groups, rank, second, entries)
    assert (support.sum(axis=1) == entries).all()
    made = reconstruct(factors, conv_groups, groups).reshape(conv_groups, outputs, -1)
    assert not made.swapaxes(1, 2)[~support.reshape(conv_groups, -1)].any()
    first = nested_supports(weight, conv_groups, second)[entries]
    apart = decompose_for_data(weight, conv_groups, groups, rank, second, support=first)
    errors = [output_error(weight, found, conv_groups, groups, ridged(second)) for found in (factors, apart)]
    assert errors[0] <= errors[1] * (1 + 1e-6) + 1e-9


def best_of_all(weight, groups, rank, second, entries):
    """The least error over every support."""
    positions = weight.shape[2] * weight.shape[3]
    rows = [row for row in product([False, True], repeat=positions) if sum(row) == entries]
    made = (
        decompose_for_data(weight, 1, groups, rank, second, support=np.array(support))
        for support in product(rows, repeat=weight.shape[1])
    )
    return min(output_error(weight, factors, 1, groups, ridged(second)) for factors in made)


@pytest.mark.parametrize("groups", [1, 2])
def test_near_the_best_of_all_supports(groups):
    rng, ratios, apart = np.random.default_rng(0), [], []
    for _ in range(thorough(20, 8)):
        weight, second = rng.normal(size=(6, 4, 1, 3)), random_moments(rng, 1, 12, decay=0.05)
        found, _ = row_sparse(weight, 1, groups, 2, second, 1)
        least = best_of_all(weight, groups, 2, second, 1)
        ratios.append(output_error(weight, found, 1, groups, ridged(second)) / least)
        support = nested_supports(weight, 1, second)[1]
        first = decompose_for_data(weight, 1, groups, 2, second, support=support)
        apart.append(output_error(weight, first, 1, groups, ridged(second)) / least)
    assert min(ratios) > 1 - 1e-6
    assert np.mean(ratios) < np.mean(apart)
    assert np.mean(ratios) < 1.2


@given(st.integers(0, 9999), st.sampled_from([1, 2]))
def test_a_weight_that_has_the_structure_is_found(seed, groups):
    rng = np.random.default_rng(seed)
    rank, entries, channels = int(rng.integers(1, 3)), int(rng.integers(1, 9)), 4
    support = np.zeros((channels, 9), bool)
    for row in support:
        row[rng.choice(9, entries, replace=False)] = True
    kept = np.where(support.reshape(-1), 1.0, 0.0)
    blocks = [
        rng.normal(size=(5, rank)) @ rng.normal(size=(rank, 9 * channels // groups)) for _ in range(groups)
    ]
    weight = (np.concatenate(blocks, axis=1) * kept).reshape(5, channels, 3, 3)
    factors, found = row_sparse(weight, 1, groups, rank, random_moments(rng, 1, 36, decay=0.05), entries)
    assert (found == support).all()
    # Blocks in turn come near a minimum, not to the last digit.
    assert np.allclose(reconstruct(factors, 1, groups), weight, atol=1e-6 if groups == 1 else 1e-2)


def test_what_is_refused():
    weight, second = np.ones((4, 2, 1, 2)), np.eye(4)[None]
    with pytest.raises(InputError, match=r"entries \(=3\) must lie between 1 and the 2 positions"):
        row_sparse(weight, 1, 1, 1, second, 3)
    with pytest.raises(InputError, match="rank"):
        row_sparse(weight, 1, 1, 5, second, 1)
    with pytest.raises(InputError, match="finite"):
        row_sparse(weight * np.nan, 1, 1, 1, second, 1)
