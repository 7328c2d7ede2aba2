"""Plans of fully connected layers on tokens: what they count, and what is predicted to be lost."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LowRankLayer
from rankfold.planning import PlanningOptions, best_plan, planning_problem
from rankfold.planning.exact import CYCLES, ENERGY, Budget, total
from rankfold.surgery.compress import compress_
from rankfold.workload import trace

ARRAY = ArraySpec(8, 8)
IMAGE = (3, 12, 12)


class Mixer(nn.Module):
    """An embedding of patches, two layers on every token, and a classifier of their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.norm = nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.narrow(F.gelu(self.wide(self.norm(tokens))))
        found: Tensor = self.classifier(tokens.mean(1))
        return found


@pytest.fixture(scope="module")
def mixer() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """The network with weights that make a difference, and images with its classes."""
    torch.manual_seed(0)
    model = Mixer().eval()
    with torch.no_grad():
        model.classifier.weight *= 10
        x = torch.randn(64, *IMAGE) * torch.tensor([0.3, 1, 3])[:, None, None]
        return model, [(x, model(x).argmax(1))]


def test_fully_connected_layers_are_planned_where_asked_for(mixer) -> None:
    model, data = mixer
    problem = planning_problem(
        model, data, ARRAY, Budget.parse("energy", "95%"), options=PlanningOptions(linear=True)
    )
    network, table = trace(model, IMAGE), load_table("rram-22nm")
    dense = problem.dense
    for number, layer in enumerate(problem.choices):
        for candidate in layer.candidates:
            chosen = [*dense[:number], candidate, *dense[number + 1 :]]
            whole = problem.plan(chosen)
            assert network_cycles(network, whole, linear=True).chosen_cycles == total(chosen, CYCLES)
            energy = network_energy(network, whole, table, linear=True)
            assert energy.energy == pytest.approx(total(chosen, ENERGY))
    names = {type(candidate.entry.kind) for candidate in problem.choices[1].candidates}
    assert names == {DenseLayer, LowRankLayer}


def test_a_plan_keeps_its_budget_and_loses_about_what_is_predicted(mixer) -> None:
    model, data = mixer
    network = trace(model, IMAGE)
    found = best_plan(model, data, ARRAY, Budget.parse("cycles", "90%"), linear=True, bits=None)
    counted = network_cycles(network, found.plan, linear=True)
    assert counted.chosen_cycles <= 0.9 * total(found.dense, CYCLES)
    assert any(isinstance(found.plan.layer(name).kind, LowRankLayer) for name in ("wide", "narrow"))
    torch.manual_seed(0)
    made = Mixer().eval()
    made.load_state_dict(model.state_dict())
    ((x, _),) = data
    compress_(made, found.plan, [x])
    with torch.no_grad():
        before, after = (F.log_softmax(network(x), -1) for network in (model, made))
    lost = F.kl_div(after, before, log_target=True, reduction="batchmean").item()
    # Of the right order: errors of tokens count as independent, and cancel in part in the mean of all.
    assert 0.1 * found.solution.total("loss") < lost < 3 * found.solution.total("loss")


def test_without_asking_they_stay_and_cost_nothing(mixer) -> None:
    model, data = mixer
    problem = planning_problem(model, data, ARRAY, Budget.parse("cycles", "100%"))
    assert [len(layer.candidates) for layer in problem.choices[1:]] == [1, 1, 1]
    assert (
        total(problem.dense, CYCLES)
        == network_cycles(trace(model, IMAGE), problem.plan(problem.dense)).chosen_cycles
    )


def test_a_network_without_convolutions_says_what_plans_it() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4))
    data = [torch.randn(16, 8)]
    with pytest.raises(InputError, match="linear=True plans fully connected layers too"):
        best_plan(model, data, ARRAY, Budget.parse("cycles", "90%"))
