"""What a reader of fewer channels is predicted to lose, beside the networks that surgery makes of plans."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rankfold.mapping import ArraySpec
from rankfold.plan import TrimmedLayer
from rankfold.planning import planning_problem
from rankfold.planning.plan_loss import PlanLosses

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
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PreActivated(dilation).eval()
    nn.init.constant_(model.norm.bias, 1.0)  # means that are no small part of what it reads
    images = torch.randn(IMAGES, 3, 8, 8, generator=generator)
    problem = planning_problem(model, [images], ARRAY, images=IMAGES, kinds=kinds)
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
        # What is constant in the error is taken back: the mean of the layer's outputs stays.
        assert _divergence(dense, made) < 4 * one.loss


def _divergence(dense: Tensor, made: Tensor) -> float:
    """KL, in nats per image."""
    logs = [functional.log_softmax(scores.double(), 1) for scores in (made, dense)]
    found = float(functional.kl_div(*logs, reduction="batchmean", log_target=True))
    assert math.isfinite(found)
    return found
