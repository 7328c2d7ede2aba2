"""What rounding the inputs of a layer costs: the second order of the loss, image by image."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.backward import Backward
from rankfold.calibration.input_rounding import input_rounding
from rankfold.calibration.quantisers import calibrate_
from rankfold.errors import InputError
from rankfold.nn.quantised import LayerBits, replace_by_quantised_

WIDTHS = (2, 5)


class Twice(nn.Module):
    """A convolution that runs twice for each image, and one in groups."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.twice = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", bias=False)
        self.grouped = nn.Conv2d(4, 6, 3, stride=2, groups=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(self.grouped(x).mean((2, 3)))


def brute_force(model, batches, name, bits, corrected):
    """1/2 E[s^2], image by image, with the quantisers that `calibrate_` fits."""
    quantised = Twice()
    replace_by_quantised_(quantised, {name: LayerBits(8, bits, name == "twice")})
    calibrate_(quantised, batches)
    layer, quantiser = model.get_submodule(name), quantised.get_submodule(name).input_quantiser
    slopes, errors = [], []
    for _, runs, images in Backward(model, batches, [name], 0, 4.0):
        for image in range(images):
            slopes.append([run.gradient[image] for run in runs])
            wrong = [quantiser(run.inputs[image : image + 1]) - run.inputs[image : image + 1] for run in runs]
            with torch.no_grad():
                errors.append([layer._conv_forward(one, layer.weight, None)[0] for one in wrong])
    mean = torch.stack([torch.stack(one) for one in errors]).mean((0, 1, 3, 4))[:, None, None]
    if not corrected:
        mean = torch.zeros_like(mean)
    total = 0.0
    for slope, error in zip(slopes, errors, strict=True):
        s = sum(float((g * (y - mean)).sum()) for g, y in zip(slope, error, strict=True))
        total += s**2
    return total / len(slopes) / 2


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("name", ["twice", "grouped"])
def test_losses_are_those_of_every_image(name, corrected):
    model = Twice().eval()
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randn(count, 4, 7, 7, generator=draw) for count in (5, 3)]
    found = input_rounding(model, batches, {name: WIDTHS}, [name] if corrected else [])[name]
    for bits in WIDTHS:
        wanted = brute_force(model, batches, name, bits, corrected)
        assert found.losses[bits] == pytest.approx(wanted, rel=1e-4)
        assert found.errors[bits].shape == (4,) and (found.errors[bits] > 0).all()
    assert found.losses[2] > found.losses[5] > 0


def test_a_layer_that_never_runs():
    model = Twice()
    model.idle = nn.Conv2d(4, 4, 3)
    with pytest.raises(InputError, match="layer 'idle': the model never calls it"):
        input_rounding(model, [torch.zeros(1, 4, 7, 7)], {"idle": WIDTHS}, [])
