"""What `best_plan` takes: data of any form, and networks and requests that it refuses in one sentence."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.planned_net import ARRAY, normalised, with_limits
from common.small_network import net
from rankfold.errors import InputError
from rankfold.models.load import apply_weights, read_weights
from rankfold.planning import PlanningOptions, best_plan, planning_problem, solve_problem
from rankfold.planning.exact import CYCLES, Budget
from rankfold.progress import Silent


class ByName(nn.Module):
    """A network that is called with its images and something else by name."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, pixels, scale):
        return self.inner(pixels * scale[:, None, None, None])


def test_inputs_by_name_give_the_plan_of_the_images_alone(model, digits):
    (images,) = normalised(digits, 64)
    budget = Budget(CYCLES, 0.6, share=True)
    alone = best_plan(model, [images], ARRAY, budget, kinds=["window"])
    named = best_plan(
        ByName(model), [{"pixels": images, "scale": torch.ones(64)}], ARRAY, budget, kinds=["window"]
    )
    kinds = [layer.kind for layer in alone.plan.layers]
    assert [layer.kind for layer in named.plan.layers] == kinds
    assert named.plan.layers[0].name == "inner.0"
    assert named.solution.value == pytest.approx(alone.solution.value)


def test_any_iterable_of_batches_gives_the_plan_of_its_images(model, digits):
    images = normalised(digits, 64)[0]
    budget = Budget(CYCLES, 0.6, share=True)
    targets = torch.zeros(len(images), dtype=torch.int64)
    plans = []
    for data in ([images], iter([images]), [(images, targets)], torch.utils.data.DataLoader(images, 64)):
        plans.append(best_plan(model, data, ARRAY, budget, images=len(images), kinds=["window"]))
    assert len({plan.plan.digest() for plan in plans}) == 1
    for plan in plans:
        assert plan.solution.value == pytest.approx(plans[0].solution.value, rel=1e-5)  # strides differ


def test_damaged_weights(weights, digits, tmp_path):
    broken = {name: value.clone() for name, value in read_weights(weights).items()}
    broken["2.weight"][0, 0, 0, 0] = math.nan
    save_file(broken, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"2\.weight holds values that are no numbers \(NaN\)"):
        read_weights(tmp_path / "model.safetensors")
    model = net()
    apply_weights(model, broken, "model.safetensors")
    words = "outputs on the calibration data are not finite; its weights may be damaged"
    with pytest.raises(InputError, match=words):
        best_plan(model, digits, ARRAY, Budget(CYCLES, 0.7, share=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_data_that_are_not_finite_are_refused(model, bad):
    images = torch.zeros(8, 1, 8, 8)
    images[3, 0, 2, 2] = bad
    with pytest.raises(InputError, match=r"the data hold values that are not finite \(NaN or infinite\)"):
        best_plan(model, [images], ARRAY, Budget(CYCLES, 0.7, share=True))


@pytest.mark.parametrize(
    ("budgets", "options", "words"),
    [
        ([], {}, "a plan needs a budget: cycles, arrays, energy, ..., or what may be lost"),
        ([Budget(CYCLES, 0.5, True), Budget(CYCLES, 9)], {}, "there are two budgets of cycles; give one"),
        ([], {"max_drop": -0.01}, r"max drop \(=-1 points\) must be at least 0 and below 100"),
        ([], {"max_drop": 1.0}, r"max drop \(=100 points\) must be at least 0 and below 100"),
        ([Budget(CYCLES, 9)], {"images": 0}, r"images \(=0\) must be 1 or more"),
        ([Budget(CYCLES, 9)], {"seed": -1}, r"seed \(=-1\) must be between 0 and 2147483647"),
        ([Budget(CYCLES, 9)], {"bits": 9}, r"bits \(=9\) must be a whole number from 1 to 8"),
        ([Budget(CYCLES, 9)], {"kinds": "window"}, "kinds must be names of kinds, some of low-rank, support"),
        (
            [Budget(CYCLES, 9)],
            {"kinds": ["pairs"]},
            "kinds has 'pairs', which no plan chooses; there are low-r",
        ),
        ([Budget(CYCLES, 9)], {"objective": "energy"}, "the least energy alone would lose whatever it takes"),
        ([Budget(CYCLES, 9)], {"objective": "time"}, r"objective \(=time\): the quantity must be one of cyc"),
        ([], {"max_loss": -1}, r"max_loss \(=-1 nats\) must be 0 or more"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(model, budgets, options, words):
    class Works(Silent):
        def begin(self, what, total, unit="images"):
            raise AssertionError("work began")

    with pytest.raises(InputError, match=words):
        best_plan(model, [torch.zeros(600, 1, 8, 8)], ARRAY, *budgets, progress=Works(), **options)


def test_a_budget_out_of_reach(problem):
    with pytest.raises(
        InputError, match="no plan has at most 3 cycles: the fewest that these layers can reach is"
    ):
        solve_problem(with_limits(problem, {CYCLES: 3.0}))


def test_networks_that_cannot_be_planned(digits):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with pytest.raises(InputError, match="no two-dimensional convolution, so that there is nothing to plan"):
        best_plan(linear, digits, ARRAY, Budget(CYCLES, 0.5, True))
    with pytest.raises(InputError, match=r"nothing to map"):
        best_plan(nn.Flatten(), digits, ARRAY, Budget(CYCLES, 0.5, True))
    with pytest.raises(InputError, match="Sequential"):  # three channels are too many
        best_plan(net(), [torch.zeros(4, 3, 8, 8)], ARRAY, Budget(CYCLES, 0.5, True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer_bits": "2-8"}, "layer_bits must be BitChoices, such as .*, not the text '2-8'"),
        ({"trades": "cycles"}, "trades must be a list of quantities, .*, not the text 'cycles'"),
        ({"max_loss": "0.1"}, "max_loss must be a number, not the text '0.1'"),
    ],
)
def test_problems_refuse_what_is_of_a_wrong_type(arguments, words):
    with pytest.raises(InputError, match=words):
        planning_problem(nn.Linear(1, 1), [], ARRAY, options=PlanningOptions(**arguments))
