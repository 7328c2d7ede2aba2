"""Skipped layers as candidates: also of 1x1 and depthwise convolutions, whose weights stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.samples import call
from rankfold.mapping import ArraySpec
from rankfold.plan.uniform import DEPTHWISE, POINTWISE
from rankfold.planning import PlanningOptions, planning_problem, solve_problem
from rankfold.planning.exact import CYCLES, LOSS, Budget, Candidate, total
from rankfold.planning.plan_loss import PlanLosses
from rankfold.planning.problem import PlanningProblem

ARRAY, IMAGE = ArraySpec(16, 16), (3, 8, 8)


class Bottleneck(nn.Module):
    """A stem, a residual branch of a 1x1, a depthwise and a 1x1 convolution, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.widen = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 1)
        self.depthwise, self.narrow = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 8, 1)
        self.norm, self.last, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        stem = torch.relu(self.stem(x))
        inner = torch.relu(self.depthwise(torch.relu(self.widen(stem))))
        joined = stem + self.norm(self.narrow(inner))
        given: Tensor = self.head(torch.relu(self.last(joined)).mean((2, 3)))
        return given


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(32, *IMAGE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def problem(images: Tensor) -> PlanningProblem:
    budget = Budget(CYCLES, 0.5, share=True)
    return planning_problem(
        Bottleneck().eval(), [images], ARRAY, budget, options=PlanningOptions(kinds=["skipped"], images=32)
    )


def skipped_of(problem: PlanningProblem, name: str) -> list[Candidate]:
    (layer,) = [layer for layer in problem.choices if layer.name == name]
    return [one for one in layer.candidates if one.idle]


def test_layers_that_keep_their_weights_may_be_skipped(problem: PlanningProblem) -> None:
    """What some way goes around, with what it loses; what feeds it alone then loses nothing."""
    why = {layer.name: layer.why_dense for layer in problem.choices}
    assert (why["widen"], why["depthwise"], why["narrow"]) == (POINTWISE, DEPTHWISE, POINTWISE)
    needed = {}
    for name in ("widen", "depthwise", "narrow"):
        alone, *with_others = skipped_of(problem, name)
        assert alone.loss > 0 and alone.needs is None and alone.cycles == 0
        needed[name] = [(one.loss, one.needs.layer) for one in with_others if one.needs]
    assert needed == {"widen": [(0.0, "depthwise")], "depthwise": [(0.0, "narrow")], "narrow": []}
    assert not skipped_of(problem, "stem") and not skipped_of(problem, "last")


def test_the_plan_goes_without_the_whole_branch(problem: PlanningProblem, images: Tensor) -> None:
    planning = solve_problem(problem)
    idle = [one.entry.name for one in planning.solution.chosen if one.idle]
    assert idle == ["widen", "depthwise", "narrow"]
    (alone,) = skipped_of(problem, "narrow")
    assert planning.solution.value == alone.loss == total(planning.solution.chosen, LOSS)
    losses = PlanLosses.on(Bottleneck().eval(), [images], [planning.plan], images=32)
    assert losses.of(planning.plan) == pytest.approx(alone.loss, rel=1e-4)
    assert planning.plan.layer("narrow").reason.startswith("1x1 convolution, skipped: ")


def test_networks_that_are_measured_give_the_means_of_what_is_skipped(
    problem: PlanningProblem, images: Tensor
) -> None:
    (alone,) = skipped_of(problem, "narrow")
    chosen = [alone if dense.entry.name == "narrow" else dense for dense in problem.dense]
    network = problem.accuracy.compressed(problem.plan(chosen))
    given = []
    with torch.no_grad():
        for model in (Bottleneck().eval(), network):
            with_hook = model.get_submodule("narrow").register_forward_hook(
                lambda _, __, output: given.append(output)
            )
            call(model, images)
            with_hook.remove()
    dense, constant = given
    means = dense.mean((0, 2, 3), keepdim=True).expand_as(dense)
    torch.testing.assert_close(constant.expand_as(dense), means, rtol=1e-4, atol=1e-5)
