"""`best_plan` for networks whose outputs are not scores of classes."""

import copy

import pytest
import torch

from common.dense_outputs import maps, one_map
from common.planned_net import ARRAY
from rankfold import compress_
from rankfold.cli.words.planning import planning_to_json, totals
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.planning import PlanningOptions, best_plan, planning_problem
from rankfold.planning.exact import CYCLES, LOSS, Budget
from rankfold.planning.plan_loss import PlanLosses
from rankfold.report.pareto.write import write_front
from rankfold.training.metric import Metric

IMAGES = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
FEW = {"kinds": ["low-rank", "window"], "bits": None}


def relative_error(model, dense, images):
    """The mean over outputs of squared error over variance, as `values` say."""
    shares = []
    with torch.no_grad():
        for name, wanted in dense(images).items():
            variance = (
                wanted.var(0, correction=0).flatten(1).mean(1)
                if wanted.ndim > 2
                else wanted.var(0, correction=0)
            )
            error = (model(images)[name] - wanted).square().mean(0)
            error = error.flatten(1).mean(1) if wanted.ndim > 2 else error
            shares.append((error / variance).mean())
    return float(torch.stack(shares).mean())


@pytest.fixture(scope="module")
def planning():
    return best_plan(maps(), [IMAGES], ARRAY, Budget(CYCLES, 0.7, share=True), **FEW)


def test_the_prediction_is_near_the_relative_error_of_the_outputs(planning):
    dense = maps()
    model = copy.deepcopy(dense)
    compress_(model, planning.plan, [IMAGES])
    predicted = planning.solution.total(LOSS)
    assert 0.4 < predicted / relative_error(model, dense, IMAGES) < 2.5
    losses = PlanLosses.on(dense, [IMAGES], [planning.plan])
    assert losses.unit == planning.unit == "relative squared error"


def test_the_loss_is_named_wherever_it_is_told(planning, tmp_path):
    assert f"predicted loss +{planning.solution.total(LOSS):.4f} relative squared error" in totals(planning)
    assert "outputs were taken for values" in totals(planning)
    content = planning_to_json(planning)
    assert (
        content["total"]["loss_unit"] == "relative squared error" and content["total"]["outputs"] == "values"
    )
    assert content["prediction"]["unit"] == "relative squared error"
    changed = [layer for layer in planning.plan.layers if layer.kind.changes_weight]
    assert changed and all(layer.reason.endswith("relative squared error") for layer in changed)
    planning.plan.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded.prediction == planning.plan.prediction
    # No accuracy is learnt of it, and no run takes it for nats.
    assert loaded.predicted_loss_for(loaded.prediction.weights, loaded.prediction.data) is None


def test_fronts_name_the_loss(tmp_path):
    problem = planning_problem(
        one_map(), [IMAGES[:32]], ARRAY, options=PlanningOptions(kinds=["low-rank"], bits=None)
    )
    front = problem.front()
    files = write_front(tmp_path, front, "maps", ARRAY, problem.dense, unit=problem.unit)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "relative squared error" in text or "predicted_relative_squared_error" in text
        assert "nats" not in text


def test_what_outputs_are_taken_for_is_up_to_the_user():
    budget = Budget(CYCLES, 0.7, share=True)
    values = best_plan(one_map(), [IMAGES], ARRAY, budget, **FEW)
    scores = best_plan(one_map(), [IMAGES], ARRAY, budget, outputs="scores:1", **FEW)
    assert (values.unit, scores.unit, scores.outputs) == ("relative squared error", "nats", "scores:1")
    assert values.solution.total(LOSS) != pytest.approx(scores.solution.total(LOSS))
    with pytest.raises(InputError, match=r"outputs \(=labels\) must be one of scores, probabilities, values"):
        best_plan(one_map(), [IMAGES], ARRAY, budget, outputs="labels")
    with pytest.raises(
        InputError, match="outputs must be scores, probabilities or values, such as 'scores:2'"
    ):
        best_plan(one_map(), [IMAGES], ARRAY, budget, outputs=1)


def test_a_drop_of_accuracy_is_refused_and_one_of_a_metric_is_kept():
    wanted = one_map()(IMAGES).detach()
    data = [(IMAGES, wanted)]
    with pytest.raises(InputError, match="name what plans are measured by, metric=function"):
        best_plan(one_map(), data, ARRAY, max_drop=0.1, images=32, **FEW)

    def nearness(outputs, targets):
        return 1 - float((outputs - targets).square().mean() / targets.var())

    metric = Metric("nearness", nearness)
    pairs = [(IMAGES.repeat(6, 1, 1, 1), wanted.repeat(6, 1, 1, 1))]
    found = best_plan(
        one_map(), pairs, ARRAY, max_drop=0.2, metric=metric, images=32, kinds=["low-rank"], bits=None
    )
    assert found.drop.dense > 0.99 and found.drop.amount <= 0.2
