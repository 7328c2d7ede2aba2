"""Which candidates need not be looked at, and that nothing is lost without them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.made_up import SLOT, entries_of, nested
from rankfold.errors import InputError
from rankfold.lowrank import decompose, reconstruct
from rankfold.plan import DenseLayer, LowRankLayer, SupportLayer, WindowLayer, support_to_text
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    Candidate,
    cheaper_than_lossless,
    pareto,
    without_hopeless,
)

OUTPUTS, CHANNELS, POSITIONS = 8, 4, 9
ALL = list(dict.fromkeys(entry.kind for entry in entries_of(SLOT)))
KINDS = [kind for kind in ALL if kind.one_kernel]  # that have a weight of the layer's shape
FREE = support_to_text(nested(CHANNELS, POSITIONS, 0)[3])
WIDE = support_to_text(nested(CHANNELS, POSITIONS, 0)[5])


def mask_of(kind):
    """(C_in, kh*kw) the positions that a layer of the kind uses."""
    if kind.known_support is None:
        return np.ones((CHANNELS, POSITIONS), bool)
    words = kind.known_support.split(" ")
    return np.array([[int(word, 16) >> bit & 1 for bit in range(POSITIONS)] for word in words], bool)


def weight_of(kind, rng):
    """A random weight that a layer of the kind can have."""
    weight = rng.normal(size=(OUTPUTS, CHANNELS, 3, 3)) * mask_of(kind).reshape(CHANNELS, 3, 3)
    if isinstance(kind, LowRankLayer):
        return reconstruct(decompose(weight, 1, kind.groups, kind.rank), 1, kind.groups)
    return weight


def can_be(kind, weight):
    """Whether a layer of the kind can have a weight, seen from its ranks and zeros."""
    outside = weight.reshape(OUTPUTS, CHANNELS, POSITIONS)[:, ~mask_of(kind)]
    if outside.size and np.abs(outside).max() > 1e-12:
        return False
    if not isinstance(kind, LowRankLayer):
        return True
    blocks = np.split(weight.reshape(OUTPUTS, -1), kind.groups, axis=1)
    return all(np.linalg.matrix_rank(block) <= kind.rank for block in blocks)


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 99))
def test_what_is_said_to_hold_does(kind, other, seed):
    weight = weight_of(other, np.random.default_rng(seed))
    assert can_be(other, weight)
    if kind.holds(other):
        assert can_be(kind, weight)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (LowRankLayer(1, 2), DenseLayer()),
        (LowRankLayer(1, 2), LowRankLayer(1, 4)),
        (LowRankLayer(2, 2), LowRankLayer(4, 2)),
        (LowRankLayer(4, 1), LowRankLayer(2, 2)),
        (SupportLayer(3, support=FREE), DenseLayer()),
        (SupportLayer(3, support=FREE), SupportLayer(5, support=WIDE)),
        (SupportLayer(3, support=FREE), LowRankLayer(1, 2)),
        (LowRankLayer(1, 2), SupportLayer(3, support=FREE)),
        (LowRankLayer(1, 2, 3, FREE), LowRankLayer(1, 2)),
    ],
)
def test_what_does_not_hold(kind, other):
    """Random weights of one kind are not of another: more ranks, other positions, fewer blocks."""
    assert not kind.holds(other)
    assert not can_be(kind, weight_of(other, np.random.default_rng(0)))


def test_what_holds():
    assert LowRankLayer(4, 2).holds(LowRankLayer(2, 1))
    assert SupportLayer(5, support=WIDE).holds(LowRankLayer(1, 2, 3, FREE))
    assert not SupportLayer(3).holds(SupportLayer(3, support=FREE))  # its positions are still open


def window_of(rows):
    """A window of 2x2 pixels, 4x4 inputs of each channel, on its first ones."""
    kept = np.arange(CHANNELS * 16) < rows
    return WindowLayer((2, 2), rows, support_to_text(kept.reshape(CHANNELS, 16)))


WINDOWS = [WindowLayer((2, 2)), window_of(16), window_of(32), WindowLayer((1, 2))]
DRAWN = st.tuples(st.sampled_from([*KINDS, *WINDOWS]), st.integers(1, 9), st.integers(1, 9))


@given(st.lists(DRAWN, min_size=1, max_size=12), st.sampled_from([(CYCLES,), (CYCLES, ARRAYS)]))
def test_something_that_holds_and_costs_no_more_is_always_left(drawn, budgeted):
    candidates = []
    for kind, cycles, arrays in drawn:
        entry = replace(SLOT.entry, kind=kind, mapping=kind.mapping_for("sdk"))
        candidates.append(Candidate(entry, cycles, arrays, None, 1))
    left = without_hopeless(candidates, budgeted)

    def holds(one, other):
        return one.entry.kind.holds(other.entry.kind)

    for candidate in candidates:
        assert any(
            holds(one, candidate) and all(one.cost(name) <= candidate.cost(name) for name in budgeted)
            for one in left
        )
    for one in left:
        assert not any(
            holds(other, one) and all(other.cost(name) < one.cost(name) for name in budgeted)
            for other in left
        )


PRICED = st.tuples(st.sampled_from(ALL), st.integers(1, 5), st.integers(1, 5), st.floats(0, 1))


@given(st.lists(PRICED, min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 5))
def test_what_saves_nothing_is_in_no_optimum(drawn, cycles, arrays):
    """Under any budgets the least loss is reached without it."""
    candidates = [Candidate(SLOT.entry, 3, 3, None, 1)]
    for kind, spent, stored, loss in drawn:
        entry = replace(SLOT.entry, kind=kind, mapping=kind.mapping_for("sdk"))
        candidates.append(Candidate(entry, spent, stored, None, 1, loss * kind.changes_weight))
    left = cheaper_than_lossless(candidates, (CYCLES, ARRAYS))

    def least(some):
        allowed = [one.loss for one in some if one.cycles <= cycles and one.arrays <= arrays]
        return min(allowed, default=None)

    assert least(left) == least(candidates)
    assert SLOT.entry in [one.entry for one in left]
    for one in left:
        assert not one.entry.kind.changes_weight or one.cycles < 3 or one.arrays < 3


def test_fewer_bits_make_nothing_needless():
    """The dense layer with fewer bits is no reason to drop a window, or itself with more of them."""

    def candidate(kind, weight_bits, input_bits, cycles=5):
        mapping = kind.mapping_for("sdk")
        bits = {"weight_bits": weight_bits, "input_bits": input_bits}
        return Candidate(replace(SLOT.entry, kind=kind, mapping=mapping, **bits), cycles, 1, None, 1)

    narrow, wide = candidate(DenseLayer(), 2, 8), candidate(DenseLayer(), 4, 8)
    pair, window = candidate(LowRankLayer(1, 2), 4, 8), candidate(WINDOWS[0], 3, 8)
    assert without_hopeless([narrow, pair], (CYCLES,)) == (narrow, pair)
    assert without_hopeless([narrow, wide, pair], (CYCLES,)) == (wide,)
    assert cheaper_than_lossless([narrow, window], (CYCLES,)) == (narrow, window)
    assert cheaper_than_lossless([narrow, wide, window], (CYCLES,)) == (narrow, wide)
    cheaper = replace(narrow, cycles=4)
    assert without_hopeless([cheaper, wide], (CYCLES,)) == (cheaper, wide)


def test_of_equal_candidates_the_one_with_fewer_arrays_stays():
    best = Candidate(replace(SLOT.entry, mapping="best"), 5, 4, None, 1)
    sdk = Candidate(replace(SLOT.entry, mapping="sdk"), 5, 3, None, 1)
    for choose in (without_hopeless, pareto):
        assert choose([best, sdk], (CYCLES,)) == (sdk,)
        assert choose([sdk, best], (CYCLES,)) == (sdk,)


def test_of_equal_candidates_the_first_stays():
    best = Candidate(replace(SLOT.entry, mapping="best"), 5, 4, None, 1)
    sdk = Candidate(replace(SLOT.entry, mapping="sdk"), 5, 4, None, 1)
    for choose in (without_hopeless, pareto):
        assert choose([best, sdk], (CYCLES,)) == (best,)
        assert choose([sdk, best], (CYCLES,)) == (sdk,)


def test_energy_that_was_not_counted_cannot_be_budgeted():
    with pytest.raises(InputError, match="energy was not counted"):
        without_hopeless([Candidate(SLOT.entry, 5, 4, None, 1)], (ENERGY,))
