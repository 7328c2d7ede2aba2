"""Accuracies after training: curves are monotone and find what made their outcomes; intervals hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.outcomes import made_up, outcome
from rankfold.planning.forecast.curve import Curve, accuracy_at, excess
from rankfold.planning.forecast.held_out import FEWEST, left_out, margin, margins_without

SHARES = st.floats(0.05, 0.95)
LOSSES = st.floats(0, 10)
EPOCHS = st.integers(1, 12)


@given(st.lists(st.tuples(LOSSES, EPOCHS, st.booleans(), SHARES), min_size=1, max_size=20), st.data())
def test_more_loss_and_no_teacher_never_promise_more(rows, data):
    outcomes = [
        outcome(str(number), loss, epochs, taught, accuracy)
        for number, (loss, epochs, taught, accuracy) in enumerate(rows)
    ]
    curve = Curve.fitted(outcomes)
    less, more = sorted([data.draw(LOSSES), data.draw(LOSSES)])
    epochs = data.draw(EPOCHS)

    def worse(loss, epochs, taught):
        """Than the dense network after the same training."""
        return curve.excess(loss, epochs, taught) - curve.excess(0, epochs, taught)

    slack = 1e-9 * (1 + abs(worse(more, epochs, False)))
    assert curve.excess(less, epochs, True) <= curve.excess(more, epochs, True) + slack
    assert worse(more, epochs, True) <= worse(more, epochs, False) + slack


def test_a_curve_finds_what_made_its_outcomes():
    true = Curve((0.1, -0.05, -0.1, 0.3, 0.1))
    outcomes = made_up(true, np.random.default_rng(0), noise=0)
    found = Curve.fitted(outcomes)
    assert found.coefficients == pytest.approx(true.coefficients, abs=1e-6)


@given(SHARES, SHARES)
def test_odds_of_errors_go_back_and_forth(accuracy, baseline):
    assert accuracy_at(excess(accuracy, baseline), baseline) == pytest.approx(accuracy)
    assert excess(baseline, baseline) == 0


def test_a_plan_is_predicted_without_its_own_outcomes():
    """Whatever the runs of a plan came to, what is predicted for them stays the same."""
    outcomes = made_up(Curve((0.1,) * 5), np.random.default_rng(1), noise=0.1)
    own = outcomes[3].plan
    spoilt = [replace(one, accuracy=0.2) if one.plan == own else one for one in outcomes]
    for before, after in zip(left_out(outcomes), left_out(spoilt), strict=True):
        assert before.outcome.plan == after.outcome.plan
        assert (before.excess == after.excess) == (before.outcome.plan == own)


@pytest.mark.parametrize("covered", [0.5, 0.9])
def test_margins_cover_new_plans_as_often_as_they_say(covered):
    """Of the plans that were left out, and of plans that were made afterwards in the same way."""
    true, draw = Curve((0.1, -0.05, -0.1, 0.3, 0.1)), np.random.default_rng(2)
    outcomes = made_up(true, draw, noise=0.2, plans=60)
    held_out = left_out(outcomes)
    curve, fresh = Curve.fitted(outcomes), made_up(true, draw, noise=0.2, plans=400)
    for taught in (False, True):
        reach = margin(held_out, taught, covered)
        within = farthest(
            {one.outcome: one.residual for one in held_out if one.outcome.taught == taught}, reach
        )
        assert sum(within) == math.ceil(covered * (len(within) + 1))
        off = {
            one: excess(one.accuracy, one.baseline) - curve.excess(one.loss, one.epochs, taught)
            for one in fresh
        }
        new = farthest({one: value for one, value in off.items() if one.taught == taught}, reach)
        assert np.mean(new) == pytest.approx(covered, abs=0.1)


def farthest(residuals, reach):
    """Of each plan, whether all of its runs lie within."""
    plans = {one.plan for one in residuals}
    return [all(abs(off) <= reach for one, off in residuals.items() if one.plan == plan) for plan in plans]


def test_few_plans_have_no_interval_however_many_runs_they_have():
    outcomes = made_up(Curve((0.1,) * 5), np.random.default_rng(3), noise=0.1, plans=12)
    many = [replace(one, taught=True) for one in outcomes for _ in range(3)]
    for count, finite in ((FEWEST - 1, False), (FEWEST, True)):
        names = {str(number) for number in range(count)}
        found = margin(left_out([one for one in many if one.plan in names]), True)
        assert math.isfinite(found) == finite


def test_an_interval_for_a_group_has_not_seen_it():
    outcomes = made_up(Curve((0.1,) * 5), np.random.default_rng(4), noise=0.1, plans=20)
    spoilt = [replace(one, accuracy=0.2) if one.plan == "3" else one for one in outcomes]
    before, after = margins_without(outcomes), margins_without(spoilt)
    assert [key for key in before if key[1] and before[key] == after[key]] == [("3", True)]
