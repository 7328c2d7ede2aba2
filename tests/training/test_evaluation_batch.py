"""Batches of large images, whose activations take memory, hold fewer of them."""

import pytest
import torch

from rankfold.training.batches import EVALUATION_BATCH, evaluation_batch
from rankfold.training.data import load_images


@pytest.mark.parametrize("side", [1, 8, 32, 64, 65, 224, 5000])
def test_pixels_in_a_batch_are_bounded(side):
    size = evaluation_batch(side, side)
    assert 1 <= size <= EVALUATION_BATCH
    assert size == 1 or size * side * side <= EVALUATION_BATCH * 64 * 64
    assert side > 64 or size == EVALUATION_BATCH


def test_calibration_sees_the_same_images_in_smaller_batches():
    data = load_images("digits", (72, 72))
    batches = list(data.calibration_batches(400, torch.device("cpu")))
    assert [len(batch) for batch in batches] == [395, 5]
    assert max(len(labels) for _, labels in data.test_batches(torch.device("cpu"))) <= 395
