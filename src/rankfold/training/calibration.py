"""The images that a run calibrates on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rankfold.calibration.samples import CALIBRATION_IMAGES
from rankfold.training.batches import Batches, evaluation_batch
from rankfold.training.data import ImageData


class CalibrationImages:
    """Training images without augmentation, in batches (B, C, H, W) to be gone through again and again.

    The same data and seed give the same images; of two numbers of images, the smaller are among the larger.

    Args:
        data: where they come from.
        device: where the batches arrive.
        seed: which images are drawn.
        images: how many; all, if there are fewer.
    """

    def __init__(
        self, data: ImageData, device: torch.device, seed: int, images: int = CALIBRATION_IMAGES
    ) -> None:
        split = data.train.sample(images, seed)
        size = evaluation_batch(*data.input_size[1:])
        self._batches = Batches(split, data.mean, data.std, size, device)

    def __iter__(self) -> Iterator[Tensor]:
        for inputs, _ in self._batches.epoch():
            yield inputs
