"""Test images that are moved."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.training.data import ImageSplit, load_images
from rankfold.training.shift import DIRECTIONS, shifted_test


def mirrored(place, size):
    """The place inside a row of pixels that a place outside reflects."""
    return size - 1 - abs(size - 1 - abs(place))


@given(st.integers(0, 4), st.integers(0, 2**31))
def test_every_pixel_comes_from_where_it_was(pixels, seed):
    digits = load_images("digits")
    images = np.random.default_rng(seed).integers(0, 256, (10, 8, 8, 1), np.uint8)
    data = replace(digits, test=ImageSplit(images, digits.test.labels[:10]))
    moved = shifted_test(data, pixels).test
    assert moved.labels is data.test.labels
    for number, image in enumerate(moved.images):
        down, right = DIRECTIONS[number % 8]
        for y in range(8):
            for x in range(8):
                source = mirrored(y - pixels * down, 8), mirrored(x - pixels * right, 8)
                assert image[y, x] == images[number][source]


def test_training_images_stay():
    data = load_images("digits")
    assert shifted_test(data, 2).train is data.train


@pytest.mark.parametrize("pixels", [-1, 8])
def test_shifts_as_large_as_an_image_are_refused(pixels):
    with pytest.raises(InputError, match=rf"shift \(={pixels}\) must be 0 or more pixels, and fewer"):
        shifted_test(load_images("digits"), pixels)
