"""What errors of outputs count together: second moments of gradients, told by windows."""

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.importance import FLOOR, IMAGES, output_importance, with_floor
from rankfold.calibration.network_sensitivities import sensitivities
from rankfold.calibration.output_choice import known_output_loss
from rankfold.nn.window import WindowConv2d


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


@pytest.mark.parametrize("window", [(1, 1), (2, 3)])
def test_it_adds_up_over_pixels_to_what_sensitivities_know(window) -> None:
    model, images = network(), torch.randn(IMAGES + 6, 2, 7, 7)
    layer = WindowConv2d(model[0], window)
    batches = [images[:IMAGES], images[IMAGES:]]
    found = output_importance(model, batches, {"0": [layer.by_window]})["0"][0]
    known = sensitivities(model, batches, ["0"])["0"]
    # (G, a*b, m/G, a*b, m/G), of which pixels with themselves make up the plane.
    pixels = window[0] * window[1]
    windows = -(-7 // window[0]) * -(-7 // window[1])
    split = found.reshape(2, pixels, 2, pixels, 2)
    of_image = np.einsum("gpipj->gij", split) * windows
    expected = known.gradient * known.positions
    np.testing.assert_allclose(of_image, expected, rtol=1e-5)
    assert np.allclose(found, found.swapaxes(1, 2))
    assert np.linalg.eigvalsh(with_floor(found)).min() > 0


def test_outputs_that_nothing_depends_on_count_alike() -> None:
    model = network()
    nn.init.zeros_(model[4].weight)
    layer = WindowConv2d(model[0], (2, 2))
    found = output_importance(model, [torch.randn(4, 2, 6, 6)], {"0": [layer.by_window]})["0"][0]
    assert np.array_equal(with_floor(found), np.stack([np.eye(8)] * 2))


def test_an_output_counts_as_it_does_where_it_is() -> None:
    random = np.random.default_rng(0)
    gradients = random.standard_normal((2, 3, 400))  # (G, m'/G, patches)
    there = np.array([400, 100, 100, 200, 400, 200])  # patches that have each output
    for output, last in enumerate(there):
        gradients[output // 3, output % 3, last:] = 0
    found = with_floor(gradients @ gradients.swapaxes(1, 2) / 400, there / 400)
    for group, (first, second) in enumerate([(1, 2), (0, 2)]):  # outputs of the same patches
        count = there[3 * group + first]
        inside = gradients[group][:, :count]
        own = np.square(gradients[group]).sum(1) / there.reshape(2, 3)[group]
        assert np.allclose(found[group, first, second], inside[first] @ inside[second] / count)
        assert np.allclose(np.diag(found[group]), own + FLOOR * own.mean())


def test_values_tell_by_how_much_they_vary() -> None:
    """An output that varies ten times as much counts a tenth, and errors add up to those of all outputs."""
    model, images = network()[:3], torch.randn(40, 2, 6, 6)
    layer = WindowConv2d(model[0], (1, 1))
    loss = known_output_loss(model, [images])
    found = np.diagonal(
        output_importance(model, [images], {"0": [layer.by_window]}, loss=loss)["0"][0], 0, 1, 2
    )
    model[0].weight.data[:2] *= 10
    model[0].bias.data[:2] *= 10
    loss = known_output_loss(model, [images])
    less = np.diagonal(
        output_importance(model, [images], {"0": [layer.by_window]}, loss=loss)["0"][0], 0, 1, 2
    )
    np.testing.assert_allclose(found[0] / less[0], 100, rtol=1e-3)
    np.testing.assert_allclose(found[1], less[1], rtol=1e-3)
