"""Window layers in networks: surgery with and without data, quantisation, files, folding back, arrays."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.observation import evaluating
from rankfold.errors import InputError
from rankfold.export.merge import merge
from rankfold.mapping import ArraySpec
from rankfold.nn.quantised import QuantConv2d
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LayerPlan, Plan, WindowLayer, uniform_plan
from rankfold.plan.methods import Windows
from rankfold.simulator import simulate
from rankfold.surgery.compress import compress_, kept_parameters
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.save import load_, save
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import trace

IMAGE = (3, 12, 12)
ARRAY = ArraySpec(24, 24)


def network(*, bias: bool = False, seed: int = 0) -> nn.Sequential:
    """Three convolutions, one of them strided and one with groups, with norms behind two of them."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )


def batches(count: int = 3) -> list[Tensor]:
    """Smooth images: inputs of a window that tell of each other, as those of real images do."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for _ in range(count):
        coarse = torch.randn(16, 3, 4, 4, generator=generator)
        images.append(nn.functional.interpolate(coarse, size=IMAGE[1:], mode="bilinear"))
    return images


def settled(model: nn.Module) -> nn.Module:
    """The network with the statistics of the data in its norms."""
    reestimate_batch_norm_(model, batches())
    return model.eval()


def planned(model: nn.Module, row_tiles: int, bits: int | None = None) -> Plan:
    """The uniform plan of windows."""
    return uniform_plan(
        trace(model, IMAGE, "net"), ARRAY, Windows(row_tiles=row_tiles, window=(2, 3)), bits=bits
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("data", [None, "batches"])
def test_with_all_rows_the_network_computes_what_it_computed(bias: bool, data: str | None) -> None:
    model = settled(network(bias=bias)).double()
    images = batches(1)[0].double()
    expected = model(images)
    given = None
    if data is not None:
        given = [batch.double() for batch in batches()]
    reports = compress_(model, planned(model, 99), given)
    assert isinstance(model[3], WindowConv2d) and isinstance(model[6], WindowConv2d)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-12)
    by_name = {report.name: report for report in reports}
    assert by_name["3"].error == 0 and by_name["3"].parameters_after > by_name["3"].parameters_before


@pytest.mark.parametrize("decomposition", ["data", "sequential", "svd"])
def test_rows_are_chosen_and_written_in_the_plan(decomposition: str) -> None:
    model = settled(network())
    plan = planned(model, 1)
    reports = {
        report.name: report for report in compress_(model, plan, batches(), decomposition=decomposition)
    }
    error = reports["3"].output_error
    if decomposition == "svd":
        assert error is None
    else:
        assert error is not None and 0 < error < 1
    assert kept_parameters(model) < sum(parameter.numel() for parameter in model.parameters())
    filled = with_supports(plan, model)
    for layer in filled.layers:
        if isinstance(layer.kind, WindowLayer):
            assert layer.kind.rows == 24 and layer.kind.support is not None
            layer.kind.check(trace(settled(network()), IMAGE, "net").layers[int(layer.name) // 3])
    check_supports(filled, model)
    # Made again from the plan, it is the same network.
    again = settled(network())
    compress_(again, filled, batches(), decomposition=decomposition)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_data_choose_better_rows_than_weights_do() -> None:
    @torch.no_grad()
    def error(data: list[Tensor] | None) -> float:
        model = settled(network())
        expected = model(batches(1)[0])
        compress_(model, planned(model, 1), data)
        return float((model(batches(1)[0]) - expected).norm() / expected.norm())

    assert error(batches()) < 0.8 * error(None)


def test_outputs_that_the_scores_depend_on_keep_their_inputs() -> None:
    torch.manual_seed(0)
    # The scores are those of the first two channels; the last two are stronger, and read by nobody.
    body = nn.Conv2d(2, 4, 3, padding=1)
    head = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        body.weight[2:].mul_(3)
        head.weight.copy_(torch.eye(2, 4))
    scores = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    plane = nn.Sequential(copy.deepcopy(body), nn.Identity())  # gives no scores
    images = nn.functional.interpolate(torch.randn(32, 2, 4, 4), size=7, mode="bilinear")
    entry = LayerPlan("0", WindowLayer((2, 2), 8), mapping="im2col")
    wanted = body(images)
    errors = []
    for model in (scores, plane):
        compress_(model, Plan("net", (2, 7, 7), ARRAY, (entry,)), [images])
        lost = (model[0](images) - wanted).detach().square().sum((0, 2, 3))
        errors.append((float(lost[:2].sum()), float(lost.sum())))
    (read, every), (read_alike, every_alike) = errors
    assert read < 0.8 * read_alike and every > every_alike


# Ratios carry over to variances that were averaged over batches, which differ a little from those of all.
@pytest.mark.parametrize(("decomposition", "within"), [("data", 0.02), ("sequential", 1e-4)])
def test_means_and_variances_of_outputs_are_set_right(decomposition: str, within: float) -> None:
    model = settled(network())
    dense = copy.deepcopy(model)
    compress_(model, planned(model, 1), batches(), decomposition=decomposition)
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


def windows_of(layer: WindowConv2d, images: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs (B, windows, n) of every window of a layer without groups, and (windows, a*b) where its pixels
    are on the plane, -1 beyond it.
    """
    (a, b), (ph, pw) = layer.window, layer.box
    height, width = layer.output_size(images)
    padded = nn.functional.pad(layer.extended(images), (layer._inner[1],) * 2 + (layer._inner[0],) * 2)
    boxes, places = [], []
    for top in range(0, height, a):
        for left in range(0, width, b):
            y, x = top * layer.stride[0], left * layer.stride[1]
            boxes.append(padded[:, :, y : y + ph, x : x + pw].flatten(1))
            pixels = [(top + i, left + j) for i in range(a) for j in range(b)]
            places.append([i * width + j if i < height and j < width else -1 for i, j in pixels])
    return torch.stack(boxes, 1), torch.tensor(places)


