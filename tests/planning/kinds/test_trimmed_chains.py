"""Fewer channels in chains: of 1x1 and depthwise convolutions, as in mobile networks, and of plain ones."""

import itertools
import math

import pytest
import torch
from torch import nn

from rankfold.mapping import ArraySpec
from rankfold.plan import TrimmedLayer
from rankfold.planning import PlanningOptions, planning_problem, solve_problem
from rankfold.planning.channels import with_channels
from rankfold.planning.exact import CYCLES, LOSS, Budget, total
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.plan_loss import PlanLosses
from rankfold.surgery.compress import compress_
from rankfold.workload import trace

ARRAY, IMAGE = ArraySpec(16, 16), (3, 8, 8)
COUNTS = (14, 12, 10, 8)  # of 16 channels


def chain():
    """A stem, then twice a 1x1 convolution behind a depthwise one."""
    torch.manual_seed(0)
    separable = []
    for _ in range(2):
        separable += [nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Hardswish(), nn.Conv2d(16, 16, 1)]
        separable += [nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)]
    return nn.Sequential(nn.Conv2d(3, 16, 1), *separable, *head).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def problem(images):
    budget = Budget(CYCLES, 0.7, share=True)
    return planning_problem(
        chain(),
        [images],
        ARRAY,
        budget,
        options=PlanningOptions(kinds=["trimmed"], pointwise=True, images=len(images)),
    )


def test_depthwise_convolutions_have_the_channels_between_the_others(images):
    model = chain()
    slots = with_channels(layer_slots(trace(model, IMAGE, "net"), ARRAY, pointwise=True), model, [images])
    links = {slot.name: (slot.given.reader, slot.given.counts) for slot in slots if slot.given}
    # What the first one reads, the first convolution gives, which stays whole.
    assert links == {"1": ("3", COUNTS), "3": ("6", COUNTS), "6": ("8", COUNTS)}
    assert [slot.name for slot in slots if slot.read] == ["3", "6", "8"]


def test_a_layer_may_read_and_give_fewer_channels(problem):
    (middle,) = [layer for layer in problem.choices if layer.name == "3"]
    both = [one for one in middle.candidates if one.needs is not None and one.channels is not None]
    assert both and all(one.needs.layer == "6" and one.channels < 16 for one in both)
    for name in ("1", "6"):
        (layer,) = [layer for layer in problem.choices if layer.name == name]
        assert {one.loss for one in layer.candidates} == {0.0}
        assert {one.entry.kind.short() for one in layer.candidates} == {
            "dense",
            *(f"c{count}>{count}" for count in COUNTS),
        }


def plain_chain():
    """A stem and three convolutions, each of which alone reads the one before it."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with torch.no_grad():
        network[-1].weight *= 300  # so that losses are no rounding
    return network.eval()


@pytest.fixture(scope="module")
def plain_problem(images):
    budget = Budget(CYCLES, 0.45, share=True)
    return planning_problem(
        plain_chain(), [images], ARRAY, budget, options=PlanningOptions(kinds=["trimmed"], images=len(images))
    )


def test_the_middle_of_a_plain_chain_reads_and_gives_fewer(plain_problem):
    """By windows, too; and the best plan makes use of both."""
    (middle,) = [layer for layer in plain_problem.choices if layer.name == "5"]
    both = [one for one in middle.candidates if one.needs is not None and one.channels is not None]
    assert {one.needs.layer for one in both} == {"8"}
    assert {one.entry.kind.window for one in both} >= {(1, 3), (2, 2)}
    (chosen,) = [one for one in solve_problem(plain_problem).solution.chosen if one.entry.name == "5"]
    assert chosen in both and chosen.loss > 0


@pytest.mark.parametrize("name", ["problem", "plain_problem"])
def test_the_choice_is_the_best_of_all(request, name):
    """Of every combination that other layers allow, as each names the channels that it needs."""
    problem = request.getfixturevalue(name)
    best = math.inf
    names = [layer.name for layer in problem.choices]
    for chosen in itertools.product(*problem.candidates):
        reads = {name: one.reads for name, one in zip(names, chosen, strict=True)}
        if any(one.needs and reads[one.needs.layer] > one.needs.most for one in chosen):
            continue
        if total(chosen, CYCLES) <= problem.budgets[CYCLES]:
            best = min(best, total(chosen, LOSS))
    chosen = solve_problem(problem).solution.chosen
    assert total(chosen, LOSS) == pytest.approx(best, rel=1e-9)
    assert 0 < best < math.inf


@pytest.mark.parametrize("name, network", [("problem", chain), ("plain_problem", plain_chain)])
def test_a_planned_chain_reads_nothing_that_is_not_computed(request, name, network, images):
    planning = solve_problem(request.getfixturevalue(name))
    plan = planning.plan
    kinds = [layer.kind for layer in plan.layers if isinstance(layer.kind, TrimmedLayer)]
    assert len(kinds) >= 3
    model = network()
    losses = PlanLosses.on(model, [images], [plan], images=len(images))
    assert losses.of(plan) == pytest.approx(planning.solution.value, rel=1e-4)
    compress_(model, plan, [images])
    with torch.no_grad():
        before = model(images)
        for module in model.modules():
            if hasattr(module, "rest"):
                module.rest.copy_(torch.linspace(-9, 9, len(module.rest)))
        torch.testing.assert_close(model(images), before)
