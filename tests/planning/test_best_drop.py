"""`best_plan` with an allowed drop: it is measured, a few times, and the cheapest plan that keeps it wins."""

from dataclasses import replace

import pytest
import torch

from common.every_choice import totals, within
from common.planned_net import ARRAY, Counts, normalised, with_limits
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.planning import best_plan, solve_problem
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.exact import CYCLES, LOSS, total
from rankfold.training.metric import Metric


def test_the_allowed_drop_is_measured(problem):
    planning = solve_problem(with_limits(problem, {}, 0.03))
    assert planning.drop.amount <= 0.03
    assert planning.drop.planned == problem.accuracy.measure(planning.plan)
    assert planning.solution.total(CYCLES) < total(problem.dense, CYCLES)
    few_cycles = {CYCLES: 0.35 * total(problem.dense, CYCLES)}
    with pytest.raises(InputError, match=r"no plan within .* found to lose at most 0\.00 points"):
        solve_problem(with_limits(problem, few_cycles, 0.0))


def test_of_plans_with_equal_cycles_the_one_of_least_loss_is_measured(problem):
    """The cheapest plan of all has the least loss of those that are as cheap."""
    planning = solve_problem(with_limits(problem, {}, 0.99))
    allowed = within(problem.candidates, {})
    cycles, losses = (totals(problem.candidates, quantity)[allowed] for quantity in (CYCLES, LOSS))
    fewest = cycles.min()
    assert planning.solution.total(CYCLES) == fewest == planning.solution.value
    assert planning.solution.total(LOSS) == pytest.approx(losses[cycles == fewest].min(), abs=1e-12)


def test_the_allowed_drop_is_measured_on_batches_with_classes(model, digits):
    """The first 500 samples calibrate, the others are classified."""
    images = torch.cat(normalised(digits, len(digits.train)))
    labels = torch.from_numpy(digits.train.sample(len(digits.train), 0).labels)
    pairs = list(zip(images.split(100), labels.split(100), strict=True))
    planning = best_plan(model, pairs, ARRAY, max_drop=0.05, images=200, kinds=["low-rank"])
    assert planning.drop.dense > 0.9
    assert planning.drop.amount <= 0.05
    assert any(layer.kind.changes_weight for layer in planning.plan.layers)


@pytest.mark.parametrize("allowed", [0.0, 0.02, 0.05, 0.2])
def test_no_more_measurements_than_said_and_the_cheapest_of_them_wins(problem, allowed):
    measured = {}
    accuracy = problem.accuracy

    class Watched:
        measured = accuracy.measured

        def __call__(self, plan):
            measured[plan] = accuracy(plan)
            return measured[plan]

    counts = Counts()
    planning = solve_problem(replace(with_limits(problem, {}, allowed), accuracy=Watched()), counts)
    ((what, most, unit, done),) = counts.parts
    assert (what, most, unit) == ("measuring accuracy", 8, "plans")
    assert done <= most
    dense = measured[problem.plan(problem.dense)]
    keeping = [plan for plan, share in measured.items() if dense - share <= allowed]
    cycles = {plan: network_cycles(problem.network, plan).chosen_cycles for plan in keeping}
    assert planning.plan in keeping
    assert cycles[planning.plan] == min(cycles.values())


def negative_error(scores, classes):
    """In whole per cent, so that no drop of it is below 1."""
    return -round(100 * (scores.argmax(1) != classes).double().mean().item())


def test_a_metric_of_ones_own_is_what_may_drop(problem):
    by_error = problem.accuracy.under(metric=Metric.of(negative_error))
    planning = solve_problem(replace(with_limits(problem, {}, 3), accuracy=by_error))
    drop = planning.drop
    assert (drop.metric, drop.planned) == ("negative_error", by_error(planning.plan))
    assert drop.planned == -round(100 * (1 - problem.accuracy(planning.plan)))
    assert drop.amount <= 3


@pytest.mark.parametrize("metric, most", [(None, 1.0), (negative_error, -1)])
def test_a_drop_that_nothing_can_have_is_refused(model, digits, metric, most):
    with pytest.raises(InputError, match=r"^max drop \(="):
        best_plan(model, digits, ARRAY, max_drop=most, metric=metric)


def test_the_measure_is_on_images_that_nothing_was_calibrated_on(problem):
    assert problem.accuracy.settings == MeasureSettings(2000, seed=0, calibrated=512)
