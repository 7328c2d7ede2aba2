"""Patterns: the best positions, the most frequent patterns, shared ones."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS
from rankfold.errors import InputError
from rankfold.pruning import (
    Pruning,
    block_patterns,
    choose_masks,
    kernel_patterns,
    natural_patterns,
    pattern_library,
)


@st.composite
def weights(draw):
    """(m, C_in, kh, kw) of 4, 6 or 12 outputs, and of kernels of at least two positions."""
    outputs = draw(st.sampled_from([4, 6, 12]))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 3)))
    return draw(GENERATORS).standard_normal((outputs, *size))


def kept_energy(weight, mask):
    return np.square(np.where(mask, weight, 0)).sum()


@given(weights(), st.data())
def test_natural_patterns_keep_the_most(weight, data):
    positions = weight.shape[2] * weight.shape[3]
    entries = data.draw(st.integers(1, positions))
    energy = np.square(weight).reshape(-1, positions)
    kept = natural_patterns(energy, entries)
    assert (kept.sum(axis=1) == entries).all()
    for row, pattern in zip(energy, kept, strict=True):
        best = max(row[list(chosen)].sum() for chosen in combinations(range(positions), entries))
        assert row[pattern].sum() == pytest.approx(best)


@given(weights(), st.integers(1, 8))
def test_each_kernel_takes_the_best_pattern_of_the_library(weight, patterns):
    energy = np.square(weight).reshape(-1, weight.shape[2] * weight.shape[3])
    natural = natural_patterns(energy, 2)
    library = pattern_library(natural, patterns)
    assert len(np.unique(library, axis=0)) == len(library) == min(patterns, len(np.unique(natural, axis=0)))
    counts = [(natural == pattern).all(axis=1).sum() for pattern in library]
    assert counts == sorted(counts, reverse=True)
    left_out = [
        pattern for pattern in np.unique(natural, axis=0) if not (library == pattern).all(axis=1).any()
    ]
    assert all((natural == pattern).all(axis=1).sum() <= counts[-1] for pattern in left_out)
    chosen = kernel_patterns(weight, library).reshape(energy.shape)
    for row, pattern in zip(energy, chosen, strict=True):
        assert row[pattern].sum() == pytest.approx(max(row[other].sum() for other in library))


@given(weights(), st.sampled_from([None, 1, 2, 5]), st.sampled_from([1, 2]))
def test_blocks_share_the_best_pattern(weight, block, groups):
    entries = 2
    mask = block_patterns(weight, entries, groups, block)
    outputs = len(weight) // groups
    length = outputs if block is None else block
    for start in range(0, len(weight), outputs):
        for first in range(start, start + outputs, length):
            part = slice(first, min(first + length, start + outputs))
            assert (mask[part] == mask[part.start]).all()
            for channel in range(weight.shape[1]):
                energy = np.square(weight[part, channel]).sum(axis=0).ravel()
                best = max(energy[list(chosen)].sum() for chosen in combinations(range(energy.size), entries))
                assert energy[mask[part.start, channel].ravel()].sum() == pytest.approx(best)


def test_the_more_is_shared_the_less_is_kept():
    weight = np.random.default_rng(0).standard_normal((16, 8, 3, 3))
    alone, four, whole = (block_patterns(weight, 4, block=block) for block in (1, 4, None))
    assert kept_energy(weight, alone) > kept_energy(weight, four) > kept_energy(weight, whole)
    assert {mask.sum() for mask in (alone, four, whole)} == {16 * 8 * 4}
    masks = choose_masks({"a": weight}, {"a": Pruning("patdnn", 4)})
    assert kept_energy(weight, alone) > kept_energy(weight, masks["a"])


def test_the_library_is_that_of_all_layers_together():
    """Layer a's own most frequent pattern is not among the eight of both layers, of which b has many more
    kernels.
    """
    rng = np.random.default_rng(0)
    common = [list(chosen) for chosen in combinations(range(9), 2)][:8]
    b = np.full((80, 1, 9), 0.1)
    for number, kernel in enumerate(b[:, 0]):
        kernel[common[number % 8]] = 1 + rng.random(2)
    a = np.full((4, 1, 9), 0.1)
    a[:, :, 7:] = 1.0
    found = choose_masks(
        {"a": a.reshape(4, 1, 3, 3), "b": b.reshape(80, 1, 3, 3), "c": np.ones((2, 2, 1, 2))},
        {"a": Pruning("patdnn", 2), "b": Pruning("patdnn", 2), "c": Pruning("patdnn", 1)},
    )
    assert {tuple(np.flatnonzero(kernel)) for kernel in found["b"].reshape(-1, 9)} == {
        tuple(chosen) for chosen in common
    }
    assert all(np.flatnonzero(kernel).tolist() in common for kernel in found["a"].reshape(-1, 9))
    assert (found["c"].reshape(-1, 2) == [True, False]).all()  # of equal positions the first


@pytest.mark.parametrize("entries", [0, 10])
def test_more_entries_than_positions_are_refused(entries):
    with pytest.raises(
        InputError, match=rf"entries \(={entries}\) must lie between 1 and the 9 positions of a kernel"
    ):
        block_patterns(np.ones((2, 2, 3, 3)), entries)
