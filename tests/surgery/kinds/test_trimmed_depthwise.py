"""Depthwise convolutions of fewer channels, between two layers that have as many."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.export.onnx.check import compare_onnx
from rankfold.export.onnx.write import write_onnx
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerPlan, Plan, TrimmedLayer
from rankfold.plan.plan import check_plan
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import trace

IMAGE, LEFT = (3, 8, 8), "2d"  # 4 of 6 channels
ALIKE = TrimmedLayer(LEFT, LEFT)


def network(seed=0):
    """An inverted bottleneck: 1x1, depthwise, 1x1."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 1),
        nn.Hardswish(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
        nn.Flatten(),
        nn.Linear(256, 3),
    ).eval()


def batches():
    return [torch.randn(16, *IMAGE, generator=torch.Generator().manual_seed(1))]


def planned(kinds, bits=None):
    traced = trace(network(), IMAGE, "net")
    array = ArraySpec(32, 96, cell_bits=2, dac_bits=1) if bits else ArraySpec(32, 32)
    layers = [
        LayerPlan(shape.name, kinds.get(shape.name, DenseLayer()), weight_bits=bits, input_bits=bits)
        for shape in traced.layers
    ]
    plan = Plan.of(traced, array, layers)
    check_plan(plan, traced)
    return plan


CHAIN = {"0": TrimmedLayer(gives=LEFT), "2": ALIKE, "5": TrimmedLayer(reads=LEFT)}


def test_channels_that_nobody_reads_are_computed_nowhere():
    reader, chain = network(), network()
    compress_(reader, planned({"5": CHAIN["5"]}), batches())
    compress_(chain, planned(CHAIN), batches())
    images = torch.randn(4, *IMAGE)
    torch.testing.assert_close(chain(images), reader(images), rtol=1e-5, atol=1e-5)
    inner = chain[2].inner
    assert (inner.in_channels, inner.groups, inner.out_channels) == (4, 4, 4)
    dense = network_cycles(trace(network(), IMAGE, "net"), planned({})).layers[1].chosen_cycles
    fewer = network_cycles(trace(network(), IMAGE, "net"), planned(CHAIN)).layers[1].chosen_cycles
    assert fewer < dense


def test_the_weights_of_what_is_left_stay_and_the_rest_is_its_mean():
    model, dense = network(), network()
    (report,) = [one for one in compress_(model, planned({"2": ALIKE}), batches()) if one.name == "2"]
    left = torch.tensor([bool(int(LEFT, 16) >> channel & 1) for channel in range(6)])
    assert torch.equal(model[2].inner.weight, dense[2].weight[left])
    fed = dense[:2](batches()[0])
    with torch.no_grad():
        given, wanted = model[2](fed), dense[2](fed)
    torch.testing.assert_close(given[:, left], wanted[:, left])
    assert torch.all(given[:, ~left].var((0, 2, 3)) < 1e-10)
    missed, power = wanted[:, ~left].var((0, 2, 3), correction=0), wanted.var((0, 2, 3), correction=0)
    assert report.output_error == pytest.approx(float((missed.sum() / power.sum()).sqrt()), rel=1e-3)


def test_quantised_saved_loaded_simulated_exported_and_merged(tmp_path):
    model, plan = network(), planned(CHAIN, bits=4)
    compress_(model, plan, batches())
    plan = quantise_(model, plan, batches())
    images = batches()[0]
    torch.testing.assert_close(simulate(model, plan).eval()(images), model(images), rtol=1e-5, atol=1e-5)
    save(model, plan, tmp_path)
    fresh = network(seed=5)
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), model(images))
    write_onnx(model, IMAGE, tmp_path / "net.onnx", True)
    labels = torch.zeros(len(images), dtype=torch.int64)
    assert compare_onnx(model, tmp_path / "net.onnx", [(images, labels)], quantised=True).same >= 15
    floats = network()
    compress_(floats, planned(CHAIN), batches())
    plain = merge(floats)
    assert plain[2].weight.shape == (6, 1, 3, 3)
    torch.testing.assert_close(plain(images), floats(images), rtol=1e-5, atol=1e-5)


def test_it_is_loaded_whatever_lies_in_memory(tmp_path):
    model, plan = network(), planned(CHAIN, bits=4)
    compress_(model, plan, batches())
    plan = quantise_(model, plan, batches())
    save(model, plan, tmp_path)
    fresh = network(seed=5)
    torch.use_deterministic_algorithms(True)  # memory that nobody has written holds NaN then
    try:
        load_(fresh, tmp_path)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(fresh(batches()[0]), model(batches()[0]))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (TrimmedLayer(reads=LEFT), "reads and gives the same channels"),
        (TrimmedLayer(LEFT, "1d"), "reads and gives the same channels"),
        (replace(ALIKE, window=(2, 2)), "without a window"),
        (TrimmedLayer("4d", "4d"), "beyond the 6"),
    ],
)
def test_other_channels_on_either_side_are_refused(kind, words):
    with pytest.raises(InputError, match=words):
        planned({"2": kind})