@pytest.mark.parametrize("decomposition", ["data", "sequential"])
@pytest.mark.parametrize(("window", "stride"), [((2, 2), 1), ((3, 2), 1), ((3, 1), 2)])
def test_outputs_count_where_they_are(decomposition: str, window: tuple[int, int], stride: int) -> None:
    # A plane of 7x7, or 4x4 in strides of 2: beyond it lie pixels below, on the right, and in the corner.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, stride, padding=1), nn.BatchNorm2d(3)).double().eval()
    images = nn.functional.interpolate(torch.randn(24, 2, 4, 4, dtype=torch.float64), size=7, mode="bilinear")
    dense = copy.deepcopy(model)
    entry = LayerPlan("0", WindowLayer(window, 9), mapping="im2col")
    (report,) = compress_(
        model, Plan("net", (2, 7, 7), ARRAY, (entry,)), [images], decomposition=decomposition
    )
    layer, norm = model[0], model[1]
    assert isinstance(layer, WindowConv2d) and isinstance(norm, nn.BatchNorm2d)
    boxes, places = windows_of(layer, images)
    kept = layer.matrix.mask[0].flatten()
    assert kept.sum() == 9
    copies = WindowConv2d.from_conv(dense[0], window).weight.detach().flatten(1)  # (a*b*m, n)
    with torch.no_grad():
        wanted, made = dense[0](images).flatten(2), layer(images).flatten(2)  # (B, m, OH*OW)
    lost = whole = 0.0
    for pixel in range(window[0] * window[1]):
        there = places[:, pixel] >= 0
        x = boxes[:, there].flatten(0, 1)
        y = wanted[:, :, places[there, pixel]].transpose(1, 2).flatten(0, 1)
        x, y = x - x.mean(0), y - y.mean(0)
        # Least squares by hand, with the ridge as so many more samples: that of the copies on all inputs.
        ridge = (1e-2 * x.square().sum() / x.shape[1]).sqrt() * torch.eye(x.shape[1], dtype=x.dtype)
        own = copies[3 * pixel : 3 * pixel + 3].T
        best = torch.linalg.lstsq(torch.cat([x, ridge])[:, kept], torch.cat([y, ridge @ own])).solution
        found = layer.weight.detach().flatten(1)[3 * pixel : 3 * pixel + 3]
        torch.testing.assert_close(found[:, kept], best.T, rtol=1e-6, atol=1e-8)
        lost += float((x[:, kept] @ best - y).square().sum())
        whole += float(y.square().sum())
        # The mean of each pixel of a window is what it was.
        error = (made - wanted)[:, :, places[there, pixel]]
        torch.testing.assert_close(error.mean((0, 2)), torch.zeros(3, dtype=x.dtype), atol=1e-9, rtol=0)
    assert report.output_error == pytest.approx((lost / whole) ** 0.5, rel=1e-6)
    # The norm is told the variance of the outputs that there are.
    before, after = (outputs.var((0, 2), correction=0) for outputs in (wanted, made))
    expected = after if decomposition == "sequential" else after / before
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-6, atol=1e-9)


def test_quantised_saved_simulated_and_not_folded(tmp_path: Path) -> None:
    model = settled(network())
    array = replace(ARRAY, columns=96, cell_bits=2, dac_bits=1)
    shapes = trace(model, IMAGE, "net")
    plan = uniform_plan(shapes, array, Windows(row_tiles=1), bits=4)
    compress_(model, plan, batches())
    plan = with_supports(quantise_(model, plan, batches()), model)
    matrix = model[3].matrix
    assert isinstance(matrix, QuantConv2d) and matrix.mask is not None and not matrix.mask.all()
    images = batches(1)[0]
    model.eval()
    # Arrays that are ideal give the very integers.
    ideal = simulate(model, plan).eval()
    torch.testing.assert_close(ideal(images), model(images), rtol=1e-5, atol=1e-5)
    save(model, plan, tmp_path)
    fresh = network(seed=5).eval()
    assert load_(fresh, tmp_path) == plan
    assert torch.equal(fresh(images), model(images))
    with pytest.raises(InputError, match="layer 6: a WindowConv2d computes what no plain layer can"):
        merge(model)


def test_what_cannot_be_a_window_layer() -> None:
    model = network()
    entry = LayerPlan("9", WindowLayer((1, 1)), mapping="im2col")
    with pytest.raises(InputError, match="layer 9: a window needs an output plane"):
        compress_(model, Plan("net", IMAGE, ARRAY, (entry,)))
    entry = LayerPlan("3", WindowLayer((2, 2), 97), mapping="im2col")
    with pytest.raises(InputError, match=r"layer 3: rows \(=97\) must be at most 96"):
        compress_(model, Plan("net", IMAGE, ARRAY, (entry,)))
