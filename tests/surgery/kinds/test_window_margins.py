"""Planes in parts: each part holds what a window layer of its own would, and all of them are one layer."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from common.covers import in_parts
from common.window_network import ARRAY, IMAGE, batches, network, planned, settled
from rankfold.calibration.observation import evaluating
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.kinds import cost_of
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.mapping import ArraySpec
from rankfold.nn.window_margins import WindowMarginsConv2d
from rankfold.plan import LayerPlan, Plan, WindowLayer, WindowMarginsLayer, check_plan
from rankfold.plan.methods import Windows
from rankfold.simulator import NonIdealities, simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import trace


def plan_in_parts(model: nn.Module, array: ArraySpec = ARRAY, bits: int | None = None) -> Plan:
    """Layers `3` and `6` in three parts, one row tile of each driven."""
    traced = trace(model, IMAGE, "net")
    plan = in_parts(planned(model, Windows(row_tiles=1, window=(2, 3)), array, bits), traced)
    check_plan(plan, traced)
    assert isinstance(plan.layer("3").kind, WindowMarginsLayer) and plan.layer("3").kind.shares_support
    return plan


@pytest.mark.parametrize("decomposition", ["data", "sequential"])
def test_each_part_holds_what_a_window_layer_of_its_own_would(decomposition: str) -> None:
    model = settled(network(bias=True))
    dense = copy.deepcopy(model)
    plan = plan_in_parts(model)
    reports = compress_(model, plan, batches(), decomposition=decomposition)
    filled = with_supports(plan, model)
    check_supports(filled, model)
    # Both times the first layer that changes: it reads what the dense one does.
    conv, made, kind = dense[3], model[3], filled.layer("3").kind
    assert isinstance(made, WindowMarginsConv2d) and isinstance(kind, WindowMarginsLayer)
    lost = whole = 0.0
    for part, own in zip(made.each, kind.parts, strict=True):
        bare = nn.Sequential(nn.Conv2d(6, 8, 3))
        bare[0].load_state_dict(conv.state_dict())
        with torch.no_grad(), evaluating(dense):
            read = [part.padded(dense[:3](batch)) for batch in batches()]
            wanted = torch.cat([bare(each) for each in read])
        traced = trace(bare, tuple(read[0].shape[1:]), "part")
        layer = LayerPlan("0", own.layer, mapping="im2col")
        compress_(bare, Plan.of(traced, ARRAY, (layer,)), read)
        torch.testing.assert_close(part.weight, bare[0].weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part.bias, bare[0].bias, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            found = torch.cat([bare(each) for each in read])
        lost += float((found - wanted).square().sum())
        # Of what is told apart from a constant, pixel by pixel of a window.
        whole += float((wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum())
    error = next(report.output_error for report in reports if report.name == "3")
    assert error == pytest.approx((lost / whole) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("decomposition", "within"), [("data", 0.02), ("sequential", 1e-4)])
def test_means_and_variances_of_outputs_are_set_right(decomposition: str, within: float) -> None:
    model = settled(network())
    dense = copy.deepcopy(model)
    compress_(model, plan_in_parts(model), batches(), decomposition=decomposition)
    every = torch.cat(batches())
    with evaluating(model), evaluating(dense), torch.no_grad():
        fed = dense[:3](every)
        before, after = dense[3](fed), model[3](fed)
        norm = model[4]
        torch.testing.assert_close(after.mean((0, 2, 3)), before.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        seen = after.var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_var, seen, rtol=within, atol=1e-6)


def test_quantised_saved_simulated_priced_and_not_folded(tmp_path: Path) -> None:
    model = settled(network())
    traced = trace(model, IMAGE, "net")
    array = replace(ARRAY, columns=96, cell_bits=2, dac_bits=1)
    plan = plan_in_parts(model, array, bits=4)
    compress_(model, plan, batches())
    plan = with_supports(quantise_(model, plan, batches()), model)
    images = batches(1)[0]
    model.eval()
    # Arrays that are ideal give the very integers; others change the outputs.
    ideal = simulate(model, plan).eval()
    torch.testing.assert_close(ideal(images), model(images), rtol=1e-5, atol=1e-5)
    noisy = simulate(model, plan, NonIdealities(adc_bits=3, adc_range="full")).eval()
    assert not torch.allclose(noisy(images), model(images), rtol=1e-3)
    save(model, plan, tmp_path)
    fresh = network(seed=5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), model(images))
    with pytest.raises(InputError, match=r"layer 3: a WindowMarginsConv2d computes what no plain"):
        merge(model)
    # What is counted are its parts, each as a window layer of its own.
    kind = plan.layer("3").kind
    assert isinstance(kind, WindowMarginsLayer)
    counted = next(layer for layer in network_cycles(traced, plan).layers if layer.shape.name == "3")
    weights = 0
    for part, stage in zip(kind.parts, counted.stages, strict=True):
        (height, width), (a, b) = part.size, part.window
        rows = part.rows or 6 * (a + 2) * (b + 2)
        columns = -(-8 * a * b // 96)  # column tiles, a weight in a cell
        assert stage.cycles == -(-height // a) * -(-width // b) * -(-rows // 24) * columns
        weights += rows * 8 * a * b
    assert counted.parameters == weights
    # Its window and tiles are those of the part of most cycles.
    main = max(counted.stages, key=lambda stage: stage.cycles)
    told = counted.to_json()
    assert told["window"] == list(main.window) and told["tiles"] == [main.row_tiles, main.column_tiles]
    assert cost_of(kind).row_circuits(kind) == ("rows",) * 3
    assert network_energy(traced, plan, load_table("rram-22nm")).energy > 0


def test_what_cannot_be_one() -> None:
    model = settled(network())
    plan = plan_in_parts(model)
    kind = plan.layer("3").kind
    assert isinstance(kind, WindowMarginsLayer)
    many = replace(kind, parts=(replace(kind.parts[0], rows=999), *kind.parts[1:]))
    linear = replace(plan.layer("3"), name="9")
    for layer, message in (
        (linear, "layer 9: a window needs an output plane"),
        (replace(plan.layer("3"), kind=many), r"layer 3: rows \(=999\) must be at most"),
    ):
        with pytest.raises(InputError, match=message):
            compress_(network(), replace(plan, layers=(layer,)))
    # A network of another size than it was planned for.
    compress_(model, plan, batches())
    with pytest.raises(InputError, match="computes 12x12 outputs, and this input has 14x14"):
        model(torch.randn(1, 3, 14, 14))
    assert WindowLayer((2, 3)).short() in kind.short()
