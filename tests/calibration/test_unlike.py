"""Data that are scaled otherwise than those that a network was trained on are told of."""

import pytest
import torch
from torch import nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.unlike import unlike_training_in_words


@pytest.fixture(scope="module")
def images():
    return torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture(scope="module")
def trained(images):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    )
    reestimate_batch_norm_(model, [images])
    return model.train()


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_like_data_are_passed_over(trained, images, factor):
    assert unlike_training_in_words(trained, [factor * images]) is None
    assert trained.training


@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: x / 255 - 3, lambda x: x + 10])
def test_other_ranges_are_told(trained, images, change):
    assert "batch norm 1 sees values" in unlike_training_in_words(trained, [change(images)])


def test_without_statistics_nothing_is_known(images):
    assert unlike_training_in_words(nn.Conv2d(3, 6, 3), [255 * images]) is None
