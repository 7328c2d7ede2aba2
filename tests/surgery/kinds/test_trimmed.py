"""Trimmed layers: least squares weights, constants, what nobody reads, files, arrays, exports."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.window_network import ARRAY, IMAGE, batches, network, settled
from rankfold.calibration.observation import evaluating
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import write_onnx
from rankfold.export.workloads import executed_layers
from rankfold.nn.trimmed import TrimmedConv2d
from rankfold.plan import DenseLayer, GroupedLayer, LayerKind, LayerPlan, Plan, TrimmedLayer
from rankfold.plan.plan import check_plan
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supports import with_supports
from rankfold.workload import trace

READS, COMPUTES = "1d", "e7"  # 4 of 6 and 6 of 8 channels
BOTH = TrimmedLayer(READS, COMPUTES)
BY_WINDOWS = TrimmedLayer(READS, COMPUTES, (2, 3), 24)
SORTS = pytest.mark.parametrize("kind", [BOTH, BY_WINDOWS], ids=lambda kind: kind.short())


def planned(*kinds: tuple[str, LayerKind], bits: int | None = None) -> Plan:
    """The plan of the network of windows with some layers changed."""
    traced, changed = trace(network(), IMAGE, "net"), dict(kinds)
    array = replace(ARRAY, columns=96, cell_bits=2, dac_bits=1) if bits else ARRAY
    layers = [
        LayerPlan(shape.name, changed.get(shape.name, DenseLayer()), weight_bits=bits, input_bits=bits)
        for shape in traced.layers
    ]
    plan = Plan.of(traced, array, layers)
    check_plan(plan, traced)
    return plan


def channels(text: str, count: int) -> np.ndarray:
    return np.array([int(text, 16) >> channel & 1 for channel in range(count)], bool)


def test_the_weights_are_those_of_least_squares_on_the_channels_that_are_read() -> None:
    model, dense = settled(network()), settled(network())
    (report,) = [one for one in compress_(model, planned(("3", BOTH)), batches()) if one.name == "3"]
    reads, computes = channels(READS, 6), channels(COMPUTES, 8)
    every = torch.cat(batches())
    with evaluating(dense), torch.no_grad():
        fed = dense[:3](every)
        wanted = dense[3](fed).double()
    patches = F.unfold(fed[:, torch.from_numpy(reads)], 3, padding=1).double()
    patches = patches.permute(0, 2, 1).reshape(-1, 4 * 9)
    given = torch.cat([patches, torch.ones(len(patches), 1)], 1).numpy()
    outputs = wanted.permute(0, 2, 3, 1).reshape(-1, 8).numpy()
    best, *_ = np.linalg.lstsq(given, outputs[:, computes], rcond=None)
    missed = outputs.copy()
    missed[:, computes] -= given @ best
    missed[:, ~computes] -= outputs[:, ~computes].mean(0)
    variation = outputs - outputs.mean(0)
    least = np.linalg.norm(missed) / np.linalg.norm(variation)
    assert report.output_error == pytest.approx(least, rel=1e-4)
    made = model[3]
    assert isinstance(made, TrimmedConv2d)
    # Weights of nearly as small an error may be others: that of these, constants aside, is as small.
    left = outputs[:, computes] - patches.numpy() @ made.inner.weight.detach().reshape(6, -1).numpy().T
    left -= left.mean(0)
    assert np.linalg.norm(left) == pytest.approx(np.linalg.norm(missed[:, computes]), rel=1e-3)


@pytest.mark.parametrize("decomposition", ["data", "sequential"])
@SORTS
def test_means_are_kept_and_what_is_not_computed_is_its_mean(kind: TrimmedLayer, decomposition: str) -> None:
    model = settled(network(bias=True))
    dense = copy.deepcopy(model)
    compress_(model, planned(("3", kind)), batches(), decomposition=decomposition)
    every = torch.cat(batches())
    with evaluating(model), evaluating(dense), torch.no_grad():
        fed = dense[:3](every)
        before, after = dense[3](fed), model[3](fed)
    torch.testing.assert_close(after.mean((0, 2, 3)), before.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    computed = torch.from_numpy(channels(COMPUTES, 8))
    spread = after.var((0, 2, 3))
    assert torch.all(spread[~computed] < 1e-10) and torch.all(spread[computed] > 1e-4)
    # The norm of a constant keeps its variance; those of the others are what they see.
    norm, old = model[4], dense[4]
    torch.testing.assert_close(norm.running_var[~computed], old.running_var[~computed])
    torch.testing.assert_close(norm.running_var[computed], spread[computed], rtol=0.02, atol=1e-6)


def test_a_channel_that_nobody_reads_need_not_be_computed() -> None:
    reader = TrimmedLayer(reads="2d")
    alone, both = settled(network()), settled(network())
    compress_(alone, planned(("3", reader)), batches())
    compress_(both, planned(("0", TrimmedLayer(gives="2d")), ("3", reader)), batches())
    images = batches(1)[0]
    torch.testing.assert_close(both(images), alone(images), rtol=1e-5, atol=1e-5)
    assert both[0].inner.out_channels == 4


@SORTS
def test_quantised_saved_loaded_simulated_and_exported(kind: TrimmedLayer, tmp_path: Path) -> None:
    model = settled(network())
    plan = planned(("3", kind), bits=4)
    compress_(model, plan, batches())
    plan = with_supports(quantise_(model, plan, batches()), model)
    assert plan.layer("3").kind.shares_support == (kind.rows is not None)
    assert plan.layer("3").kind.known_support is not None or kind.rows is None
    images = batches(1)[0]
    compress_(again := settled(network()), plan, batches())
    assert with_supports(plan, again) == plan
    model.eval()
    torch.testing.assert_close(simulate(model, plan).eval()(images), model(images), rtol=1e-5, atol=1e-5)
    save(model, plan, tmp_path)
    fresh = network(seed=5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), model(images))
    labels = torch.zeros(16, dtype=torch.int64)
    write_onnx(model, IMAGE, tmp_path / "net.onnx", True)
    assert compare_onnx(model, tmp_path / "net.onnx", [(images, labels)], quantised=True).same >= 15


def test_weights_of_other_channels_are_refused(tmp_path: Path) -> None:
    plan, other = planned(("3", BOTH)), planned(("3", TrimmedLayer("1e", COMPUTES)))
    compress_(model := settled(network()), plan, batches())
    with pytest.raises(InputError, match=r"layer 3: its weights are of other channels than reads \(=1e\) in"):
        save(model, other, tmp_path)
    assert not any(tmp_path.iterdir())
    save(model, plan, tmp_path)
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(plan_file.read_text().replace('"gives": "e7"', '"gives": "eb"'))
    with pytest.raises(InputError, match=r"layer 3: its weights are of other channels than gives \(=eb\) in"):
        load_(network(), tmp_path)


@SORTS
def test_a_norm_sees_the_same_constants_in_training_and_evaluation(kind: TrimmedLayer) -> None:
    model = settled(network(bias=True))
    compress_(model, planned(("3", kind)), batches())
    made, norm = model[3], model[4]
    with torch.no_grad():
        made.rest.copy_(torch.tensor([0.7123, -1.3457]))  # between two numbers of bfloat16
    norm.momentum, norm.eps = 1.0, 1e-5
    fed = model[:3](batches(1)[0]).detach()
    with torch.autocast("cpu", torch.bfloat16):
        norm.train()(made(fed))
    after = norm.eval()(made(fed))
    constant = torch.from_numpy(~channels(COMPUTES, 8))
    wanted = norm.bias[constant][:, None].expand(-1, after[:, constant].numel() // 2)
    torch.testing.assert_close(after[:, constant].transpose(0, 1).flatten(1), wanted, rtol=0, atol=1e-3)


def test_a_single_image_needs_no_batch() -> None:
    compress_(model := settled(network()), planned(("3", BOTH)), batches())
    fed = model[:3](batches(1)[0])
    torch.testing.assert_close(model[3](fed[0]), model[3](fed)[0])


def test_it_is_merged_unless_it_computes_windows() -> None:
    images = batches(1)[0]
    model = settled(network(bias=True))
    compress_(model, planned(("3", BOTH)), batches())
    merged = merge(model)
    assert type(merged[3]) is nn.Conv2d and merged[3].weight.shape == (8, 6, 3, 3)
    torch.testing.assert_close(merged(images), model(images), rtol=1e-5, atol=1e-5)
    compress_(windows := settled(network()), planned(("3", BY_WINDOWS)), batches())
    with pytest.raises(InputError, match=r"layer 3\.inner: a WindowConv2d computes what no plain layer can"):
        merge(windows)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("3", TrimmedLayer(reads="40"), r"layer 3: reads \(=40\) names channels beyond the 6 that it has"),
        ("3", TrimmedLayer(gives="1ff"), r"layer 3: gives \(=1ff\) names channels beyond the 8"),
        ("3", TrimmedLayer("1d", None, (2, 2), 65), r"layer 3: rows \(=65\) must be at most 64"),
        (
            "6",
            TrimmedLayer(reads="1"),
            "layer 6: only .* of one group .* a convolution of 2 groups",
        ),
        ("9", TrimmedLayer(reads="1"), "layer 9: only .* of one group .* a fully connected layer"),
    ],
)
def test_what_cannot_be_trimmed(name: str, kind: TrimmedLayer, message: str) -> None:
    model = network()
    with pytest.raises(InputError, match=message):
        compress_(model, Plan("net", IMAGE, ARRAY, (LayerPlan(name, kind, mapping="im2col"),)))
    shape = next(shape for shape in trace(model, IMAGE).layers if shape.name == name)
    with pytest.raises(InputError, match=message):
        kind.check(shape)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "a trimmed layer needs the channels that it reads, or those that it gives"),
        ({"reads": 5}, "reads must be a text, not 5"),
        ({"reads": "0"}, r"reads \(=0\) must be a hexadecimal number of one channel or more, such as ff03"),
        ({"gives": "0x1"}, r"gives \(=0x1\) must be a hexadecimal number"),
        ({"reads": "1", "rows": 8}, "only trimmed layers with a window have rows"),
        ({"reads": "1", "window": (1, 2), "support": "1"}, "only trimmed layers with rows have a support"),
        ({"reads": "1", "window": (0, 1)}, r"window \(=\(0, 1\)\) must be a pair"),
    ],
)
def test_what_is_no_trimmed_layer(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrimmedLayer(**fields)  # type: ignore[arg-type]


def test_channels_have_one_text() -> None:
    assert TrimmedLayer("0f") == TrimmedLayer("f") and TrimmedLayer("0f").holds(TrimmedLayer("f"))
    assert GroupedLayer(2, "0f:3 f0:0c") == GroupedLayer(2, "f:3 f0:c")
    assert TrimmedLayer(gives="001ff").short() == "c>9"


@pytest.mark.parametrize("kind", [BOTH, TrimmedLayer(READS, COMPUTES, (2, 3))], ids=lambda kind: kind.short())
def test_costs_are_those_of_the_channels_that_are_left(kind: TrimmedLayer) -> None:
    """Against a network whose layer has no others."""
    traced, plan = trace(network(), IMAGE, "net"), planned(("3", kind))
    shape = traced.layers[1]
    smaller = replace(shape, in_channels=4, out_channels=6)
    alone = replace(traced, layers=(traced.layers[0], smaller, *traced.layers[2:]))
    wanted = planned(("3", kind.inner))
    cycles, own = (network_cycles(*each).layers[1] for each in ((traced, plan), (alone, wanted)))
    assert (cycles.chosen, cycles.parameters) == (own.chosen, own.parameters)
    table = load_table("rram-22nm")
    energy, own = (network_energy(*each, table).layers[1] for each in ((traced, plan), (alone, wanted)))
    assert energy.energy == pytest.approx(own.energy) and own.energy > 0
    (run,) = [layer.shape for layer in executed_layers(traced, plan) if layer.shape.name.startswith("3")]
    assert run.in_channels == 4 and run.m % 6 == 0


@SORTS
def test_what_is_left_is_trained(kind: TrimmedLayer) -> None:
    model = settled(network())
    compress_(model, planned(("3", kind)), batches())
    model[4] = nn.Identity()  # a norm would take the constants out again
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: values.clone() for name, values in model[3].named_parameters()}
    model.train()(batches(1)[0]).square().mean().backward()
    optimiser.step()
    assert "rest" in before
    assert all(not torch.equal(values, before[name]) for name, values in model[3].named_parameters())
    if kind.window is not None:
        inner = model[3].inner
        assert not inner.weight[~inner.matrix.mask.bool()].any()
