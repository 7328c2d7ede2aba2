"""What holds of window layers and of their pairs: inputs chosen on data, statistics, files, arrays."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from common.window_network import ARRAY, IMAGE, batches, network, planned, settled
from rankfold.calibration.observation import evaluating
from rankfold.errors import InputError
from rankfold.export.dense import merge
from rankfold.nn.quantised import QuantConv2d
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LayerKind, LayerPlan, Plan, WindowLayer, WindowLowRank, WindowLowRankLayer
from rankfold.plan.methods import Method, Windows
from rankfold.simulator import NonIdealities, simulate
from rankfold.surgery.compress import compress_
from rankfold.surgery.layer_report import kept_parameters
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import trace

WINDOWS = Windows(row_tiles=1, window=(2, 3))
PAIRS = WindowLowRank(rank="1/2", row_tiles=1, window=(2, 3))
BOTH = pytest.mark.parametrize("method", [WINDOWS, PAIRS], ids=["window", "low-rank"])
# Planes of 12x12 and 6x6, which the window does not divide.
OVERHANGING = WindowLowRank(rank=1, row_tiles=1, window=(5, 4))


@BOTH
@pytest.mark.parametrize("decomposition", ["data", "sequential", "svd"])
def test_rows_are_chosen_and_written_in_the_plan(method: Method, decomposition: str) -> None:
    model = settled(network())
    plan = planned(model, method)
    made = compress_(model, plan, batches(), decomposition=decomposition)
    reports = {report.name: report for report in made}
    output_error = reports["3"].output_error
    assert output_error is None if decomposition == "svd" else 0 < (output_error or 0) < 1
    # The weight's own error is that of the matrix which stands in.
    copies = WindowConv2d.from_conv(settled(network())[3], (2, 3)).weight
    error = float((model[3].weight - copies).detach().norm() / copies.detach().norm())
    assert reports["3"].error == pytest.approx(error, rel=1e-5)
    assert kept_parameters(model) < sum(parameter.numel() for parameter in model.parameters())
    filled = with_supports(plan, model)
    shapes = {shape.name: shape for shape in trace(settled(network()), IMAGE, "net").layers}
    filled_kinds = 0
    for layer in filled.layers:
        if layer.kind.shares_support:
            assert layer.kind.rows == 24 and layer.kind.known_support is not None
            layer.kind.check(shapes[layer.name])
            filled_kinds += 1
    assert filled_kinds == 2
    check_supports(filled, model)
    # Made again from the plan, it is the same network; pairs up to rounding in their decomposition.
    close = {"rtol": 1e-4, "atol": 1e-5} if method is PAIRS else {}
    again = settled(network())
    compress_(again, filled, batches(), decomposition=decomposition)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name, **close)


# Ratios carry over to variances that were averaged over batches, which differ a little from those of all.
@pytest.mark.parametrize(
    ("method", "decomposition", "within"),
    [
        (WINDOWS, "data", 0.02),
        (WINDOWS, "sequential", 1e-4),
        (PAIRS, "data", 0.02),
        (PAIRS, "sequential", 1e-4),
        (OVERHANGING, "data", 0.02),
    ],
    ids=["window, data", "window, sequential", "low-rank, data", "low-rank, sequential", "overhanging"],
)
def test_means_and_variances_of_outputs_are_set_right(
    method: Method, decomposition: str, within: float
) -> None:
    model = settled(network())
    dense = copy.deepcopy(model)
    compress_(model, planned(model, method), batches(), decomposition=decomposition)
    every = torch.cat(batches())
    with evaluating(model), evaluating(dense), torch.no_grad():
        # The layer without a norm keeps its mean, pixel by pixel of a window, on what it was made for.
        fed = dense[:3](every)
        before, after = dense[3](fed), model[3](fed)
        norm = model[4]
        torch.testing.assert_close(after.mean((0, 2, 3)), before.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        seen = after.var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_var, seen, rtol=within, atol=1e-6)


@BOTH
def test_quantised_saved_simulated_and_not_folded(method: Method, tmp_path: Path) -> None:
    model = settled(network())
    array = replace(ARRAY, columns=96, cell_bits=2, dac_bits=1)
    plan = planned(model, method, array, bits=4)
    compress_(model, plan, batches())
    plan = with_supports(quantise_(model, plan, batches()), model)
    layer = model[3]
    if method is PAIRS:
        first = layer.reduce
        # What is between the stages is signed, whatever the layer reads.
        assert isinstance(layer.expand, QuantConv2d) and layer.expand.input_quantiser.signed
    else:
        first = layer.matrix
    assert isinstance(first, QuantConv2d) and not first.input_quantiser.signed
    assert first.mask is not None and not first.mask.all()
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
    with pytest.raises(InputError, match=r"layer 6: a Window\w+ computes what no plain layer can"):
        merge(model)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("9", WindowLayer((1, 1)), "layer 9: a window needs an output plane"),
        ("9", WindowLowRankLayer((1, 1), 1), "layer 9: a window needs an output plane"),
        ("3", WindowLayer((2, 2), 97), r"layer 3: rows \(=97\) must be at most 96"),
        ("3", WindowLowRankLayer((2, 2), 2, 97), r"layer 3: rows \(=97\) must be at most 96"),
        ("3", WindowLowRankLayer((2, 2), 33), r"layer 3: rank \(=33\) must be at most 32"),
        ("6", WindowLowRankLayer((2, 2), 9, 8), r"layer 6: rank \(=9\) must be at most 8"),
    ],
)
def test_what_cannot_be_one(name: str, kind: LayerKind, message: str) -> None:
    model = network()
    with pytest.raises(InputError, match=message):
        compress_(model, Plan("net", IMAGE, ARRAY, (LayerPlan(name, kind, mapping="im2col"),)))
