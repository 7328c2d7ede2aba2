"""The published patterns of PAIRS and GAROS, and patterns that are shared."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS
from rankfold.errors import InputError
from rankfold.pruning import Pruning, choose_masks, published_library, shared_patterns

# Rows that a square window of p x p inputs skips in each input channel, as counted in the published code.
SKIPPED = {
    8: lambda p: 1,
    6: lambda p: p,
    4: lambda p: 2 * p - 1,
    2: lambda p: 3 * p - 2,
    1: lambda p: 4 * p - 4,
}


def inputs_read(pattern, side):
    """Inputs of a side x side window that any shift of a 3x3 pattern reads."""
    read = np.zeros((side, side), bool)
    for down in range(side - 2):
        for across in range(side - 2):
            read[down : down + 3, across : across + 3] |= pattern.reshape(3, 3)
    return read.sum()


@pytest.mark.parametrize("entries", SKIPPED)
@pytest.mark.parametrize("side", [4, 5, 6])
def test_every_pattern_skips_as_many_rows_as_published(entries, side):
    for pattern in published_library(entries):
        assert side**2 - inputs_read(pattern, side) == SKIPPED[entries](side)


def test_libraries_are_all_patterns_with_the_centre_that_skip_the_most():
    """Of 8, 6, 4 and 1 positions there are no others. Of 2 there are: the centre with a corner skips less."""
    for entries, count in {8: 4, 7: 14, 6: 4, 5: 16, 4: 4, 2: 4, 1: 1}.items():
        library = published_library(entries)
        assert library.shape == (count, 9)
        assert len(np.unique(library, axis=0)) == count
        assert library[:, 4].all() and (library.sum(axis=1) == entries).all()
        # Mirrored and turned they are the same library.
        turned = np.rot90(library.reshape(-1, 3, 3), axes=(1, 2)).reshape(-1, 9)
        assert {tuple(row) for row in turned} == {tuple(row) for row in library}
    for entries in (8, 6, 4, 2, 1):
        read = {}
        for chosen in combinations(range(9), entries):
            pattern = np.isin(np.arange(9), chosen)
            if pattern[4]:
                read[chosen] = inputs_read(pattern, 4)
        least = {chosen for chosen, inputs in read.items() if inputs == min(read.values())}
        assert {tuple(np.flatnonzero(row)) for row in published_library(entries)} == least


def test_patterns_of_7_and_5_positions_are_those_of_the_published_code():
    """Dropped positions, as listed there."""
    seven = {(0, 1), (1, 2), (0, 3), (2, 5), (3, 6), (6, 7), (7, 8), (5, 8)}
    seven |= {(0, 2), (2, 8), (6, 8), (0, 6), (0, 8), (2, 6)}
    five = {(0, 1, 2, other) for other in (3, 5, 6, 8)} | {(other, 6, 7, 8) for other in (0, 2, 3, 5)}
    five |= {tuple(sorted((0, 3, 6, other))) for other in (1, 2, 7, 8)}
    five |= {tuple(sorted((2, 5, 8, other))) for other in (0, 1, 6, 7)}
    for entries, dropped in ((7, seven), (5, five)):
        assert {tuple(np.flatnonzero(~row)) for row in published_library(entries)} == dropped


def test_no_pattern_keeps_three_positions():
    with pytest.raises(InputError, match=r"entries \(=3\) must be 8, 7, 6, 5, 4, 2 or 1: the published"):
        published_library(3)


@given(GENERATORS, st.sampled_from([8, 7, 6, 5, 4, 2, 1]), st.sampled_from([1, 2]), st.booleans())
def test_shared_patterns_keep_the_most_of_the_library(rng, entries, groups, whole_layer):
    weight = rng.standard_normal((4, 3, 3, 3))
    library = published_library(entries)
    mask = shared_patterns(weight, library, groups, whole_layer).reshape(4, 3, 9)
    energy = np.square(weight).reshape(4, 3, 9)
    outputs = 4 // groups
    places = [(slice(None), slice(None))]
    if not whole_layer:
        places = [
            (slice(first, first + outputs), slice(channel, channel + 1))
            for first in range(0, 4, outputs)
            for channel in range(3)
        ]
    for place in places:
        kept = mask[place].reshape(-1, 9)
        assert (kept == kept[0]).all() and (library == kept[0]).all(axis=1).any()
        best = max((energy[place] * pattern).sum() for pattern in library)
        assert (energy[place] * mask[place]).sum() == pytest.approx(best)


def test_natural_patterns_are_shared_from_as_many_as_published():
    """Each channel has one pattern of its own, of which four are taken as none is more frequent."""
    rows = np.full((20, 9), 0.1)
    frequent = [(0, 1), (1, 2), (3, 4), (4, 5)]
    for row, kernel in enumerate(rows[:16]):
        kernel[list(frequent[row // 4])] = 1
    rows[16:, 7:] = 1
    weight = rows.reshape(5, 4, 9).transpose(1, 0, 2).reshape(4, 5, 3, 3)  # a channel has one pattern
    for method in ("patdnn-channel", "patdnn-layer"):
        kept = choose_masks({"a": weight}, {"a": Pruning(method, 2)})["a"].reshape(4, 5, 9)
        assert (kept == kept[:1]).all()
        chosen = {tuple(np.flatnonzero(pattern)) for pattern in kept[0]}
        assert chosen <= set(frequent)
        assert (chosen == set(frequent)) == (method == "patdnn-channel")
        assert len(chosen) == 1 or method == "patdnn-channel"
