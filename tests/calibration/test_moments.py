"""Moments of patches, and surgery that uses them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.layer_moments import paired_moments, patch_moments
from rankfold.calibration.moment_sums import FEWEST, MomentSums
from rankfold.calibration.patches import Cut
from rankfold.calibration.window_moments import WindowMoments
from rankfold.calibration.windows import WindowView
from rankfold.errors import InputError
from rankfold.lowrank import decompose, decompose_for_data, reconstruct
from rankfold.mapping import ArraySpec
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LowRank, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.on_data import compress_on_data_
from rankfold.workload import trace


def small(**arguments):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, **arguments),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": (2, 1), "dilation": (1, 2)},
        {"groups": 4, "padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_moments_are_those_of_the_patches(arguments, monkeypatch):
    """The output power of any weight follows from them, if patches are ordered as weights are."""
    monkeypatch.setattr("rankfold.calibration.moment_sums.CHUNK", 5000)  # so that batches are taken in parts
    monkeypatch.setattr("rankfold.calibration.moment_sums.SIDE", 10)  # and products, too
    model, batches = small(**arguments), [torch.randn(5, 3, 11, 10), torch.randn(2, 3, 11, 10)]
    moments = patch_moments(model, batches, ["2"])["2"]
    conv, inputs = model[2], torch.cat([model[:2](batch) for batch in batches])
    shown = copy.deepcopy(conv)
    shown.bias = None
    power = shown(inputs).double().square().mean(dim=(0, 2, 3)).detach().numpy()
    weight = conv.weight.detach().double().numpy().reshape(conv.groups, 12 // conv.groups, -1)
    found = np.einsum("gmi,gij,gmj->gm", weight, moments.second, weight).reshape(-1)
    assert np.allclose(found, power, rtol=1e-4)
    assert moments.cross is None


def test_pixels_beyond_the_plane_do_not_count(monkeypatch):
    """The power of each pixel of a window follows from the moments of the windows that have it."""
    monkeypatch.setattr("rankfold.calibration.moment_sums.CHUNK", 5000)
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, dtype=torch.float64)
    layer = WindowConv2d(conv, (2, 3))
    layer.set_bias_(None)
    runs = [torch.randn(3, 4, *plane, dtype=torch.float64) for plane in [(5, 7), (4, 6), (6, 5)]]
    sums = MomentSums()
    for images in runs:
        sums.add(Cut(layer.matrix, layer.extended, layer.present), images)
    moments = sums.moments()
    power, there = np.zeros((6, 2, 3)), np.zeros((2, 3))  # (m, a, b), and how often a pixel is there
    for images in runs:
        squares = layer(images).square().sum(0).detach().numpy()  # (m, OH, OW)
        for i, j in np.ndindex(2, 3):
            power[:, i, j] += squares[:, i::2, j::3].sum((1, 2))
            there[i, j] += 3 * squares[0, i::2, j::3].size
    windows = 3 * (3 * 3 + 2 * 2 + 3 * 2)
    weight = layer.weight.detach().numpy().reshape(2, 18, -1)
    assert sum(part.pixels.astype(int) for part in moments.by_pixel).tolist() == [1] * 6
    for part in moments.by_pixel:
        found = np.einsum("gmi,gij,gmj->gm", weight, part.moments.second, weight).reshape(-1)
        own = part.outputs(36, 2)
        pixel_of = np.tile(np.repeat(np.arange(6), 3), 2)
        expected = (power / there).reshape(6, 6)[layer.channels, pixel_of]
        np.testing.assert_allclose(found[own], expected[own])
        np.testing.assert_allclose(there.reshape(-1)[part.pixels] / windows, part.share)


@pytest.mark.parametrize("few", [False, True])
def test_samples_stand_for_all_windows_of_their_pixels(few, monkeypatch):
    if few:
        monkeypatch.setattr("rankfold.calibration.moment_sums.WORK", 1)
    layer = WindowConv2d(nn.Conv2d(1, 1, 3, padding=1), (2, 2))
    sums = MomentSums()
    sums.add(Cut(layer.matrix, layer.extended, layer.present), torch.randn(2, 1, 13, 12))
    shares = {tuple(part.pixels.tolist()): part.share for part in sums.moments().by_pixel}
    # Of 7x6 windows the last row has the upper pixels only.
    assert shares == {(True, True, False, False): 1, (False, False, True, True): pytest.approx(36 / 42)}
    assert sums.count == (2 * (FEWEST + 6) if few else 2 * 42)


def test_paired_moments_of_the_same_network_are_equal():
    model, batch = small(), torch.randn(4, 3, 9, 9)
    moments = paired_moments(model, copy.deepcopy(model), [batch], "2")
    assert np.allclose(moments.second, moments.cross)


class Again(nn.Module):
    """One convolution that runs several times."""

    def __init__(self, times):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = self.conv(x)
        return x


@pytest.mark.parametrize("times, message", [(3, "runs more often"), (1, "runs less often")])
def test_paired_moments_of_networks_that_run_otherwise_are_refused(times, message):
    with pytest.raises(InputError, match=f"layer conv {message} than in the dense network"):
        paired_moments(Again(times), Again(2), [torch.randn(2, 2, 4, 4)], "conv")


def test_paired_moments_are_of_the_input_before_it_is_changed_in_place():
    """Here the activation behind the layer overwrites what the layer read."""

    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            y = x + 0
            z = self.conv(y)
            return z + y.zero_()

    model, batch = Overwriting(), torch.randn(4, 2, 3, 3)
    moments = paired_moments(model, copy.deepcopy(model), [batch], "conv")
    assert moments.second.any()
    assert np.allclose(moments.second, moments.cross)


@pytest.mark.parametrize("sampled", [False, True])
def test_images_of_many_patches_are_sampled_if_wanted(sampled, monkeypatch):
    monkeypatch.setattr("rankfold.calibration.moment_sums.WORK", 0)
    sums = MomentSums(sampled=sampled)
    sums.add(nn.Conv2d(2, 2, 1), torch.randn(3, 2, 5, 5))
    assert sums.count == 3 * (FEWEST if sampled else 25)


def test_inputs_of_several_tensors_and_by_name():
    model, first, second = TwoInputs(), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    plain = patch_moments(nn.Sequential(model.conv), [first + second], ["0"])["0"]
    for batch in ((first, second), {"a": first, "b": second}):
        found = patch_moments(model, [batch], ["conv"])["conv"]
        assert np.array_equal(found.second, plain.second)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, a, b):
        return self.conv(a + b)


@pytest.mark.parametrize("sequential", [False, True])
def test_factors_for_data_keep_the_output_better_than_plain_ones(sequential):
    model = small()
    inputs = torch.randn(64, 3, 9, 9) * torch.tensor([4.0, 1.0, 0.1])[:, None, None]
    plan = uniform_plan(
        trace(model, (3, 9, 9), "small"), ArraySpec(16, 16), LowRank(rank=3, groups=2, force=True)
    )
    model.requires_grad_(False)
    wanted = model(inputs)
    lost = {}
    for name, change in (
        ("plain", compress_),
        ("data", lambda m, p: compress_on_data_(m, p, inputs.split(16), sequential=sequential)),
    ):
        changed = copy.deepcopy(model)
        reports = change(changed, plan)
        lost[name] = float((changed(inputs) - wanted).detach().norm() / wanted.norm())
        assert [report.name for report in reports] == [layer.name for layer in plan.layers]
        for report in reports:
            assert (report.output_error is not None) == (name == "data" and report.kind.name == "low-rank")
    assert lost["data"] < 0.9 * lost["plain"]


@pytest.mark.parametrize("paired", [False, True])
def test_inputs_that_never_change_have_no_centred_moments(paired):
    """Not even those of rounding, from which no factors could be made.

    The layer is decomposed as if nothing were known.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 1))
    inputs = torch.tensor([0.3, 1e3, 0.0, 7e-4])[:, None, None].expand(50, 4, 7, 7)
    moments = (
        paired_moments(model, copy.deepcopy(model), [inputs], "0")
        if paired
        else patch_moments(model, [inputs], ["0"])["0"]
    )
    centred = moments.centred()
    assert not centred.second.any()
    assert not paired or not centred.cross.any()
    weight = model[0].weight.detach().double().numpy()
    found = decompose_for_data(weight, 1, 1, 2, centred.second, cross=centred.cross)
    assert np.allclose(reconstruct(found, 1, 1), reconstruct(decompose(weight, 1, 1, 2), 1, 1))


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(input=x)


