"""Test images moved by some pixels: what a network keeps that computes whole windows, not single pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rankfold.arguments import WHOLE, takes
from rankfold.errors import InputError
from rankfold.training.data import ImageData

# (down, right): along the sides, and along the diagonals.
DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (1, -1), (-1, -1), (-1, 1))


@takes(pixels=WHOLE)
def shifted_test(data: ImageData, pixels: int) -> ImageData:
    """The same data, whose test images are moved; the training split stays.

    Image i moves in direction i modulo 8 of `DIRECTIONS`, so that one pass over the images is a mean over all
    directions. What comes in at a border is the image's reflection there, as in the crops of training.

    Args:
        data: images.
        pixels: by how many, along a side, or along both sides at once; 0: as they are.

    Raises:
        InputError: `pixels` is negative, an image has no more pixels along a side, or images have targets
            beside them, which may be of places.
    """
    _, height, width = data.input_size
    if not 0 <= pixels < min(height, width):
        raise InputError(
            f"shift (={pixels}) must be 0 or more pixels, and fewer than images of {height}x{width} have "
            "along a side"
        )
    if pixels == 0:
        return data
    if data.test.targets is not None:
        raise InputError("a shift moves images, and not the targets beside them; omit it")
    moved = np.array(data.test.images)  # (N, H, W, C)
    for start, direction in enumerate(DIRECTIONS):
        own = moved[start :: len(DIRECTIONS)]
        own[:] = _moved(own, pixels * direction[0], pixels * direction[1])
    return replace(data, test=replace(data.test, images=moved))


def _moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """(N, H, W, C) images of which pixel (y, x) was at (y - down, x - right)."""
    _, height, width, _ = images.shape
    tall, wide = abs(down), abs(right)
    padded = np.pad(images, ((0, 0), (tall, tall), (wide, wide), (0, 0)), mode="reflect")
    return padded[:, tall - down : tall - down + height, wide - right : wide - right + width]
