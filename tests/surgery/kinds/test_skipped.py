"""Skipped layers: constants that are the means of their outputs, which cost nothing, in every step."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.array_reader import run_arrays
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.observation import evaluating
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.export.array_images.images import write_arrays
from rankfold.export.dense import merge
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import write_onnx
from rankfold.export.workloads import executed_layers, write_csv, write_zigzag
from rankfold.mapping import ArraySpec
from rankfold.nn.skipped import SkippedConv2d
from rankfold.plan import LayerPlan, Plan, SkippedLayer, check_plan, uniform_plan
from rankfold.planning import PlanLosses, PlanningOptions, planning_problem
from rankfold.planning.exact import Budget, solve
from rankfold.planning.exact.candidate import Need
from rankfold.planning.search.space import SearchSpace
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import Network, trace

IMAGE = (3, 9, 9)
ARRAY = ArraySpec(24, 32, cell_bits=2, dac_bits=1)


class Residual(nn.Module):
    """A residual block whose branch ends in a norm, then a strided convolution with a bias around a pool."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.inner = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.outer = nn.BatchNorm2d(6)
        self.down = nn.Conv2d(6, 6, (3, 2), stride=2, padding="valid", dilation=(2, 1))
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.outer(self.second(F.relu(self.inner(self.first(x))))))
        x = self.down(x) + F.avg_pool2d(x, (3, 2), 2)[:, :, :3]
        return self.fc(x.mean((2, 3)))


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, *IMAGE, generator=generator) for _ in range(2)]


def made(seed: int = 0) -> tuple[Residual, Network]:
    model = Residual(seed)
    reestimate_batch_norm_(model, batches())
    return model.eval(), trace(model, IMAGE, "net")


def skipping(network: Network, *names: str, bits: int | None = None) -> Plan:
    plan = uniform_plan(network, ARRAY, bits=bits)
    layers = []
    for layer in plan.layers:
        if layer.name in names:
            layer = replace(layer, kind=SkippedLayer(), mapping="im2col")
        layers.append(layer)
    plan = replace(plan, layers=tuple(layers))
    check_plan(plan, network)
    return plan


@pytest.mark.parametrize("decomposition", ["data", "sequential"])
def test_a_skipped_layer_gives_the_means_of_its_outputs(decomposition: str) -> None:
    model, network = made()
    dense = copy.deepcopy(model)
    reports = compress_(model, skipping(network, "second", "down"), batches(), decomposition=decomposition)
    every = torch.cat(batches())
    seen: dict[str, Tensor] = {}
    for name in ("second", "down"):
        dense.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.detach()})
        )
    with evaluating(dense), torch.no_grad():
        dense(every)
    layer, norm = model.second, model.outer
    assert isinstance(layer, SkippedConv2d) and isinstance(model.down, SkippedConv2d)
    torch.testing.assert_close(layer.bias.detach(), seen["second"].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    # The norm behind is as it was: it makes the constants those of the branch's mean.
    torch.testing.assert_close(norm.running_mean, dense.outer.running_mean)
    torch.testing.assert_close(norm.running_var, dense.outer.running_var)
    if decomposition == "data":
        torch.testing.assert_close(
            model.down.bias.detach(), seen["down"].mean((0, 2, 3)), rtol=1e-4, atol=1e-5
        )
    plane = model.down(torch.randn(2, 6, 9, 9))
    assert plane.shape == seen["down"][:2].shape and torch.equal(plane[0, :, 0, 0], model.down.bias)
    torch.testing.assert_close(model.down.to_dense()(torch.randn(2, 6, 9, 9)), plane)
    report = next(one for one in reports if one.name == "second")
    assert (report.error, report.output_error, report.parameters_after) == (1.0, 1.0, 6)


def test_it_is_trained_by_its_constants_alone() -> None:
    model, network = made()
    compress_(model, skipping(network, "second"), batches())
    model.train()
    model(batches()[0]).square().sum().backward()
    # What feeds it alone has no part in the outputs any more.
    assert model.first.weight.grad is None and model.second.bias.grad is not None
    assert model.stem.weight.grad is not None and model.outer.bias.grad.abs().sum() > 0


def test_it_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, network = made()
    dense, plan = skipping(network, bits=4), skipping(network, "first", "second", bits=4)
    before, after = network_cycles(network, dense), network_cycles(network, plan)
    rest = [layer for layer in before.layers if layer.shape.name not in ("first", "second")]
    assert after.chosen_cycles == sum(layer.chosen_cycles for layer in rest)
    assert after.array_cycles == sum(layer.array_cycles for layer in rest)
    skipped = next(layer for layer in after.layers if layer.shape.name == "first")
    assert (skipped.arrays, skipped.reads, skipped.parameters, skipped.utilisation) == (0, 0, 0, 0)
    entry = skipped.to_json()
    assert (entry["window"], entry["tiles"], entry["lower_bound"]) == (None, None, 0)
    table = load_table("rram-22nm")
    energy = {layer.shape.name: layer for layer in network_energy(network, plan, table).layers}
    assert energy["second"].energy == energy["second"].conversions == energy["second"].latency == 0
    assert network_energy(network, plan, table).interval > 0
    names = [layer.shape.name for layer in executed_layers(network, plan)]
    assert names == ["stem", "down"]
    write_csv(tmp_path / "net.csv", network, plan)
    assert write_zigzag(tmp_path / "net.yaml", network, plan) == ()
    plan.save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["layers"][1]["kind"] == "skipped"
    assert Plan.load(tmp_path / "plan.json") == plan


def test_quantised_saved_simulated_exported_and_folded(tmp_path: Path) -> None:
    model, network = made()
    plan = skipping(network, "second", "down", bits=4)
    compress_(model, plan, batches())
    plan = quantise_(model, plan, batches())
    images = batches()[0][:3]
    with torch.no_grad():
        wanted = model.eval()(images)
        torch.testing.assert_close(simulate(model, plan)(images), wanted, rtol=1e-5, atol=1e-5)
    save(model, plan, tmp_path)
    fresh = Residual(5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), wanted)
    write_onnx(model, IMAGE, tmp_path / "net.onnx", quantised=True)
    check = compare_onnx(model, tmp_path / "net.onnx", [(images, None)], quantised=True)
    assert check.same == check.images == 3
    merged = merge(model)
    assert type(merged.second) is nn.Conv2d and not merged.second.weight.any()
    write_arrays(model.double(), plan, tmp_path / "arrays")
    read = run_arrays.Network(tmp_path / "arrays")(images.double().numpy())
    with torch.no_grad():
        wanted = simulate(model, plan)(images.double())
    np.testing.assert_allclose(read, wanted.numpy(), rtol=1e-9, atol=1e-12)


