"""Layers that keep a shared support: surgery, training, quantisation, files and folding back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.moments import patch_moments
from rankfold.calibration.quantisers import calibrate_
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.export.merge import merge
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.masked import MaskedConv2d, masks_of
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LOW_RANK, PRUNED, Plan, pruned_plan, support_to_mask, uniform_plan
from rankfold.surgery.compress import compress_, compress_on_data_, kept_parameters, quantise_by_plan_
from rankfold.surgery.save import load_compressed_, save_compressed
from rankfold.surgery.supports import check_supports, supported_weight, with_supports
from rankfold.training.loop import optimiser
from rankfold.training.recipe import Recipe
from rankfold.workload import trace

ARRAY = ArraySpec(32, 32)
IMAGE = (3, 16, 16)


def batches():
    return [torch.randn(16, *IMAGE, generator=torch.Generator().manual_seed(seed)).abs() for seed in range(2)]


def plan_of(model, method="low-rank", bits=None, entries=4):
    network = trace(model, IMAGE, "resnet8")
    if method == "support":
        return pruned_plan(network, ARRAY, "support", entries, bits)
    return uniform_plan(network, ARRAY, 2, "1/4", bits, entries=entries)


@pytest.mark.parametrize("method", ["low-rank", "support"])
@pytest.mark.parametrize("sequential", [False, True])
def test_supports_are_chosen_on_data_and_written_in_the_plan(method, sequential):
    model = build("resnet8", 10)
    before = kept_parameters(model)
    plan = plan_of(model, method)
    reports = compress_on_data_(model, plan, batches, sequential)
    filled = with_supports(plan, model)
    chosen = [layer for layer in filled.layers if layer.supported]
    assert chosen and all(layer.entries == 4 for layer in chosen)
    check_supports(filled, model)
    for layer in chosen:
        kept = np.array([int(word, 16).bit_count() for word in layer.support.split()])
        assert (kept == 4).all()
    dropped = sum(int((~mask).sum()) for mask in masks_of(model).values())
    assert kept_parameters(model) == sum(parameter.numel() for parameter in model.parameters()) - dropped < before
    for report in reports:
        if report.kind in (LOW_RANK, PRUNED):
            assert 0 < report.output_error < 1 and report.error > 0 and report.plain_error is None
    found = network_cycles(trace(build("resnet8", 10), IMAGE, "resnet8"), filled)
    assert found.chosen_cycles == found.total["low-rank-sdk" if method == "low-rank" else "pruned-sdk"]
    assert sum(layer.parameters for layer in found.layers) == sum(
        int(module.mask.sum()) if isinstance(module, MaskedConv2d) else module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    )


def test_without_data_the_nearest_weights_are_taken():
    model = build("resnet8", 10)
    plan = plan_of(model, "support")
    dense = {name: module.weight.detach().clone() for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    reports = {report.name: report for report in compress_(model, plan)}
    for layer in plan.layers:
        if not layer.supported:
            continue
        module = model.get_submodule(layer.name)
        weight = dense[layer.name]
        energy = weight.double().square().sum(0).flatten(1)  # (C_in, 9)
        best = energy.topk(4, dim=1).values.sum()
        torch.testing.assert_close(module.weight.double().square().sum(), best)
        torch.testing.assert_close(module.weight, weight * module.mask)
        assert reports[layer.name].output_error is None
        assert reports[layer.name].error == pytest.approx(float(1 - best / energy.sum()) ** 0.5)


def test_the_weight_of_a_support_is_the_least_squares_one_and_its_error_that_of_the_outputs():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False).double()
    x = torch.randn(40, 4, 7, 7, dtype=torch.float64)
    x[:, 1] = 0.8 * x[:, 0] + 0.1 * x[:, 1]  # inputs that tell of one another, so that a refit helps
    model = nn.Sequential(conv)
    moments = patch_moments(model, [x], ["0"])["0"]
    weight = conv.weight.detach().numpy().copy()
    found = supported_weight(weight, 2, 3, moments)
    assert (found.support.sum(axis=1) == 3).all()
    mask = support_to_mask(found.support, 6, 2, (3, 3))
    assert not found.weight[~mask].any()
    y = conv(x)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(found.weight))
        refitted = float((conv(x) - y).norm() / y.norm())
        conv.weight.copy_(torch.from_numpy(np.where(mask, weight, 0)))
        cut = float((conv(x) - y).norm() / y.norm())
    assert found.output_error == pytest.approx(refitted, rel=1e-6)
    assert refitted < cut
    again = supported_weight(weight, 2, 3, moments, found.support)
    np.testing.assert_allclose(again.weight, found.weight)


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_constant_error_of_the_output_is_taken_back(method):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 144, 2))
    x = batches()[0]
    with torch.no_grad():
        wanted = model[:3](x).mean(dim=(0, 2, 3))
    compress_on_data_(model, plan_of(model, method, entries=3), lambda: [x])
    with torch.no_grad():
        torch.testing.assert_close(model[:3](x).mean(dim=(0, 2, 3)), wanted, atol=1e-4, rtol=1e-4)


def test_a_plan_with_positions_is_followed():
    model = build("resnet8", 10)
    plan = plan_of(model)
    text = {
        layer.name: " ".join(["1b0"] * model.get_submodule(layer.name).in_channels) for layer in plan.layers if layer.supported
    }
    plan = plan.with_supports(text)
    dense = {name: model.get_submodule(name).weight.detach().double().numpy().copy() for name in text}
    reports = {report.name: report for report in compress_on_data_(model, plan, batches)}
    assert with_supports(plan, model) == plan
    for layer in plan.layers:
        if layer.supported:
            pair = model.get_submodule(layer.name)
            assert isinstance(pair, LowRankConv2d) and isinstance(pair.reduce, MaskedConv2d)
            kept = pair.reduce.weight[pair.reduce.mask]
            assert (kept != 0).all() and not pair.reduce.weight[~pair.reduce.mask].any()
            assert pair.reduce.mask.sum() == len(pair.reduce.weight) * pair.reduce.weight.shape[1] * 4
            whole = pair.to_dense().weight.detach().double().numpy()
            lost = np.linalg.norm(dense[layer.name] - whole) / np.linalg.norm(dense[layer.name])
            assert reports[layer.name].error == pytest.approx(lost, rel=1e-4)


@pytest.mark.parametrize("method", ["low-rank", "support"])
@pytest.mark.parametrize("bits", [None, 4])
def test_dropped_positions_stay_zero_through_training(method, bits):
    torch.manual_seed(0)
    model = build("resnet8", 10)
    plan = plan_of(model, method, bits)
    compress_on_data_(model, plan, batches)
    masks = masks_of(model)
    if bits is not None:
        quantise_by_plan_(model, plan.with_signs({layer.name: True for layer in plan.layers}))
        calibrate_(model, batches())
        masked = [module for module in model.modules() if isinstance(module, QuantConv2d) and module.mask is not None]
        assert len(masked) == len(masks)
    before = {name: model.get_submodule(name).weight.detach().clone() for name in masks}
    sgd = optimiser(model, Recipe(peak_rate=0.1, weight_decay=0.01))
    for x in batches() * 2:
        sgd.zero_grad()
        model(x).square().mean().backward()
        sgd.step()
    for name, mask in masks.items():
        weight, kept = model.get_submodule(name).weight.detach(), torch.from_numpy(mask)
        assert (weight[~kept] == 0).all()
        assert (weight[kept] != before[name][kept]).float().mean() > 0.9
    assert {name: mask.sum() for name, mask in masks_of(model).items()} == {name: mask.sum() for name, mask in masks.items()}


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_network_of_ones_own_loop_is_saved_and_loaded(method, tmp_path):
    model = build("resnet8", 10)
    plan = plan_of(model, method, 4).with_signs({layer.name: True for layer in plan_of(model, method, 4).layers})
    compress_on_data_(model, plan, batches)
    quantise_by_plan_(model, plan)
    calibrate_(model, batches())
    save_compressed(model, plan, tmp_path)
    stored = Plan.load(tmp_path / "plan.json")
    assert stored == with_supports(plan, model) != plan
    again = build("resnet8", 10, seed=1)
    assert load_compressed_(again, tmp_path) == stored
    x = batches()[0]
    torch.testing.assert_close(again.eval()(x), model.eval()(x))
    # A plan that was edited afterwards would program other cells than the weights fill.
    layer = next(layer for layer in stored.layers if layer.supported)
    other = " ".join(["f"] * len(layer.support.split()))
    stored.with_supports({layer.name: other}).save(tmp_path / "plan.json")
    with pytest.raises(InputError, match=rf"layer {layer.name}: its weights keep other kernel positions than the support"):
        load_compressed_(build("resnet8", 10), tmp_path)


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_folded_network_computes_the_same(method):
    model = build("resnet8", 10)
    compress_on_data_(model, plan_of(model, method), batches)
    merged = merge(model.eval())
    x = batches()[0]
    torch.testing.assert_close(merged(x), model(x), atol=1e-4, rtol=1e-4)
    build("resnet8", 10).load_state_dict(merged.state_dict())


def test_what_cannot_be_row_sparse_is_refused_before_anything_changes():
    model = build("resnet8", 10)
    plan = plan_of(model)
    name = next(layer.name for layer in plan.layers if layer.supported)

    def changed(which, **change):
        return replace(plan, layers=tuple(replace(layer, **change) if layer.name == which else layer for layer in plan.layers))

    for bad, message in (
        (changed(name, entries=9), rf"layer {name}: entries \(=9\) must be at least 1 and fewer"),
        (changed(name, support="1 2"), rf"layer {name}: support is for 2 input channels"),
        (changed("fc", kind=LOW_RANK, groups=1, rank=2, entries=1), r"layer fc: entries \(=1\) are for convolutions"),
    ):
        with pytest.raises(InputError, match=message):
            compress_(model, bad)
    assert all(type(module) is not LowRankConv2d for module in model.modules())
    compress_(model, uniform_plan(trace(model, IMAGE, "resnet8"), ARRAY, 2, "1/4"))
    with pytest.raises(InputError, match=rf"layer {name} keeps all kernel positions in the network"):
        with_supports(plan, model)