def test_a_convolution_that_is_called_by_keyword():
    model, batch = Keyword(), torch.randn(2, 3, 6, 6)
    plain = patch_moments(nn.Sequential(model.conv), [batch], ["0"])["0"]
    assert np.array_equal(patch_moments(model, [batch], ["conv"])["conv"].second, plain.second)


class PartlyUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.used(x)


def test_what_is_refused():
    with pytest.raises(InputError, match="layer unused never ran on the calibration data"):
        patch_moments(PartlyUsed(), [torch.randn(1, 3, 4, 4)], ["used", "unused"])
    with pytest.raises(InputError, match=r"layer 1 of the network is no nn.Conv2d"):
        patch_moments(small(), [torch.randn(1, 3, 9, 9)], ["1"])
    with pytest.raises(InputError, match="layer 2 never ran"):
        patch_moments(small(), [], ["2"])


@pytest.mark.parametrize("sampled", [False, True])
def test_moments_of_small_windows_are_blocks_of_those_of_large_ones(sampled, monkeypatch):
    """They are those of windows that are gathered by themselves, also on planes that no window divides."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 0), groups=2)
    windows = [(4, 2), (2, 4), (2, 2), (1, 4), (1, 2), (2, 1), (3, 1)]
    runs = [torch.randn(3, 4, *plane) for plane in [(5, 15), (4, 8), (1, 3)]]
    views = {window: WindowView.of(conv, window) for window in windows}
    gathered, add, readers = WindowMoments(conv, windows), MomentSums.add, []
    if sampled:  # of the first run, so that all windows are gathered by themselves there
        monkeypatch.setattr(MomentSums, "takes_all", lambda layer, inputs: inputs.shape[2] != 5)
    with monkeypatch.context() as patch:
        patch.setattr(MomentSums, "add", lambda *given: readers.append(given[1]) or add(*given))
        for images in runs:
            gathered.add(images)
    # Three windows are in no other one, and hold the layer's own patches; one that held all would be large.
    assert len(readers) == 8 * sampled + 3 * (3 - sampled)
    for window, view in views.items():
        sums = MomentSums()
        for images in runs:
            sums.add(view.reader, images)
        wanted, found = sums.moments(), gathered.moments(window)
        assert np.allclose(found.second, wanted.second, rtol=1e-12, atol=1e-12)
        assert np.allclose(found.mean, wanted.mean, rtol=1e-12, atol=1e-12)
        assert len(found.by_pixel) == len(wanted.by_pixel) > 0
        by_pixels = {tuple(part.pixels): part for part in found.by_pixel}
        for part in wanted.by_pixel:
            other = by_pixels[tuple(part.pixels)]
            assert other.share == pytest.approx(part.share)
            assert np.allclose(other.moments.second, part.moments.second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("windows", [((2, 2), (4, 1), (1, 4)), ((2, 1), (1, 2)), ((3, 2),), ()])
@pytest.mark.parametrize("dilation", [1, 2])
def test_one_window_gives_the_moments_of_all_where_that_is_less_work(windows, dilation, monkeypatch):
    """And those of the layer's own patches, which leave out what lies between dilated taps."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=dilation, dilation=dilation, groups=2)
    runs = [torch.randn(3, 4, *plane) + 1 for plane in [(8, 8), (7, 9), (2, 3)]]
    gathered, add, readers = WindowMoments(conv, windows), MomentSums.add, []
    with monkeypatch.context() as patch:
        patch.setattr(MomentSums, "add", lambda *given: readers.append(given[1]) or add(*given))
        for images in runs:
            gathered.add(images)
    # On the largest plane: 4x4 pixels, 2x2 pixels, the only window there is, and no window at all.
    assert isinstance(readers[0], Cut) == bool(windows)
    if len(windows) > 1 and dilation == 1:
        assert readers[0].layer.stride == ((4, 4) if len(windows) == 3 else (2, 2))
    own, wanted = gathered.own().moments(), MomentSums()
    for images in runs:
        wanted.add(conv, images)
    assert np.allclose(own.second, wanted.moments().second, rtol=1e-12, atol=1e-12)
    assert np.allclose(own.mean, wanted.moments().mean, rtol=1e-12, atol=1e-12)
    for window, view in gathered.views.items():
        of_window = MomentSums()
        for images in runs:
            of_window.add(view.reader, images)
        found = gathered.moments(window)
        assert np.allclose(found.second, of_window.moments().second, rtol=1e-12, atol=1e-12)
        assert len(found.by_pixel) == len(of_window.moments().by_pixel)


