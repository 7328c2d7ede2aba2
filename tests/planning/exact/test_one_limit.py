"""The choice under a single limit: the best of all, found among few states, or not claimed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.made_up import ENTRY
from common.strategies import SEEDS
from rankfold.planning.exact import CYCLES, LOSS, Candidate, front, one_limit, solve
from rankfold.planning.exact.one_limit import Costed, least_within


def drawn(seed: int, layers: int, candidates: int, *, whole: bool) -> list[Costed]:
    """Layers of several candidates, with the least of costs and goals at zero; many are equal or in line."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(layers):
        costs = random.integers(0, 12, candidates).astype(float)
        goals = 12 - costs + random.integers(0, 3, candidates)
        if not whole:
            goals = goals * random.choice([1.0, 1e-9, 0.3], candidates)
        found.append(Costed(costs - costs.min(), goals - goals.min()))
    return found


def brute_force(layers: list[Costed], room: float) -> float:
    best = np.inf
    for picks in itertools.product(*[range(len(layer.costs)) for layer in layers]):
        taken = list(zip(layers, picks, strict=True))
        if sum(layer.costs[pick] for layer, pick in taken) <= room:
            best = min(best, sum(layer.goals[pick] for layer, pick in taken))
    return float(best)


@given(SEEDS, st.integers(1, 4), st.integers(1, 5), st.integers(0, 40), st.booleans())
def test_no_choice_within_the_room_is_better(
    seed: int, count: int, candidates: int, room: int, whole: bool
) -> None:
    layers = drawn(seed, count, candidates, whole=whole)
    picks = least_within(layers, float(room), 1.0 if whole else 0.0)
    assert picks is not None
    taken = list(zip(layers, picks, strict=True))
    assert sum(layer.costs[pick] for layer, pick in taken) <= room
    reached = sum(layer.goals[pick] for layer, pick in taken)
    assert reached == pytest.approx(brute_force(layers, room), rel=1e-10, abs=1e-15)


@given(SEEDS, st.integers(1, 30))
def test_what_was_found_with_states_forgotten_is_claimed_only_where_it_is_the_best(
    seed: int, room: int
) -> None:
    layers = drawn(seed, 4, 5, whole=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_limit, "WIDTHS", (1, 2))
        picks = least_within(layers, float(room))
    if picks is not None:
        reached = sum(layer.goals[pick] for layer, pick in zip(layers, picks, strict=True))
        assert reached == pytest.approx(brute_force(layers, room), rel=1e-10, abs=1e-15)


@given(SEEDS, st.sampled_from([3e5, 1e8, 1e12]), st.booleans())
def test_little_that_is_left_beside_much_is_not_lost(seed: int, large: float, whole: bool) -> None:
    """Goals that differ by little, where bounds are interpolated between amounts that are far larger."""
    random = np.random.default_rng(seed)
    layers = []
    for _ in range(4):
        costs = random.integers(0, 100, 4).astype(float)
        goals = random.choice([0.0, large], 4) + random.integers(0, 30, 4) * (1.0 if whole else 1e-3)
        layers.append(Costed(costs - costs.min(), goals - goals.min()))
    room = float(random.integers(0, 150))
    picks = least_within(layers, room, float(whole))
    assert picks is not None
    reached = sum(layer.goals[pick] for layer, pick in zip(layers, picks, strict=True))
    assert reached == pytest.approx(brute_force(layers, room), rel=0 if whole else 1e-10, abs=0)


def test_one_cycle_of_many_counts() -> None:
    """Half a million cycles, of which rounding must not take the last one; 600,048 is by brute force."""
    layers = [
        [(0.81, 29), (0.02, 300_003)],
        [(0.28, 300_011), (0.93, 300_014), (0.42, 300_014)],
        [(0.58, 12), (0.74, 11), (0.8, 300_018)],
        [(0.46, 300_018), (0.76, 25), (0.49, 300_004), (0.71, 15)],
        [(0.01, 8), (0.72, 300_010)],
    ]
    choices = [[Candidate(ENTRY, cycles, 1, 1.0, 1, loss) for loss, cycles in layer] for layer in layers]
    assert solve(choices, {LOSS: 2.36}, CYCLES).value == 600_048


@pytest.mark.parametrize("spread", [100, 1])
def test_losses_that_are_nearly_what_is_not_spent(spread: int) -> None:
    """A hard sort of table, against the whole front."""
    random = np.random.default_rng(spread)
    choices = []
    for _ in range(12):
        cycles = random.integers(1, 1000, 12)
        lost = 1000 - cycles + random.random(12) * spread
        layer = zip(cycles.tolist(), lost.tolist(), strict=True)
        choices.append([Candidate(ENTRY, cost, 1, 1.0, 1, loss) for cost, loss in layer])
    whole = front(choices)
    assert whole.epsilon == 0
    for share in (0.2, 0.5, 0.8):
        point = int(share * len(whole))
        assert solve(choices, {CYCLES: float(whole.costs[point])}).value == pytest.approx(whole.losses[point])
