"""What a reader of fewer channels is predicted to lose, beside the networks that surgery makes of plans."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, Plan, TrimmedLayer, WindowLayer
from rankfold.plan.kinds import LayerKind
from rankfold.planning import PlanningOptions, planning_problem
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.layer_losses import LayerLosses
from rankfold.planning.plan_loss import PlanLosses
from rankfold.planning.search.problem_search import by_itself
from rankfold.planning.statistics import layer_statistics
from rankfold.workload import trace

ARRAY, IMAGES, CHANNELS, READER = ArraySpec(32, 32), 32, 8, 2


class PreActivated(nn.Module):
    """A residual block whose second convolution has neither a bias nor a norm behind it."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)
        self.head = nn.Linear(CHANNELS, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = x + self.second(functional.relu(self.norm(self.first(functional.relu(x)))))
        return self.head(functional.relu(x).mean((2, 3)))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kinds", [["trimmed"], ["trimmed", "window"]])
def test_a_reader_without_a_bias_loses_what_its_network_does(kinds: list[str], dilation: int) -> None:
    model, images = _case(dilation)
    problem = planning_problem(model, [images], ARRAY, options=PlanningOptions(images=IMAGES, kinds=kinds))
    trimmed = [one for one in problem.candidates[READER] if isinstance(one.entry.kind, TrimmedLayer)]
    assert problem.choices[READER].name == "second" and trimmed
    plans = [problem.plan([*problem.dense[:READER], one, *problem.dense[READER + 1 :]]) for one in trimmed]
    losses = PlanLosses.on(model, [images], plans, images=IMAGES)
    for one, plan in zip(trimmed, plans, strict=True):
        assert one.loss > 0
        # Weights are kept in single precision.
        assert losses.of(plan) == pytest.approx(one.loss, rel=1e-4)
        with torch.no_grad():
            made, dense = losses.network(plan)(images), model(images)
        assert one.loss / 2 < _divergence(dense, made) < 2 * one.loss


@pytest.mark.parametrize("kind", [TrimmedLayer(reads="f"), WindowLayer((1, 1), 32)])
def test_a_bias_that_is_brought_takes_the_constant_error_back(kind: LayerKind) -> None:
    model, images = _case(dilation=1)
    network = trace(model, (3, 8, 8), "net")
    slot = layer_slots(network, ARRAY, 4)[READER]
    known = layer_statistics(model, [images], [slot.name], 0)
    found = LayerLosses.on(slot, model.second.weight.detach().double().numpy(), known).of(kind)
    layers = [replace(one.entry, kind=DenseLayer()) for one in layer_slots(network, ARRAY, 4)]
    layers[READER] = replace(slot.entry, kind=found.kind, mapping="im2col")
    plan = Plan.of(network, ARRAY, layers)
    losses = PlanLosses.on(model, [images], [plan], images=IMAGES)
    assert losses.of(plan) == pytest.approx(found.change, rel=1e-4)
    with torch.no_grad():
        made, dense = losses.network(plan)(images), model(images)
    assert found.change / 3 < _divergence(dense, made) < 2 * found.change


def test_searches_keep_what_windows_of_all_channels_would_be() -> None:
    model, images = _case(dilation=1)
    with torch.no_grad():
        model.second.weight[:, : CHANNELS // 2] = 0.0  # half of what it reads tells nothing
    windows, both = (
        planning_problem(model, [images], ARRAY, options=PlanningOptions(images=IMAGES, kinds=kinds)).choices[
            READER
        ]
        for kinds in (["window"], ["window", "trimmed"])
    )
    assert any(isinstance(one.entry.kind, TrimmedLayer) for one in both.candidates)
    left = by_itself(both).candidates
    for one in windows.candidates:
        assert any(other.cycles <= one.cycles and other.loss <= one.loss + 1e-12 for other in left)


def _case(dilation: int) -> tuple[PreActivated, Tensor]:
    """A network, and images (B, 3, 8, 8)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PreActivated(dilation).eval()
        images = torch.randn(IMAGES, 3, 8, 8)
    nn.init.constant_(model.norm.bias, 1.0)  # means that are no small part of what it reads
    return model, images


def _divergence(dense: Tensor, made: Tensor) -> float:
    """KL, in nats per image."""
    logs = [functional.log_softmax(scores.double(), 1) for scores in (made, dense)]
    found = float(functional.kl_div(*logs, reduction="batchmean", log_target=True))
    assert math.isfinite(found)
    return found