def test_windows_without_a_small_common_multiple_are_gathered_by_themselves():
    """A window that held all of these would have more pixels than memory has; layers of few outputs ask."""
    conv = nn.Conv2d(2, 2, 3, padding=1)
    windows, images = [(number, number) for number in (7, 8, 9, 11, 13)], torch.randn(2, 2, 20, 20)
    gathered = WindowMoments(conv, windows)
    gathered.add(images)
    for window in windows:
        alone = MomentSums()
        alone.add(gathered.views[window].reader, images)
        wanted = alone.moments().second
        assert np.allclose(gathered.moments(window).second, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("plane", [(4, 4), (5, 7), (8, 3), (13, 11), (1, 20)])
def test_all_patches_are_taken_where_it_is_said_so(plane, window, monkeypatch):
    """More than 16 patches of an image are a sample where they cost too much."""
    monkeypatch.setattr("rankfold.calibration.moment_sums.WORK", 30 * 36**2)
    conv = nn.Conv2d(4, 2, 3, padding=1)
    view, images, sums = WindowView.of(conv, window), torch.zeros(1, 4, *plane), MomentSums()
    sums.add(view.reader, images)
    every = -(-plane[0] // window[0]) * -(-plane[1] // window[1])
    assert MomentSums.takes_all(view.reader, images) == (sums.count == every)
