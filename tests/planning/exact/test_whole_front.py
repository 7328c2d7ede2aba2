"""The whole front: exact, and within its bound where points are merged."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.made_up import PROBLEMS, random_choices, trades
from rankfold.errors import InputError
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, front, merge, solve, total


class Notes:
    """Keeps what a front tells."""

    def __init__(self):
        self.begun, self.layers, self.ended, self.notes = [], 0, 0, []

    def begin(self, what, total, unit="images"):
        self.begun.append((what, total, unit))

    def advance(self, count=1, detail=""):
        self.layers += count

    def end(self, summary=""):
        self.ended += 1

    def note(self, text):
        self.notes.append(text)


@given(PROBLEMS, st.sampled_from([CYCLES, ARRAYS, ENERGY]))
def test_the_front_is_that_of_all_products(choices, quantity):
    whole = front(choices, quantity)
    points = [(total(chosen, quantity), total(chosen, LOSS)) for chosen in itertools.product(*choices)]
    for cost, loss in points:
        assert np.any((whole.costs <= cost + 1e-9) & (whole.losses <= loss + 1e-9))
    for index in range(len(whole)):
        chosen = whole.chosen(index)
        sums = total(chosen, quantity), total(chosen, LOSS)
        assert sums == pytest.approx((whole.costs[index], whole.losses[index]))
        better = [(cost, loss) for cost, loss in points if cost < sums[0] - 1e-9 and loss < sums[1] - 1e-9]
        assert not better
    assert np.all(np.diff(whole.costs) > 0)
    assert np.all(np.diff(whole.losses) < 0)


@given(PROBLEMS)
@settings(max_examples=40)
def test_every_point_of_the_front_is_what_the_knapsack_chooses(choices):
    whole = front(choices)
    for cost, loss in zip(whole.costs, whole.losses, strict=True):
        assert solve(choices, {CYCLES: cost}).value == pytest.approx(loss, abs=1e-9)
        assert solve(choices, {LOSS: loss}, CYCLES).value <= cost + 1e-9


def test_points_are_merged_within_the_bound():
    """Every point of the exact front has one of no more loss within epsilon; all points are true choices."""
    choices = trades(20, 20)
    whole = front(choices)
    notes = Notes()
    some = front(choices, work=1, progress=notes)
    assert whole.epsilon == 0.0 < some.epsilon
    assert len(some) < len(whole) / 3
    # The first point of no more loss is also the one of least cost, as losses fall where costs rise.
    first = np.searchsorted(-some.losses, -whole.losses - 1e-12)
    distances = some.costs[first] - whole.costs
    assert np.all(distances >= -1e-6)
    assert 0 < np.max(distances) <= some.epsilon
    assert (some.costs[0], some.losses[0]) == pytest.approx((whole.costs[0], whole.losses[0]))
    assert (some.costs[-1], some.losses[-1]) == pytest.approx((whole.costs[-1], whole.losses[-1]))
    assert np.all(np.diff(some.costs) > 0) and np.all(np.diff(some.losses) < 0)
    assert some.totals(CYCLES) == pytest.approx(some.costs)
    assert some.totals(LOSS) == pytest.approx(some.losses)
    assert (notes.begun, notes.layers, notes.ended) == ([("front", 20, "layers")], 20, 1)
    merged, bound = notes.notes
    assert (
        "too many points after" in merged
        and "of 20 layers; those of nearly equal cycles are merged" in merged
    )
    assert f"of no more predicted loss and at most {int(some.epsilon):,} cycles more" in bound


def test_the_more_work_the_nearer():
    choices = trades(40, 20, seed=1)
    bounds = [front(choices, work=work).epsilon for work in (1, 1 << 20, 1 << 22)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < bounds[0] / 4


def test_work_is_bounded(monkeypatch):
    """However many layers there are, no more sums are looked at than may be, but for the fewest points."""
    looked_at = []
    best = merge.best_points

    def counted(costs, losses):
        looked_at.append(len(costs))
        return best(costs, losses)

    monkeypatch.setattr(merge, "best_points", counted)
    work = 1 << 21
    assert front(trades(40, 20), work=work).epsilon > 0.0
    assert sum(looked_at) <= work


def test_a_front_that_is_exact_tells_of_nothing_merged():
    notes = Notes()
    assert front(random_choices(8), progress=notes).epsilon == 0.0
    assert notes.notes == []


def test_a_thinned_front_keeps_both_ends():
    whole = front(random_choices(8))
    some = whole.thinned(20)
    assert 10 < len(some) <= 20
    assert (some[0], some[-1]) == (0, len(whole) - 1)
    assert list(whole.thinned(10**9)) == list(range(len(whole)))
    assert whole.totals(CYCLES) == pytest.approx(whole.costs)
    assert whole.totals(LOSS) == pytest.approx(whole.losses)


def test_wrong_fronts_are_refused():
    with pytest.raises(InputError, match="there is nothing to choose"):
        front([[]])
    with pytest.raises(
        InputError, match=r"the cost of a front \(=loss\) must be one of cycles, arrays, energy"
    ):
        front(random_choices(1), LOSS)
