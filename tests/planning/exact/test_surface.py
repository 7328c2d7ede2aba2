"""The front in three quantities, against brute force and the exact choice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.made_up import ENTRY, PROBLEMS
from rankfold.errors import InputError
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LOSS,
    Candidate,
    solve,
    surface,
    total,
)
from rankfold.planning.exact.merge_two import thinned, undominated_of_three
from rankfold.progress import Silent

PAIRS = st.sampled_from([(CYCLES, ARRAYS), (ENERGY, CYCLES), (INTERVAL, ARRAYS)])


def as_good(one, other):
    return all(left <= right + 1e-9 for left, right in zip(one, other, strict=True))


@settings(max_examples=15)
@given(PROBLEMS, PAIRS)
def test_the_surface_is_that_of_all_choices(choices, quantities):
    costs = set()
    for chosen in itertools.product(*choices):
        costs.add(tuple(total(chosen, name) for name in (*quantities, LOSS)))
    found = surface(choices, quantities)
    points = [(*costs_of, loss) for costs_of, loss in zip(found.costs, found.losses, strict=True)]
    assert found.exact
    for point, number in zip(points, range(len(found)), strict=True):
        chosen = found.chosen(number)
        assert point == pytest.approx([total(chosen, name) for name in (*quantities, LOSS)], abs=1e-9)
        better = [other for other in costs if as_good(other, point) and not as_good(point, other)]
        assert not better
    for other in costs:
        assert any(as_good(point, other) for point in points)
    assert found.totals(ARRAYS).tolist() == [total(found.chosen(at), ARRAYS) for at in range(len(found))]


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=40))
def test_what_nothing_is_as_good_as_in_three(points):
    found = undominated_of_three(*np.array(points, float).T)
    kept = [points[index] for index in found]
    assert len(set(kept)) == len(kept)
    best = {
        point
        for point in points
        if not any(
            other != point and all(left <= right for left, right in zip(other, point, strict=True))
            for other in points
        )
    }
    assert set(kept) == best


def deep(layers, seed=0):
    """Candidates of which none is as good as another, with energies that hardly two sums agree in."""
    rng = np.random.default_rng(seed)
    choices = []
    for _ in range(layers):
        cycles = np.sort(rng.integers(10, 999, 6))
        energies, losses = rng.random(6) * 1e5, np.sort(rng.random(6))[::-1]
        rows = zip(cycles, energies, losses, strict=True)
        choices.append([Candidate(ENTRY, int(one), 1, float(pj), 1, float(nats)) for one, pj, nats in rows])
    return choices


def test_a_surface_that_is_cut_down_says_by_how_much():
    notes = []

    class Told(Silent):
        def note(self, text):
            notes.append(text)

    choices = deep(9)
    exact = surface(choices, (CYCLES, ENERGY))
    cut = surface(choices, (CYCLES, ENERGY), work=1, progress=Told())
    assert exact.exact and not cut.exact and len(cut) < len(exact)
    assert cut.in_words() in notes[-1]
    more = np.array(cut.epsilon) * (1 + 1e-9)
    for costs, loss in zip(exact.costs[::50], exact.losses[::50], strict=True):
        near = (cut.costs <= costs + more).all(axis=1) & (cut.losses <= loss + 1e-12)
        assert near.any()
    # Its points are choices with their true sums, and never better than the best choice.
    for point in range(0, len(cut), len(cut) // 5):
        limits = {CYCLES: cut.costs[point, 0], ENERGY: cut.costs[point, 1]}
        assert solve(choices, limits).value <= cut.losses[point] + 1e-9


def test_thinned_points_keep_both_ends():
    found = surface(deep(6), (CYCLES, ENERGY))
    few = found.thinned(40)
    assert 4 < len(few) <= 40
    assert found.costs[few].min(axis=0) == pytest.approx(found.costs.min(axis=0))
    assert found.losses[few].min() == found.losses.min()
    assert len(found.thinned(10**6)) == len(found)


@pytest.mark.parametrize("quantities", [(CYCLES,), (CYCLES, "time"), (CYCLES, ARRAYS, ENERGY)])
def test_what_a_surface_trades(quantities):
    with pytest.raises(InputError, match=r"the costs of a front \(=.*\) must be two of cycles, arrays"):
        surface(deep(1), quantities)


@pytest.mark.parametrize("most", [6, 7, 20])
def test_few_points_of_a_surface_are_no_more_than_asked_for(most):
    """All corners of the plane are taken, so that cells cannot be fewer than four."""
    costs = np.array(list(itertools.product(range(9), repeat=2)), float)
    left, _ = thinned(costs, -costs.sum(axis=1), most)
    assert 0 < len(left) <= most
    with pytest.raises(ValueError, match=r"most \(=5\) must be 6 or more"):
        thinned(costs, -costs.sum(axis=1), 5)
