"""Window layers in networks: which inputs of a window are driven, and the weights that are made for them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from common.window_network import ARRAY, batches, network, planned, settled
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LayerPlan, Plan, WindowLayer
from rankfold.plan.methods import Windows
from rankfold.surgery.compress import compress_


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("data", [None, "batches"])
def test_with_all_rows_the_network_computes_what_it_computed(bias: bool, data: str | None) -> None:
    model = settled(network(bias=bias)).double()
    images = batches(1)[0].double()
    expected = model(images)
    given = None
    if data is not None:
        given = [batch.double() for batch in batches()]
    reports = compress_(model, planned(model, Windows(row_tiles=99, window=(2, 3))), given)
    assert isinstance(model[3], WindowConv2d) and isinstance(model[6], WindowConv2d)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-12)
    by_name = {report.name: report for report in reports}
    assert by_name["3"].error == 0 and by_name["3"].parameters_after > by_name["3"].parameters_before


def test_data_choose_better_rows_than_weights_do() -> None:
    @torch.no_grad()
    def error(data: list[Tensor] | None) -> float:
        model = settled(network())
        expected = model(batches(1)[0])
        compress_(model, planned(model, Windows(row_tiles=1, window=(2, 3))), data)
        return float((model(batches(1)[0]) - expected).norm() / expected.norm())

    assert error(batches()) < 0.8 * error(None)


class Detached(nn.Module):
    """Outputs without a way back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def test_outputs_that_the_scores_depend_on_keep_their_inputs() -> None:
    torch.manual_seed(0)
    # The scores are those of the first two channels; the last two are stronger, and read by nobody.
    body = nn.Conv2d(2, 4, 3, padding=1)
    head = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        body.weight[2:].mul_(3)
        head.weight.copy_(torch.eye(2, 4))
    scores = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    plane = nn.Sequential(copy.deepcopy(body), Detached())  # nothing is known of its outputs
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
