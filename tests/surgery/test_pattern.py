"""Pattern-pruned layers of a whole network: masks by the plan, kept in files, counted from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.cost import CostKey, network_cycles
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.nn.masked import MaskedConv2d, masks_of
from rankfold.plan import (
    Garos,
    Pairs,
    Pairs2023,
    Pairs2024,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    PatDNNLayer,
    load_masks,
    uniform_plan,
)
from rankfold.pruning import PAIRS_2023, PatternWindow, Pruning, choose_masks, mixed_patterns
from rankfold.surgery.by_weights import build_
from rankfold.surgery.compress import compress_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.surgery.saving import save_weights
from rankfold.workload import ConvShape, trace

ARRAY = ArraySpec(32, 32)


def dropped(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


def test_masks_are_saved_with_the_weights(tmp_path):
    model = build("resnet8", 10)
    network = trace(model, (3, 32, 32), "resnet8")
    plan = uniform_plan(network, ARRAY, PatDNN(4), bits=4)
    dense = kept_parameters(model)
    reports = compress_(model, plan)
    masks = masks_of(model)
    pruned = [report for report in reports if isinstance(report.kind, PatDNNLayer)]
    assert {report.name for report in pruned} == set(masks) == {layer.name for layer in plan.changed}
    assert all(mask.sum() * 9 == mask.size * 4 for mask in masks.values())
    assert kept_parameters(model) == dense - dropped(masks)
    assert sum(report.parameters_before - report.parameters_after for report in reports) == dropped(masks)
    assert all(
        0 < report.error < 1 and report.plain_error is report.output_error is None for report in pruned
    )

    plan = plan.with_signs({layer.name: True for layer in plan.layers})
    insert_quantisers_(model, plan)
    save_weights(tmp_path / "model.safetensors", model)
    stored = load_masks(tmp_path / "model.safetensors")
    assert stored.keys() == masks.keys()
    assert all((stored[name] == masks[name]).all() for name in masks)
    rebuilt = build("resnet8", 10, seed=1)
    build_(rebuilt, plan)
    insert_quantisers_(rebuilt, plan)
    rebuilt.load_state_dict(model.state_dict())
    assert all((masks_of(rebuilt)[name] == masks[name]).all() for name in masks)


def test_cycles_are_counted_from_the_masks_of_the_network():
    model = build("resnet8", 10)
    network = trace(model, (3, 32, 32), "resnet8")
    plan = uniform_plan(network, ARRAY, PatDNN(4))
    compress_(model, plan)
    masks = masks_of(model)
    costs = network_cycles(network, plan, masks=masks)
    assert costs.total[CostKey("pruned", "sdk")] == costs.chosen_cycles
    layers = []
    for layer in plan.layers:
        if layer.kind.masked:
            layer = replace(layer, kind=replace(layer.kind, steering="ideal"))
        layers.append(layer)
    steered = network_cycles(network, replace(plan, layers=tuple(layers)), masks=masks)
    assert steered.total == costs.total
    assert steered.chosen_cycles == costs.total[CostKey("ideal", "sdk")] < costs.chosen_cycles
    with pytest.raises(
        InputError, match=r"layer layer1\.0\.conv1 is pattern-pruned: counting its cycles needs its mask"
    ):
        network_cycles(network, plan)


def test_a_layer_keeps_its_parameters_and_loses_what_its_mask_drops():
    model = build("resnet8", 10)
    conv = model.layer1[0].conv1
    before = conv.weight.detach().clone()
    compress_(model, uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, Pairs(2, "plain", 8)))
    pruned = model.layer1[0].conv1
    assert isinstance(pruned, MaskedConv2d) and pruned.weight is conv.weight
    torch.testing.assert_close(pruned.weight.detach(), before * pruned.mask)
    patterns = pruned.mask.reshape(2, 8, 16, 9)  # (blocks, outputs of a block, C_in, positions)
    assert (patterns == patterns[:, :1]).all() and (patterns.sum(3) == 2).all()


@pytest.mark.parametrize(
    ("method", "of_a_layer"),
    [(Pairs2023(4), False), (Pairs2024(4), True), (PatDNNByChannel(3), False), (PatDNNByLayer(3), True)],
    ids=str,
)
def test_published_forms_share_their_patterns(method, of_a_layer):
    model = build("resnet8", 10)
    compress_(model, uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, method))
    masks = masks_of(model)
    numbers = set()
    for mask in masks.values():
        kernels = mask.reshape(*mask.shape[:2], 9)
        assert (kernels == kernels[:1]).all() and (kernels.sum(axis=2) == method.entries).all()
        numbers.add(len(np.unique(kernels[0], axis=0)))
    assert (numbers == {1}) == of_a_layer


def test_patterns_of_several_sizes_keep_to_the_rows_of_one():
    """Under the window that the plan says, also with a stride of 2."""
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, Garos(4))
    weights = {layer.name: model.get_submodule(layer.name).weight.detach().numpy() for layer in plan.changed}
    compress_(model, plan)
    sizes = set()
    for layer in plan.changed:
        module = model.get_submodule(layer.name)
        mask = module.mask.numpy()
        assert (mask == mask[:1]).all()
        window = PatternWindow(layer.kind.side, module.stride)
        patterns = mask[0].reshape(-1, 9)
        pairs = choose_masks(weights, {layer.name: Pruning(PAIRS_2023, 4)})[layer.name]
        rows = [sum(map(window.rows, kept)) for kept in (patterns, pairs[0].reshape(-1, 9))]
        assert rows[0] <= rows[1]
        kept = [np.square(weights[layer.name] * chosen).sum() for chosen in (mask, pairs)]
        assert kept[0] >= kept[1]
        sizes |= set(patterns.sum(axis=1).tolist())
    assert len(sizes) > 1 and {layer.kind.side for layer in plan.changed} != {1}


def test_rows_of_a_dilated_layer_are_those_that_it_reads():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 8, 3, padding=2, dilation=2)
    model = nn.Sequential(nn.Conv2d(3, 16, 1), conv, nn.Flatten(), nn.Linear(8 * 12 * 12, 2))
    plan = uniform_plan(trace(model, (3, 12, 12), "dilated"), ARRAY, Garos(4, windows_for="2048x1024"))
    side = plan.layer("1").kind.side
    weight = conv.weight.detach().numpy().copy()
    compress_(model, plan)
    mask = masks_of(model)["1"]
    assert (mask == mixed_patterns(weight, 4, PatternWindow(side, dilation=(2, 2)))).all()
    assert (mask != mixed_patterns(weight, 4, PatternWindow(side))).any()


def test_a_plane_too_small_without_padding_has_windows_of_one_pixel():
    shape = ConvShape("a", 4, 4, (3, 3), (4, 4), padding=(2, 2, 2, 2), dilation=(2, 2))
    assert Garos(4).layer(shape)[0].side == 1


def test_what_cannot_be_pruned_is_refused():
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 32, 32), "resnet8"), ARRAY, Pairs(4))
    model.layer1[0].conv1.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedLayerError, match=r"layer layer1\.0\.conv1 has hooks"):
        compress_(model, plan)
