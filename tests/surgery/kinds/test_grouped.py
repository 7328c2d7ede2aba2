"""Grouped layers: what they compute, hold and cost, in every step."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.array_reader import run_arrays
from common.window_network import ARRAY, IMAGE, batches, network, settled
from rankfold.calibration.observation import evaluating
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.export.array_images.images import write_arrays
from rankfold.export.dense import merge
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import write_onnx
from rankfold.export.workloads import executed_layers
from rankfold.lowrank.regression import with_ridge
from rankfold.mapping import ArraySpec, map_layer
from rankfold.nn.grouped import GroupedConv2d
from rankfold.plan import GroupedLayer, Plan, check_plan, uniform_plan
from rankfold.plan.members import text_to_members
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import trace

KINDS = {"3": GroupedLayer(2), "6": GroupedLayer(4)}  # 6 has two groups of its own


def grouped_plan(model: nn.Module, array: ArraySpec = ARRAY, bits: int | None = None) -> Plan:
    """Layers `3` and `6` in blocks."""
    traced = trace(model, IMAGE, "net")
    plan = uniform_plan(traced, array, bits=bits)
    layers = [replace(one, kind=KINDS.get(one.name, one.kind)) for one in plan.layers]
    plan = replace(plan, layers=tuple(layers))
    check_plan(plan, traced)
    return plan


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decomposition", ["data", "sequential"])
def test_the_module_computes_the_dense_weight_that_is_best_on_its_blocks(
    bias: bool, decomposition: str
) -> None:
    model = settled(network(bias=bias))
    dense = copy.deepcopy(model)
    plan = grouped_plan(model)
    reports = compress_(model, plan, batches(), decomposition=decomposition)
    filled = with_supports(plan, model)
    check_supports(filled, model)
    check_plan(filled, trace(dense, IMAGE, "net"))
    conv, made, kind = dense[3], model[3], filled.layer("3").kind
    assert isinstance(made, GroupedConv2d) and isinstance(kind, GroupedLayer) and kind.members is not None
    every = torch.cat(batches())
    with evaluating(dense), torch.no_grad():
        fed = dense[:3](every)
        torch.testing.assert_close(made(fed), made.to_dense()(fed), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(made(fed[0]), made(fed)[0])
        same = torch.nn.functional.conv2d(fed, made.weight, made.bias, padding=1)
        torch.testing.assert_close(made(fed), same, rtol=1e-5, atol=1e-5)
        patches = torch.nn.functional.unfold(fed, 3, padding=1).double()  # (B, n, P)
        # The mean of the outputs is that of before; in its bias, or in the norm behind.
        shift = (made(fed) - conv(fed)).mean((0, 2, 3))
    if bias:
        torch.testing.assert_close(shift, torch.zeros(8), rtol=0, atol=1e-5)
    else:
        assert isinstance(model[4], nn.BatchNorm2d) and isinstance(dense[4], nn.BatchNorm2d)
        torch.testing.assert_close(model[4].running_mean, dense[4].running_mean + shift, rtol=1e-4, atol=1e-5)
    read = patches.permute(1, 0, 2).flatten(1).numpy()
    centred = read - read.mean(axis=1, keepdims=True)
    moments = with_ridge(centred @ centred.T / centred.shape[1], 1e-2)
    weight = conv.weight.detach().double().numpy().reshape(8, -1)
    grouping = text_to_members(
        kind.members, next(s for s in trace(dense, IMAGE, "n").layers if s.name == "3"), 2
    )
    lost = 0.0
    for output, kept in enumerate(np.repeat(grouping.mask(1), 9, axis=1)):
        columns = np.flatnonzero(kept)
        wanted = np.linalg.solve(moments[np.ix_(columns, columns)], moments[columns] @ weight[output])
        found = made.weight[output].double().numpy().reshape(-1)
        np.testing.assert_allclose(found[columns], wanted, rtol=1e-3, atol=1e-4)
        assert not found[~kept].any()
        lost += float(np.square((found - weight[output]) @ centred).sum())
    error = next(report.output_error for report in reports if report.name == "3")
    assert error == pytest.approx((lost / np.square(weight @ centred).sum()) ** 0.5, rel=0.02)


def test_costs_are_those_of_a_grouped_convolution() -> None:
    model = network()
    traced, plan = trace(model, IMAGE, "net"), grouped_plan(model)
    costs = {layer.shape.name: layer for layer in network_cycles(traced, plan).layers}
    for name, groups in (("3", 2), ("6", 8)):
        shape = replace(costs[name].shape, groups=groups)
        assert costs[name].chosen == map_layer(shape, ARRAY, "sdk")
        assert costs[name].parameters == shape.parameters < costs[name].shape.parameters
    assert costs["3"].to_json()["grouped"] == {"blocks": 2, "parameters": 8 * 3 * 9}
    run = {layer.shape.name: layer.shape.groups for layer in executed_layers(traced, plan)}
    assert run["3.conv"] == 2 and run["6.conv"] == 8
    assert network_energy(traced, plan, load_table("rram-22nm")).energy > 0


def test_quantised_saved_simulated_exported_and_folded(tmp_path: Path) -> None:
    model = settled(network(bias=True))
    plan = grouped_plan(model, replace(ARRAY, columns=96, cell_bits=2, dac_bits=1), bits=4)
    compress_(model, plan, batches())
    plan = quantise_(model, plan, batches())
    images = batches(1)[0][:3]
    model.eval()
    with torch.no_grad():
        wanted = model(images)
        torch.testing.assert_close(simulate(model, plan)(images), wanted, rtol=1e-5, atol=1e-5)
    save(model, plan, tmp_path)
    fresh = network(bias=True, seed=5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), wanted)
    write_onnx(model, IMAGE, tmp_path / "net.onnx", quantised=True)
    check = compare_onnx(model, tmp_path / "net.onnx", [(images, None)], quantised=True)
    assert check.same == check.images == 3
    write_arrays(model.double(), plan, tmp_path / "arrays")
    read = run_arrays.Network(tmp_path / "arrays")(images.double().numpy())
    with torch.no_grad():
        np.testing.assert_allclose(
            read, simulate(model, plan)(images.double()).numpy(), rtol=1e-9, atol=1e-12
        )
    merged = merge(model)
    assert type(merged[3]) is nn.Conv2d and merged[3].weight.shape == (8, 6, 3, 3)


def with_kind(plan: Plan, name: str, kind: GroupedLayer) -> Plan:
    """The plan with another kind of one layer."""
    return replace(
        plan, layers=tuple(replace(one, kind=kind) if one.name == name else one for one in plan.layers)
    )


def test_blocks_of_a_plan_are_kept_and_those_of_other_weights_refused(tmp_path: Path) -> None:
    model = settled(network())
    chosen = "15:c3 2a:3c"
    plan = with_kind(grouped_plan(model), "3", GroupedLayer(2, chosen))
    compress_(model, plan, batches())
    assert with_supports(plan, model).layer("3").kind == GroupedLayer(2, chosen)
    with pytest.raises(InputError, match="layer 3: its weights keep other kernel positions or channels than"):
        check_supports(with_kind(plan, "3", GroupedLayer(2, "15:3c 2a:c3")), model)
    plan.save(tmp_path / "plan.json")
    entry = json.loads((tmp_path / "plan.json").read_text())["layers"][1]
    assert (entry["kind"], entry["blocks"], entry["members"]) == ("grouped", 2, chosen)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("3", GroupedLayer(4), r"layer 3: blocks \(=4\) must divide the 6 input and 8 output channels"),
        ("9", GroupedLayer(2), r"layer 9: blocks \(=2\) are for convolutions; it is a fully connected"),
        ("3", GroupedLayer(2, "15:c3"), "layer 3: members are those of 1 blocks, and the layer has 2"),
        ("3", GroupedLayer(2, "15:c3 2b:3c"), "layer 3: its members must have each of its 6 input channels"),
        (
            "3",
            GroupedLayer(2, "15:c3 2a:13c"),
            "layer 3: its members must have each of its 8 output channels",
        ),
        ("6", GroupedLayer(2, "11:3 22:c 44:30 88:c0"), "no block may have channels of two groups"),
    ],
)
def test_wrong_blocks_are_refused_in_one_sentence(name: str, kind: GroupedLayer, message: str) -> None:
    model = network()
    traced = trace(model, IMAGE, "net")
    plan = with_kind(uniform_plan(traced, ARRAY), name, kind)
    with pytest.raises(InputError, match=message):
        compress_(model, plan)
    with pytest.raises(InputError, match=message):
        check_plan(plan, traced)
    assert type(model[3]) is nn.Conv2d
