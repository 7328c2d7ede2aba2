"""What is foreseen, and what is refused because it was not learnt."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.outcomes import made_up
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, LowRankLayer, Plan, WindowLayer
from rankfold.planning.forecast.curve import Curve, excess
from rankfold.planning.forecast.forecaster import EPOCHS, Forecaster, NotLearntError
from rankfold.planning.forecast.held_out import left_out, margins_without
from rankfold.planning.forecast.outcome import read_outcomes, shipped_outcomes, write_outcomes
from rankfold.planning.forecast.situation import Situation

TRUE = Curve((0.1, -0.05, -0.1, 0.3, 0.1))
OUTCOMES = made_up(TRUE, np.random.default_rng(0), noise=0.05, plans=60)
SITUATION = Situation("net", "data", "weights", "4/4 8/8")
FORECASTERS = {taught: Forecaster(SITUATION, OUTCOMES, taught) for taught in (True, False)}
FORECASTER = FORECASTERS[True]
LAYERS = (
    LayerPlan("first", weight_bits=8, input_bits=8),
    LayerPlan("second", WindowLayer((2, 2), 8), weight_bits=4, input_bits=4),
)


def plan_of(*layers):
    return Plan("net", (3, 8, 8), ArraySpec(8, 8), layers)


@given(st.floats(0, 1), st.integers(3, 10), st.booleans())
def test_a_forecast_is_the_curve_with_its_margin(share, epochs, taught):
    forecaster = FORECASTERS[taught]
    loss = share * forecaster.largest_loss
    found = forecaster.after(loss, epochs)
    assert found.low < found.accuracy < found.high
    assert found.accuracy <= found.dense + 1e-12
    baseline = OUTCOMES[0].baseline
    expected = forecaster.curve.excess(loss, epochs, taught)
    for accuracy, y in (
        (found.low, expected + forecaster.margin),
        (found.high, expected - forecaster.margin),
    ):
        assert excess(accuracy, baseline) == pytest.approx(y)
    own = [one for one in OUTCOMES if one.taught == taught]
    assert found.plans == len({one.plan for one in own})
    assert found.as_long == len({one.plan for one in own if one.epochs >= epochs})


@given(st.floats(0, 0.3), st.integers(1, 12))
def test_the_most_loss_within_a_drop_is_the_largest(drop, epochs):
    most = FORECASTER.most_loss(drop, epochs)
    found = FORECASTER.after(most, epochs)
    assert found.dense - found.accuracy <= drop + 1e-12
    if most < FORECASTER.largest_loss:
        more = FORECASTER.after(min(most + 2e-4, FORECASTER.largest_loss), epochs)
        assert more.dense - more.accuracy > drop


@pytest.mark.parametrize("name", [field.name for field in fields(Situation)])
def test_nothing_is_foreseen_for_another_situation(name):
    with pytest.raises(NotLearntError, match="is not learnt: 0 plans trained so are known"):
        Forecaster(replace(SITUATION, **{name: "another"}), OUTCOMES)


def test_what_lies_beyond_is_refused():
    most = FORECASTER.largest_loss
    with pytest.raises(NotLearntError, match="more than that of any network that was trained"):
        FORECASTER.after(1.01 * most, 4)
    for epochs in (0, 13):
        with pytest.raises(
            NotLearntError, match=f"with a teacher are learnt for 1 to 12 epochs, not for {epochs}"
        ):
            FORECASTER.after(0.1, epochs)
    pair = LayerPlan("third", LowRankLayer(1, 2), weight_bits=4, input_bits=4)
    with pytest.raises(NotLearntError, match="no network with low-rank layers"):
        FORECASTER.of(plan_of(*LAYERS, pair).predicting(0.1, "weights", "data"), 4)


def test_epochs_are_learnt_where_several_plans_had_them():
    """Not those of a plan or two, between which and the others nothing is known."""
    pair = [replace(one, epochs=4 + 16 * (number < 2)) for number, one in enumerate(FORECASTER.outcomes[::2])]
    forecaster = Forecaster(SITUATION, pair)
    assert forecaster.epochs == (4, 4) and forecaster.usual_epochs == 4
    for epochs in (1, 3, 5, 20):
        with pytest.raises(NotLearntError, match=f"are learnt for 4 epochs, not for {epochs}"):
            forecaster.after(0.1, epochs)
    assert FORECASTER.usual_epochs == EPOCHS


def test_what_runs_cannot_tell_apart_is_refused():
    """Equal losses say nothing of the dense network, nor do losses that rise with the epochs."""
    for losses in ({4: 0.5, 8: 0.5}, {4: 0.2, 8: 0.4}):
        alike = []
        for number, one in enumerate(FORECASTER.outcomes):
            epochs = 4 + 4 * (number % 2)
            alike.append(replace(one, epochs=epochs, loss=losses[epochs]))
        with pytest.raises(NotLearntError, match="cannot be told from the runs that are known"):
            Forecaster(SITUATION, alike).after(0.2, 8)


def test_each_training_needs_plans_of_its_own():
    """Nine, as fewer have no interval of nine in ten; several runs of one plan count once."""
    alone = [one for one in OUTCOMES if not one.taught]
    with pytest.raises(
        NotLearntError,
        match=r"with a teacher leaves of net .* 0 plans trained so are known \(12 by labels alone\), and at",
    ):
        Forecaster(SITUATION, alone)
    names = sorted({one.plan for one in alone})
    for count in (8, 9):
        some = [one for one in OUTCOMES if one.taught or one.plan in names[:count]]
        assert len(some) > sum(one.taught for one in OUTCOMES) + count
        if count < 9:
            with pytest.raises(NotLearntError, match="8 plans trained so are known"):
                Forecaster(SITUATION, some, taught=False)
        else:
            assert math.isfinite(Forecaster(SITUATION, some, taught=False).margin)


def test_kinds_are_learnt_of_each_training():
    """What labels alone repair of low-rank layers says nothing of what a teacher does."""
    outcomes = [one if one.taught else replace(one, kinds="low-rank") for one in OUTCOMES]
    assert Forecaster(SITUATION, outcomes).kinds == {"window"}
    assert Forecaster(SITUATION, outcomes, taught=False).kinds == {"low-rank"}


def test_a_plan_is_foreseen_by_its_predicted_loss():
    plan = plan_of(*LAYERS).predicting(0.2, "weights", "data")
    assert FORECASTER.of(plan, 4) == FORECASTER.after(0.2, 4)
    # Edited, it is another plan.
    with pytest.raises(NotLearntError, match="no predicted loss"):
        FORECASTER.of(replace(plan, layers=LAYERS[:1]), 4)


@pytest.mark.parametrize("digests", [(), ("others", "data"), ("weights", "others")])
def test_a_loss_of_other_weights_or_data_is_not_taken(digests):
    with pytest.raises(NotLearntError, match="is not said to be of these dense weights and data"):
        FORECASTER.of(plan_of(*LAYERS).predicting(0.2, *digests), 4)


def test_a_relative_error_is_not_taken_for_nats():
    with pytest.raises(NotLearntError, match="is a relative squared error of outputs that are no scores"):
        FORECASTER.of(plan_of(*LAYERS).predicting(0.2, "weights", "data", "relative squared error"), 4)


def test_tables_of_outcomes_are_read_as_they_were_written(tmp_path):
    write_outcomes(tmp_path / "table.csv", OUTCOMES)
    for read, wrote in zip(read_outcomes(tmp_path / "table.csv"), OUTCOMES, strict=True):
        assert replace(read, loss=wrote.loss) == wrote
        assert read.loss == pytest.approx(wrote.loss, rel=1e-5)


def test_the_package_comes_with_outcomes_that_hold():
    """As docs/planning-accuracy.md says of them: nine in ten lie within the interval that others give."""
    outcomes = shipped_outcomes()
    situation = Situation(outcomes[0].network, outcomes[0].data, outcomes[0].weights, outcomes[0].bits)
    forecaster = Forecaster(situation, outcomes)
    assert forecaster.known == outcomes and forecaster.epochs == (1, 8)
    reach = margins_without(outcomes)
    taught = [one for one in left_out(outcomes) if one.outcome.taught]
    within = [abs(one.residual) <= reach[one.outcome.plan, True] for one in taught]
    assert max(reach[one.outcome.plan, True] for one in taught) < math.inf
    assert np.mean(within) >= 0.9
    with pytest.raises(NotLearntError, match="7 plans trained so are known"):
        Forecaster(situation, outcomes, taught=False)
