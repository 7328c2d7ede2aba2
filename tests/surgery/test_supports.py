"""Layers that keep a shared support: surgery, training, quantisation, files and folding back."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.quantisers import calibrate_
from rankfold.cost import CostKey, network_cycles
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.mapping import ArraySpec
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.masked import MaskedConv2d, masks_of
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LowRank, LowRankLayer, Plan, SharedSupport, support_to_mask, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supported_weight import positions_of_channels, supported_weight
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.training.optimiser import optimiser
from rankfold.training.recipe import Recipe
from rankfold.workload import trace

ARRAY = ArraySpec(32, 32)
IMAGE = (3, 16, 16)
FAMILIES = {"low-rank": "low-rank", "support": "pruned"}  # of costs


def network(seed=0):
    """Three convolutions, of which a plan keeps the first dense, and a classifier."""
    torch.manual_seed(seed)
    layers = {
        "first": nn.Conv2d(3, 8, 3, padding=1, bias=False),
        "norm": nn.BatchNorm2d(8),
        "relu": nn.ReLU(),
        "second": nn.Conv2d(8, 12, 3, padding=1, bias=False),
        "norm2": nn.BatchNorm2d(12),
        "relu2": nn.ReLU(),
        "third": nn.Conv2d(12, 16, 3, stride=2, padding=1),
        "relu3": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "fc": nn.Linear(16, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def batches():
    return [torch.randn(16, *IMAGE, generator=torch.Generator().manual_seed(seed)).abs() for seed in range(2)]


def plan_of(model, method="low-rank", bits=None, entries=4):
    traced = trace(model, IMAGE, "net")
    if method == "support":
        return uniform_plan(traced, ARRAY, SharedSupport(entries), bits=bits)
    return uniform_plan(traced, ARRAY, LowRank(groups=2, rank="1/4", entries=entries, force=True), bits=bits)


def supported(plan):
    return [layer for layer in plan.layers if layer.kind.shares_support]


def signed(plan):
    """The plan with an answer to every open sign."""
    return plan.with_signs({layer.name: True for layer in plan.layers})


@pytest.mark.parametrize("method", ["low-rank", "support"])
@pytest.mark.parametrize("decomposition", ["data", "sequential"])
def test_supports_are_chosen_on_data_and_written_in_the_plan(method, decomposition):
    model = network()
    before = kept_parameters(model)
    plan = plan_of(model, method)
    reports = compress_(model, plan, batches(), decomposition=decomposition)
    filled = with_supports(plan, model)
    chosen = supported(filled)
    assert chosen and all(layer.kind.entries == 4 for layer in chosen)
    check_supports(filled, model)
    for layer in chosen:
        kept = np.array([int(word, 16).bit_count() for word in layer.kind.support.split()])
        assert (kept == 4).all()
    dropped = sum(int((~mask).sum()) for mask in masks_of(model).values())
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert kept_parameters(model) == whole - dropped < before
    for report in reports:
        if report.kind.changes_weight:
            assert 0 < report.output_error < 1 and report.error > 0 and report.plain_error is None
    costs = network_cycles(trace(network(), IMAGE, "net"), filled)
    assert costs.chosen_cycles == costs.total[CostKey(FAMILIES[method], "sdk")]
    stored = 0
    for module in model.modules():
        if isinstance(module, MaskedConv2d):
            stored += int(module.mask.sum())
        elif isinstance(module, nn.Conv2d):
            stored += module.weight.numel()
    assert sum(layer.parameters for layer in costs.layers) == stored


@pytest.mark.parametrize("data", [None, "svd"])
def test_without_data_the_nearest_weights_are_taken(data):
    model = network()
    plan = plan_of(model, "support")
    dense = {layer.name: model.get_submodule(layer.name).weight.detach().clone() for layer in supported(plan)}
    if data is None:
        reports = compress_(model, plan)
    else:
        reports = compress_(model, plan, batches(), decomposition="svd")
    by_name = {report.name: report for report in reports}
    for name, weight in dense.items():
        module = model.get_submodule(name)
        energy = weight.double().square().sum(0).flatten(1)  # (C_in, 9)
        best = energy.topk(4, dim=1).values.sum()
        torch.testing.assert_close(module.weight.double().square().sum(), best)
        torch.testing.assert_close(module.weight, weight * module.mask)
        assert by_name[name].output_error is None
        assert by_name[name].error == pytest.approx(float(1 - best / energy.sum()) ** 0.5)


def test_the_weight_of_a_support_is_the_least_squares_one_and_its_error_that_of_the_outputs():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False).double()
    x = torch.randn(40, 4, 7, 7, dtype=torch.float64)
    x[:, 1] = 0.8 * x[:, 0] + 0.1 * x[:, 1]  # inputs that tell of one another, so that a refit helps
    model = nn.Sequential(conv)
    moments = patch_moments(model, [x], ["0"])["0"]
    weight = conv.weight.detach().numpy().copy()
    made = supported_weight(weight, 2, positions_of_channels(3), moments)
    assert (made.support.sum(axis=1) == 3).all()
    mask = support_to_mask(made.support, 6, 2, (3, 3))
    assert not made.weight[~mask].any()
    y = conv(x)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(made.weight))
        refitted = float((conv(x) - y).norm() / y.norm())
        conv.weight.copy_(torch.from_numpy(np.where(mask, weight, 0)))
        cut = float((conv(x) - y).norm() / y.norm())
    assert made.output_error == pytest.approx(refitted, rel=1e-6)
    assert refitted < cut
    again = supported_weight(weight, 2, positions_of_channels(3), moments, made.support)
    np.testing.assert_allclose(again.weight, made.weight)


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_constant_error_of_the_output_is_taken_back(method):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 144, 2)
    )
    x = batches()[0]
    with torch.no_grad():
        wanted = model[:3](x).mean(dim=(0, 2, 3))
    compress_(model, plan_of(model, method, entries=3), [x])
    with torch.no_grad():
        torch.testing.assert_close(model[:3](x).mean(dim=(0, 2, 3)), wanted, atol=1e-4, rtol=1e-4)


def test_a_plan_with_positions_is_followed():
    model = network()
    plan = plan_of(model)
    texts = {}
    for layer in supported(plan):
        texts[layer.name] = " ".join(["1b0"] * model.get_submodule(layer.name).in_channels)
    plan = plan.with_supports(texts)
    dense = {name: model.get_submodule(name).weight.detach().double().numpy().copy() for name in texts}
    reports = {report.name: report for report in compress_(model, plan, batches())}
    assert with_supports(plan, model) == plan
    for layer in supported(plan):
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
    model = network()
    plan = plan_of(model, method, bits)
    compress_(model, plan, batches())
    masks = masks_of(model)
    if bits is not None:
        insert_quantisers_(model, signed(plan))
        calibrate_(model, batches())
        layers = [module for module in model.modules() if isinstance(module, QuantConv2d)]
        assert sum(layer.mask is not None for layer in layers) == len(masks)
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
        assert (masks_of(model)[name] == mask).all()
    assert masks_of(model).keys() == masks.keys()


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_network_of_ones_own_loop_is_saved_and_loaded(method, tmp_path):
    model = network()
    plan = signed(plan_of(model, method, 4))
    compress_(model, plan, batches())
    insert_quantisers_(model, plan)
    calibrate_(model, batches())
    save(model, plan, tmp_path)
    stored = Plan.load(tmp_path / "plan.json")
    assert stored == with_supports(plan, model) != plan
    again = network(seed=1)
    assert load_(again, tmp_path) == stored
    x = batches()[0]
    torch.testing.assert_close(again.eval()(x), model.eval()(x))
    # A plan that was edited afterwards would program other cells than the weights fill.
    layer = supported(stored)[0]
    other = " ".join(["f"] * len(layer.kind.support.split()))
    stored.with_supports({layer.name: other}).save(tmp_path / "plan.json")
    with pytest.raises(
        InputError,
        match=rf"layer {layer.name}: its weights keep other kernel positions or channels than the support",
    ):
        load_(network(), tmp_path)


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_folded_network_computes_the_same(method):
    model = network()
    compress_(model, plan_of(model, method), batches())
    merged = merge(model.eval())
    x = batches()[0]
    torch.testing.assert_close(merged(x), model(x), atol=1e-4, rtol=1e-4)
    network().load_state_dict(merged.state_dict())


def test_what_cannot_be_row_sparse_is_refused_before_anything_changes():
    model = network()
    plan = plan_of(model)
    name = supported(plan)[0].name

    def changed(which, kind):
        layers = []
        for layer in plan.layers:
            if layer.name == which:
                layer = replace(layer, kind=kind)
            layers.append(layer)
        return replace(plan, layers=tuple(layers))

    for bad, message in (
        (
            changed(name, LowRankLayer(2, 4, 9)),
            rf"layer {name}: entries \(=9\) must be at least 1 and fewer",
        ),
        (changed(name, LowRankLayer(2, 4, 1, "1 2")), rf"layer {name}: support is for 2 input channels"),
        (changed("fc", LowRankLayer(1, 2, 1)), r"layer fc: entries \(=1\) are for convolutions"),
    ):
        with pytest.raises(InputError, match=message):
            compress_(model, bad)
    assert all(type(module) is not LowRankConv2d for module in model.modules())
    compress_(
        model, uniform_plan(trace(model, IMAGE, "net"), ARRAY, LowRank(groups=2, rank="1/4", force=True))
    )
    with pytest.raises(
        InputError, match=rf"layer {name} keeps all kernel positions and channels in the network"
    ):
        with_supports(plan, model)
