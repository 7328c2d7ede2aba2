"""Layers whose candidates need others to read few channels, or none, against all choices there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.plan import LayerPlan, SkippedLayer
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    LOSS,
    Candidate,
    LayerChoices,
    cheapest,
    front,
    pareto,
    solve,
    surface,
)
from rankfold.planning.exact.candidate import Need, total
from rankfold.planning.exact.linked import spread, units, with_dependents
from rankfold.workload import ConvShape

SHAPE = ConvShape("layer", 4, 4, (3, 3), (6, 6))
CHAINS = ({}, {"0": "1"}, {"1": "0"}, {"0": "2"}, {"0": "1", "1": "2"}, {"0": "2", "1": "2"})


@st.composite
def linked(draw: st.DrawFn) -> list[tuple[Candidate, ...]]:
    """Three layers, most of which may be skipped, or read or give fewer channels, linked in some way."""
    choices = []
    behind = draw(st.sampled_from(CHAINS))
    for name in "012":
        entry, layer = LayerPlan(name), []
        for _ in range(draw(st.integers(1, 4))):
            cycles, arrays = draw(st.integers(1, 9)), draw(st.integers(1, 4))
            need = Need(behind[name], draw(st.integers(1, 3))) if layer and name in behind else None
            channels = draw(st.sampled_from((None, 1, 2, 3))) if layer else None
            loss = draw(st.integers(0, 8)) / 8
            layer.append(Candidate(entry, cycles, arrays, None, 1, loss, channels=channels, needs=need))
        if draw(st.integers(0, 3)):
            skipped = LayerPlan(name, SkippedLayer())
            layer.append(Candidate(skipped, 0, 0, 0.0, 0, draw(st.integers(0, 16)) / 8))
        choices.append(LayerChoices(SHAPE, layer[0], tuple(layer)))
    found = with_dependents(choices, behind)
    return [layer.candidates for layer in found]


def every_choice(choices: list[tuple[Candidate, ...]]) -> list[tuple[Candidate, ...]]:
    """All that are allowed."""
    allowed = []
    for chosen in product(*choices):
        read = {one.entry.name: one.reads for one in chosen}
        if all(one.needs is None or read[one.needs.layer] <= one.needs.most for one in chosen):
            allowed.append(chosen)
    return allowed


@given(linked(), st.integers(0, 20), st.integers(0, 9))
def test_the_choice_is_the_best_of_all_that_are_allowed(
    choices: list[tuple[Candidate, ...]], cycles: int, arrays: int
) -> None:
    every = every_choice(choices)
    within = [one for one in every if total(one, CYCLES) <= cycles and total(one, ARRAYS) <= arrays]
    limits = {CYCLES: float(cycles), ARRAYS: float(arrays)}
    if not within:
        with pytest.raises(InputError, match="no plan"):
            solve(choices, limits)
        return
    found = solve(choices, limits)
    assert found.chosen in every
    assert found.value == pytest.approx(min(total(one, LOSS) for one in within), abs=1e-9)
    single = [one for one in every if total(one, CYCLES) <= cycles]
    assert solve(choices, {CYCLES: float(cycles)}).value == pytest.approx(
        min(total(one, LOSS) for one in single), abs=1e-9
    )
    least = cheapest(choices, {LOSS: 1.0}, CYCLES) if any(total(one, LOSS) <= 1 for one in every) else None
    if least is not None:
        assert least.value == min(total(one, CYCLES) for one in every if total(one, LOSS) <= 1)
        assert least.chosen in every


@given(linked())
def test_fronts_have_every_best_trade_that_is_allowed(choices: list[tuple[Candidate, ...]]) -> None:
    every = every_choice(choices)
    found = front(choices, CYCLES)
    assert all(found.chosen(point) in every for point in range(len(found)))
    wanted = {total(one, CYCLES): np.inf for one in every}
    for one in every:
        wanted[total(one, CYCLES)] = min(wanted[total(one, CYCLES)], total(one, LOSS))
    best, least = {}, np.inf
    for cycles, loss in sorted(wanted.items()):
        if loss < least - 1e-12:
            best[cycles], least = loss, loss
    assert dict(zip(found.costs.tolist(), found.losses.tolist(), strict=True)) == pytest.approx(best)
    both = surface(choices, (CYCLES, ARRAYS))
    assert all(both.chosen(point) in every for point in range(len(both)))
    for one in every:
        costs = both.costs <= [total(one, CYCLES), total(one, ARRAYS)]
        assert (costs.all(axis=1) & (both.losses <= total(one, LOSS) + 1e-9)).any()


def test_a_layer_that_needs_what_no_other_one_may_be_is_refused() -> None:
    """Of each layer alone the limits could be kept."""
    needing = Candidate(LayerPlan("0"), 1, 1, None, 1, needs=Need("1", 2))
    reading = [Candidate(LayerPlan("1"), cycles, 1, None, 1, channels=n) for n, cycles in ((3, 1), (2, 4))]
    solve([(needing,), reading], {CYCLES: 5.0})
    with pytest.raises(InputError, match="at most 4 cycles: the fewest that these layers can reach is 5"):
        solve([(needing,), reading], {CYCLES: 4.0})
    with pytest.raises(InputError, match="no plan"):
        solve([(needing,), reading[:1]], {ARRAYS: 9.0})


@given(linked(), st.integers(0, 20))
def test_what_is_beaten_is_in_no_better_choice(choices: list[tuple[Candidate, ...]], cycles: int) -> None:
    left = [pareto(layer, (CYCLES,)) for layer in choices]
    assert solve_or_none(left, cycles) == pytest.approx(solve_or_none(choices, cycles), abs=1e-9)


def solve_or_none(choices: list[tuple[Candidate, ...]], cycles: int) -> float | None:
    """The least loss; None: there is no choice."""
    try:
        return solve(choices, {CYCLES: float(cycles)}).value
    except InputError:
        return None


def test_what_loses_nothing_by_itself_gets_no_condition() -> None:
    idle = [
        Candidate(LayerPlan(name, SkippedLayer()), 0, 0, None, 0, loss)
        for name, loss in (("0", 0.0), ("1", 0.5))
    ]
    choices = [LayerChoices(SHAPE, one, (one,)) for one in idle]
    found = with_dependents(choices, {"0": "1", "1": "0"})
    assert [len(layer.candidates) for layer in found] == [1, 2]


def test_what_nothing_links_stays_by_itself() -> None:
    entry = LayerPlan("0")
    choices = [(Candidate(entry, 3, 1, None, 1), Candidate(entry, 1, 1, None, 1, 0.5))]
    choices.append((Candidate(LayerPlan("1"), 2, 1, None, 1),))
    found = units(choices, (CYCLES, LOSS))
    assert [unit.layers for unit in found] == [(0,), (1,)]
    np.testing.assert_array_equal(found[0].amounts, [[3, 0], [1, 0.5]])
    np.testing.assert_array_equal(spread(np.array([[1, 0]]), found), [[1, 0]])
