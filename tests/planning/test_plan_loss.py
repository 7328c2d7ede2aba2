"""`PlanLosses`: the loss of a whole plan is the one that the planner predicts, and needs no planner."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankfold.calibration.sensitivity import predicted_loss
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    GroupedLayer,
    LayerPlan,
    Plan,
    SkippedLayer,
    TrimmedLayer,
    uniform_plan,
)
from rankfold.plan.methods import Pairs
from rankfold.planning import PlanningOptions, planning_problem
from rankfold.planning.data import planning_data
from rankfold.planning.exact import CYCLES, LOSS, WEIGHTS, Budget, total
from rankfold.planning.plan_loss import PlanLosses
from rankfold.planning.statistics import layer_statistics
from rankfold.surgery.compress import compress_
from rankfold.workload import trace

ARRAY = ArraySpec(16, 16)
IMAGES = 64


@pytest.fixture(scope="module")
def problem(model, digits):
    budgets = [Budget(quantity, 0.5, share=True) for quantity in (CYCLES, WEIGHTS)]
    return planning_problem(model, digits, ARRAY, *budgets, options=PlanningOptions(images=IMAGES))


@pytest.fixture(scope="module")
def choices(problem):
    """The dense network, and every candidate of a layer together with one of each other layer."""
    longest = max(len(layer) for layer in problem.candidates)
    products = [[layer[number % len(layer)] for layer in problem.candidates] for number in range(longest)]
    return [_allowed(problem, chosen) for chosen in products]


def _allowed(problem, chosen):
    """With another candidate where a layer reads more than one of the others needs it to."""
    names = [layer.name for layer in problem.choices]
    for need in [one.needs for one in chosen if one.needs is not None]:
        reader = names.index(need.layer)
        if chosen[reader].reads > need.most:
            chosen[reader] = next(one for one in problem.candidates[reader] if one.reads <= need.most)
    return tuple(chosen)


def test_the_loss_of_a_plan_is_what_the_planner_says(problem, choices, model, digits):
    plans = [problem.plan(chosen) for chosen in choices]
    kinds = {type(layer.kind).__name__ for plan in plans for layer in plan.changed}
    assert len(kinds) >= 3 and "TrimmedLayer" in kinds
    losses = PlanLosses.on(model, digits, plans, images=IMAGES)
    for plan, chosen in zip(plans, choices, strict=True):
        assert losses.of(plan) == pytest.approx(total(chosen, LOSS), rel=1e-3, abs=1e-6)
        assert plan.predicted_loss == total(chosen, LOSS)


def test_patterns_lose_the_weights_that_they_drop(problem, model, digits):
    plan = uniform_plan(problem.network, ARRAY, Pairs(3), bits=4)
    names = [layer.name for layer in plan.changed]
    batches = planning_data(digits, torch.device("cpu")).calibration(IMAGES, 0)
    known = layer_statistics(model, batches, names, 0)
    found = PlanLosses.on(model, digits, [plan], images=IMAGES).by_layer(plan)
    network = _compressed(model, plan)
    assert set(found) == set(names)
    for name in names:
        before = model.get_submodule(name).weight.detach().double().numpy()
        after = network.get_submodule(name).weight.detach().double().numpy()
        assert np.any(after == 0)
        assert found[name] == pytest.approx(predicted_loss(before, after, known.sensitivities[name]))


def test_layers_that_lose_channels_have_no_predicted_loss(problem, model, digits):
    layers = []
    for layer in problem.plan(problem.dense).layers:
        layers.append(layer)
    shape = problem.choices[1].shape
    narrow = ChannelLayer(shape.in_channels, shape.m - 1)
    layers[1] = type(layers[1])(layers[1].name, narrow, weight_bits=4, input_bits=4)
    plan = Plan.of(problem.network, ARRAY, layers)
    with pytest.raises(InputError, match="loses channels with those around it"):
        PlanLosses.on(model, digits, [plan], images=IMAGES)


def test_constants_of_a_trimmed_layer_lose_what_reads_them(problem, model, digits):
    """By windows they are outputs without weights; of a convolution they are refused, by name."""
    layers = list(problem.plan(problem.dense).layers)

    def plan(*kinds):
        made = [replace(one, kind=kind, mapping="") for one, kind in zip(layers[1:3], kinds, strict=True)]
        return Plan.of(problem.network, ARRAY, [layers[0], *made, *layers[3:]])

    windows = TrimmedLayer(gives="ff", window=(1, 2))
    read, unread = plan(windows, layers[2].kind), plan(windows, TrimmedLayer(reads="ff"))
    refused = plan(TrimmedLayer(gives="ff"), layers[2].kind)
    losses = PlanLosses.on(model, digits, [read, unread, refused], images=IMAGES)
    assert losses.by_layer(unread)[layers[1].name] == pytest.approx(0, abs=1e-9)
    assert losses.by_layer(read)[layers[1].name] > 0.01
    with pytest.raises(InputError, match=f"layer {layers[1].name} has no predicted loss: it is trimmed"):
        losses.of(refused)


def _compressed(model, plan):
    from copy import deepcopy

    network = deepcopy(model)
    compress_(network, plan)
    return network


def test_what_feeds_a_skipped_layer_alone_loses_nothing_whatever_other_plans_skip():
    torch.manual_seed(0)
    model = Chain().eval()
    images = [torch.randn(4, 3, 6, 6)]
    network = trace(model, (3, 6, 6), "chain")

    def plan(**kinds):
        layers = [LayerPlan(one.name, kinds.get(one.name, DenseLayer())) for one in network.layers]
        layers = [replace(one, mapping=one.kind.mapping_for("im2col")) for one in layers]
        return Plan.of(network, ARRAY, layers)

    asked = plan(first=SkippedLayer(), third=SkippedLayer())
    other = plan(second=SkippedLayer())
    changed = plan(first=GroupedLayer(3), third=SkippedLayer())
    alone = PlanLosses.on(model, images, [asked]).by_layer(asked)
    together = PlanLosses.on(model, images, [asked, other, changed])
    assert alone["first"] == 0 and alone["third"] > 0
    assert together.by_layer(asked) == pytest.approx(alone)
    assert together.by_layer(changed) == pytest.approx(alone)
    assert together.of(other) > 0


class Chain(torch.nn.Module):
    """A branch of three layers."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 3, 1)
        self.first, self.second, self.third = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        return (x + self.third(self.second(self.first(x)))).mean((2, 3))
