"""The exact choice and the whole front, against brute force and against each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.plan import LayerPlan
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, Candidate, front, pareto, solve, total

ENTRY = LayerPlan("layer", "dense")
CANDIDATES = st.builds(
    Candidate, st.just(ENTRY), st.integers(0, 30), st.integers(0, 9), st.floats(0, 5).map(lambda pj: round(pj, 6)), st.just(1),
    st.one_of(st.floats(0, 2).map(lambda nats: round(nats, 9)), st.sampled_from([0.0, 0.5, 1e-5])),
)  # fmt: skip
PROBLEMS = st.lists(st.lists(CANDIDATES, min_size=1, max_size=5), min_size=1, max_size=4)
LIMITS = st.fixed_dictionaries(
    {}, optional={CYCLES: st.integers(0, 90), ARRAYS: st.integers(0, 25), ENERGY: st.floats(0, 15), LOSS: st.floats(0, 5)}
)


def brute_force(choices, limits, goal):
    allowed = [
        total(chosen, goal)
        for chosen in itertools.product(*choices)
        if all(total(chosen, name) <= limit * (1 + 1e-9) for name, limit in limits.items())
    ]
    return min(allowed) if allowed else None


@given(PROBLEMS, LIMITS, st.sampled_from([LOSS, CYCLES, ARRAYS, ENERGY]))
def test_no_choice_within_the_budgets_is_better(choices, limits, goal):
    best = brute_force(choices, limits, goal)
    if best is None:
        with pytest.raises(InputError, match="no plan"):
            solve(choices, limits, goal)
        return
    found = solve(choices, limits, goal)
    assert found.value == pytest.approx(best, abs=1e-9)
    assert found.value == total(found.chosen, goal)
    assert all(chosen in layer for chosen, layer in zip(found.chosen, choices, strict=True))
    assert all(found.total(name) <= limit * (1 + 1e-9) for name, limit in limits.items())
    assert found.bound == pytest.approx(found.value, abs=1e-7)
    assert found.gap < 1e-6


@given(PROBLEMS, st.sampled_from([CYCLES, ARRAYS, ENERGY]))
def test_the_front_is_that_of_all_products(choices, quantity):
    found = front(choices, quantity)
    points = [(total(chosen, quantity), total(chosen, LOSS)) for chosen in itertools.product(*choices)]
    for cost, loss in points:
        assert np.any((found.costs <= cost + 1e-9) & (found.losses <= loss + 1e-9))
    for index in range(len(found)):
        chosen = found.chosen(index)
        assert (total(chosen, quantity), total(chosen, LOSS)) == pytest.approx((found.costs[index], found.losses[index]))
        assert not any(cost < found.costs[index] - 1e-9 and loss < found.losses[index] - 1e-9 for cost, loss in points)
    assert np.all(np.diff(found.costs) > 0)
    assert np.all(np.diff(found.losses) < 0)


@given(PROBLEMS)
@settings(max_examples=40)
def test_every_point_of_the_front_is_what_the_knapsack_chooses(choices):
    found = front(choices)
    for cost, loss in zip(found.costs, found.losses, strict=True):
        assert solve(choices, {CYCLES: cost}).value == pytest.approx(loss, abs=1e-9)
        assert solve(choices, {LOSS: loss}, CYCLES).value <= cost + 1e-9


@given(PROBLEMS, st.integers(0, 90), st.integers(0, 25))
def test_leaving_out_what_is_beaten_changes_no_optimum(choices, cycles, arrays):
    fewer = [pareto(layer, (CYCLES, ARRAYS)) for layer in choices]
    limits = {CYCLES: cycles, ARRAYS: arrays}
    assert brute_force(fewer, limits, LOSS) == brute_force(choices, limits, LOSS)


def random_network(layers, seed=0):
    rng = np.random.default_rng(seed)
    return [
        [
            Candidate(ENTRY, int(cycles), int(rng.integers(1, 99)), float(rng.random() * 1e6), 1, float(loss))
            for cycles, loss in zip(rng.integers(50, 5000, 24), np.exp(rng.normal(-6, 2, 24)), strict=True)
        ]
        for _ in range(layers)
    ]


def test_a_deep_network():
    """As many layers as ResNet-50 has; front and knapsack agree at budgets all along, and both are exact."""
    choices = random_network(53)
    found = front(choices)
    assert len(found) > 1000
    for share in (0.1, 0.5, 0.9):
        index = int(share * len(found))
        best = solve(choices, {CYCLES: float(found.costs[index])})
        assert best.value == pytest.approx(found.losses[index], rel=1e-9)
        assert best.gap < 1e-6
    both = solve(choices, {CYCLES: float(found.costs[len(found) // 2]), ARRAYS: 53 * 40})
    assert both.value >= found.losses[len(found) // 2] - 1e-12
    assert both.total(ARRAYS) <= 53 * 40


def test_two_budgets_of_which_each_alone_can_be_kept():
    few_cycles, few_arrays = Candidate(ENTRY, 10, 9, 1.0, 1, 0.1), Candidate(ENTRY, 90, 1, 1.0, 1, 0.2)
    choices = [[few_cycles, few_arrays]] * 2
    assert solve(choices, {CYCLES: 20}).total(ARRAYS) == 18
    with pytest.raises(InputError, match="with at most 5 arrays, the fewest that can be reached is 180 cycles, not 20 cycles"):
        solve(choices, {CYCLES: 20, ARRAYS: 5})


def test_a_budget_out_of_reach_says_what_can_be_reached():
    choices = [[Candidate(ENTRY, 10, 2, 3000.0, 1, 0.25)]] * 2
    for limits, words in (
        ({CYCLES: 19}, "no plan has at most 19 cycles: the fewest that these layers can reach is 20 cycles"),
        ({CYCLES: 19.8}, "no plan has at most 19 cycles: the fewest that these layers can reach is 20 cycles"),
        ({ARRAYS: 3}, "the fewest that these layers can reach is 4 arrays"),
        ({ENERGY: 1000.0}, "at most 1.0 nJ: the fewest that these layers can reach is 6.0 nJ"),
        ({LOSS: 0.1}, "no plan loses at most 0.1 nats of loss: the least that these layers can reach is 0.5 nats"),
        ({CYCLES: math.nan}, "must be 0 or more"),
        ({"time": 3}, r"budget \(=time\) must be on one of"),
    ):
        with pytest.raises(InputError, match=words):
            solve(choices, limits)
    with pytest.raises(InputError, match="nothing to choose"):
        solve([[]], {})


def test_a_thinned_front_keeps_both_ends():
    found = front(random_network(8))
    some = found.thinned(20)
    assert 10 < len(some) <= 20
    assert (some[0], some[-1]) == (0, len(found) - 1)
    assert list(found.thinned(10**9)) == list(range(len(found)))
    assert found.totals(CYCLES) == pytest.approx(found.costs)
    assert found.totals(LOSS) == pytest.approx(found.losses)


def test_energy_that_was_not_counted_has_no_budget():
    with pytest.raises(InputError, match="energy was not counted"):
        solve([[Candidate(ENTRY, 1, 1, None, 1)]], {ENERGY: 5.0})
