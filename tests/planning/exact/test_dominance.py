"""Which candidates need not be looked at, and that nothing is lost without them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.made_up import SLOT, entries_of, nested
from rankfold.errors import InputError
from rankfold.lowrank import decompose, reconstruct
from rankfold.plan import DenseLayer, LowRankLayer, SupportLayer, support_to_text
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, Candidate, pareto, without_hopeless

OUTPUTS, CHANNELS, POSITIONS = 8, 4, 9
KINDS = list(dict.fromkeys(entry.kind for entry in entries_of(SLOT)))
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


DRAWN = st.tuples(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9))


@given(st.lists(DRAWN, min_size=1, max_size=12), st.sampled_from([(CYCLES,), (CYCLES, ARRAYS)]))
def test_something_that_holds_and_costs_no_more_is_always_left(drawn, budgeted):
    candidates = []
    for kind, cycles, arrays in drawn:
        candidates.append(Candidate(replace(SLOT.entry, kind=kind, mapping="sdk"), cycles, arrays, None, 1))
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
