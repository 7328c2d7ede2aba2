"""The exact choice, against brute force."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.made_up import ENTRY, PROBLEMS, random_choices
from rankfold.errors import InputError
from rankfold.planning.exact import (
    ARRAYS,
    CONVERSIONS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LOSS,
    Candidate,
    cheapest,
    front,
    pareto,
    solve,
    total,
)

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        CYCLES: st.integers(0, 90),
        ARRAYS: st.integers(0, 25),
        ENERGY: st.floats(0, 15),
        LOSS: st.floats(0, 5),
        INTERVAL: st.floats(0, 4),
        CONVERSIONS: st.integers(0, 90),
    },
)
GOALS = (LOSS, CYCLES, ARRAYS, ENERGY, INTERVAL, CONVERSIONS)


def brute_force(choices, limits, goal):
    allowed = []
    for chosen in itertools.product(*choices):
        if all(total(chosen, name) <= limit * (1 + 1e-9) for name, limit in limits.items()):
            allowed.append(total(chosen, goal))
    return min(allowed, default=None)


@given(PROBLEMS, LIMITS, st.sampled_from(GOALS))
def test_no_choice_within_the_budgets_is_better(choices, limits, goal):
    best = brute_force(choices, limits, goal)
    if best is None:
        with pytest.raises(InputError, match="no plan"):
            solve(choices, limits, goal)
        return
    solution = solve(choices, limits, goal)
    assert solution.value == pytest.approx(best, abs=1e-9)
    assert solution.value == total(solution.chosen, goal)
    assert all(chosen in layer for chosen, layer in zip(solution.chosen, choices, strict=True))
    assert all(solution.total(name) <= limit * (1 + 1e-9) for name, limit in limits.items())
    assert solution.bound == pytest.approx(solution.value, abs=1e-7)
    assert solution.gap < 1e-6


@given(PROBLEMS, LIMITS, st.sampled_from(GOALS[1:]))
def test_of_the_cheapest_choices_that_of_least_loss_is_taken(choices, limits, goal):
    least = brute_force(choices, limits, goal)
    assume(least is not None)
    found = cheapest(choices, limits, goal)
    assert found.total(goal) == found.value == pytest.approx(least, abs=1e-9)
    assert all(found.total(name) <= limit * (1 + 1e-9) for name, limit in limits.items())
    within = {**limits, goal: min(least, limits.get(goal, math.inf))}
    assert found.total(LOSS) == pytest.approx(brute_force(choices, within, LOSS), abs=1e-9)


@given(PROBLEMS, st.integers(0, 90), st.integers(0, 25))
def test_leaving_out_what_is_beaten_changes_no_optimum(choices, cycles, arrays):
    fewer = [pareto(layer, (CYCLES, ARRAYS)) for layer in choices]
    limits = {CYCLES: cycles, ARRAYS: arrays}
    assert brute_force(fewer, limits, LOSS) == brute_force(choices, limits, LOSS)


def test_a_deep_network():
    """As many layers as ResNet-50 has; front and knapsack agree at budgets all along, and both are exact."""
    choices = random_choices(53)
    whole = front(choices)
    assert len(whole) > 1000
    assert whole.epsilon == 0.0
    for share in (0.1, 0.5, 0.9):
        index = int(share * len(whole))
        best = solve(choices, {CYCLES: float(whole.costs[index])})
        assert best.value == pytest.approx(whole.losses[index], rel=1e-9)
        assert best.gap < 1e-6
    middle = len(whole) // 2
    both = solve(choices, {CYCLES: float(whole.costs[middle]), ARRAYS: 53 * 40})
    assert both.value >= whole.losses[middle] - 1e-12
    assert both.total(ARRAYS) <= 53 * 40


def test_two_budgets_of_which_each_alone_can_be_kept():
    few_cycles = Candidate(ENTRY, 10, 9, 1.0, 1, 0.1)
    few_arrays = Candidate(ENTRY, 90, 1, 1.0, 1, 0.2)
    choices = [[few_cycles, few_arrays]] * 2
    assert solve(choices, {CYCLES: 20}).total(ARRAYS) == 18
    words = "with at most 5 arrays, the fewest that can be reached is 180 cycles, not 20 cycles"
    with pytest.raises(InputError, match=words):
        solve(choices, {CYCLES: 20, ARRAYS: 5})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({CYCLES: 19}, "no plan has at most 19 cycles: the fewest that these layers can reach is 20 cycles"),
        (
            {CYCLES: 19.8},
            "no plan has at most 19 cycles: the fewest that these layers can reach is 20 cycles",
        ),
        ({ARRAYS: 3}, "the fewest that these layers can reach is 4 arrays"),
        (
            {ENERGY: 1000.0},
            "at most 1.0 nJ of energy: the least that these layers can reach is 6.0 nJ of energy",
        ),
        (
            {LOSS: 0.1},
            "no plan loses at most 0.1 of predicted loss: the least that these layers can reach is 0.5 of",
        ),
        ({CYCLES: math.nan}, "must be 0 or more"),
        ({"time": 3}, r"budget \(=time\) must be on one of"),
    ],
)
def test_a_budget_out_of_reach_says_what_can_be_reached(limits, words):
    choices = [[Candidate(ENTRY, 10, 2, 3000.0, 1, 0.25)]] * 2
    with pytest.raises(InputError, match=words):
        solve(choices, limits)


def test_layers_that_are_pipelined_wait_for_the_slowest():
    slow = Candidate(ENTRY, 1, 1, 1.0, 1, 0.1, interval=3.0)
    fast = Candidate(ENTRY, 1, 5, 1.0, 1, 0.2, interval=1.0)
    choices = [[slow, fast], [slow]]
    # One layer is slow in any case, so that the other one need not be fast.
    assert cheapest(choices, {}, INTERVAL).chosen == (slow, slow)
    with pytest.raises(InputError, match=r"at most 2.00 us of interval: the least .* is 3.00 us of interval"):
        solve(choices, {INTERVAL: 2.0})
    with pytest.raises(
        InputError, match=r"with at most 6 arrays, the least .* 3.00 us of interval, not 1.00"
    ):
        solve([[slow, fast]] * 2, {INTERVAL: 1.0, ARRAYS: 6})


def test_nothing_to_choose():
    for nothing in ([], [[]]):
        with pytest.raises(InputError, match="nothing to choose"):
            solve(nothing, {})


def test_energy_that_was_not_counted_has_no_budget():
    with pytest.raises(InputError, match="energy was not counted"):
        solve([[Candidate(ENTRY, 1, 1, None, 1)]], {ENERGY: 5.0})


def far_apart(losses, count):
    """`count` layers whose candidates lose next to nothing or very much more, and save a cycle each time."""
    return [[Candidate(ENTRY, 10 - step, 1, 1.0, 1, loss) for step, loss in enumerate(losses)]] * count


@pytest.mark.parametrize(("most", "saved"), [(0.0, 0), (1e-14, 0), (2.5e-13, 2), (4.5e-13, 4), (0.0105, 6)])
def test_losses_of_next_to_nothing_beside_large_ones(most, saved):
    """Each of five layers saves a cycle for 1e-13 nats, and another one for 0.01; the others cost 0.02."""
    choices = [*far_apart((0.0, 1e-13, 0.01), 5), *far_apart((0.0, 0.02, 0.05), 10)]
    found = cheapest(choices, {LOSS: most}, CYCLES)
    assert found.value == found.total(CYCLES) == 150 - saved
    assert found.bound == found.value
    assert found.total(LOSS) <= most * (1 + 1e-9)


TINY = st.sampled_from([0.0, 1e-18, 1e-13, 3e-13, 1e-7, 0.01, 0.5])
LOSING = st.builds(
    lambda cycles, energy, loss: Candidate(ENTRY, cycles, 1, energy, 1, loss), st.integers(1, 9), TINY, TINY
)
STEEP = st.lists(st.lists(LOSING, min_size=1, max_size=4), min_size=1, max_size=4)


@given(STEEP, st.data(), st.sampled_from([CYCLES, ENERGY]))
def test_budgets_that_one_choice_just_keeps(choices, data, goal):
    """The limits are what some choice needs, of amounts that lie far apart."""
    some = [data.draw(st.sampled_from(layer)) for layer in choices]
    limits = {name: total(some, name) for name in (LOSS, ENERGY)}
    found = cheapest(choices, limits, goal)
    best = brute_force(choices, limits, goal)
    # Of what is made small, differences below 1e-12 are nothing.
    assert found.value == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert found.bound <= best * (1 + 1e-9) + 1e-12
    assert all(found.total(name) <= limit * (1 + 1e-9) for name, limit in limits.items())