def test_what_cannot_be_skipped_is_refused() -> None:
    model, network = made()
    plan = uniform_plan(network, ARRAY)
    layers = [*plan.layers[:-1], LayerPlan("fc", SkippedLayer())]
    plan = replace(plan, layers=tuple(layers))
    for refused in (lambda: check_plan(plan, network), lambda: compress_(model, plan)):
        with pytest.raises(
            InputError, match="layer fc: it cannot be skipped, as it is a fully connected layer"
        ):
            refused()


def test_the_planner_skips_branches_and_charges_nothing_for_what_feeds_them() -> None:
    model, network = made()
    budget = Budget("cycles", 0.4, share=True)
    problem = planning_problem(
        model, batches(), ArraySpec(24, 32), budget, options=PlanningOptions(kinds=["skipped"], images=32)
    )
    idle = {layer.name: [one for one in layer.candidates if one.idle] for layer in problem.choices}
    assert {name: len(each) for name, each in idle.items() if each} == {"first": 2, "second": 1, "down": 1}
    alone, dependent = idle["first"]
    assert (dependent.needs, dependent.loss, dependent.cycles) == (Need("second", 0), 0.0, 0)
    assert alone.loss > 0
    best = solve(problem.candidates, problem.budgets)
    assert [one.idle for one in best.chosen] == [False, True, True, False, False]
    assert best.value == idle["second"][0].loss and best.gap == 0
    plan = problem.plan(best.chosen)
    assert plan.layer("first").reason.endswith("all that reads it is second, which is idle")
    # As of any plan.
    losses = PlanLosses.on(model, batches(), [plan], images=32).by_layer(plan)
    assert losses == {"first": 0.0, "second": pytest.approx(best.value, rel=1e-6)}
    assert network_cycles(network, plan).chosen_cycles == best.total("cycles")
    # A front has the same plan; a search picks layers one by one.
    front = problem.front()
    point = front.costs.tolist().index(best.total("cycles"))
    assert front.losses[point] == pytest.approx(best.value)
    space = SearchSpace.of(problem.choices, [best.chosen])
    assert space.chosen(space.starts[0])[1] == alone
