"""`ResidentImages`: a training split that a device holds, whose batches are one gather each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rankfold.training.augmentation import Augmentation
from rankfold.training.data import ImageData


class ResidentImages:
    """Decoded images and their labels on a device; several trainings may share them.

    Args:
        data: of which the training split is held.
        device: what holds it.
    """

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.device = device
        # Copies: torch warns of memory that cannot be written to, as that of a mapped file.
        self._images = torch.from_numpy(np.array(data.train.images)).to(device)  # (N, H, W, C) uint8
        self._labels = torch.from_numpy(np.array(data.train.labels)).to(device)  # (N,) int64
        _, height, width = data.input_size
        # For its border and its moments; what is drawn comes with each batch.
        self._augmentation = Augmentation(
            data.mean,
            data.std,
            size=(height, width),
            images=0,
            device=device,
            augment="none",
            seed=0,
        )

    def batch(self, places: Tensor, offsets: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """The batch that `Batches` makes of the same draws, to the last bit; (B, C, H, W), labels (B,).

        A pixel of a crop is a pixel of the image, reflected where the crop reaches beyond it, so that crop
        and mirror image are a matter of which rows and columns are read. Nothing is read back to the host,
        and no shape depends on a value.

        Args:
            places: (B,) int64 of the images in the split, on the device.
            offsets: (2, B) int64, first row and column of each crop in the padded image.
            mirrored: (B,) bool.
        """
        _, height, width, _ = self._images.shape
        border = self._augmentation.border
        rows = _reflected(self._along(height) + offsets[0, :, None] - border, height)  # (B, H)
        columns = self._along(width).expand(len(places), width)
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
        columns = _reflected(columns + offsets[1, :, None] - border, width)  # (B, W)
        pixels = self._images[places[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = pixels.permute(0, 3, 1, 2)  # (B, C, H, W), channels last in memory
        return self._augmentation.normalised(images), self._labels[places]

    def _along(self, size: int) -> Tensor:
        return torch.arange(size, device=self.device)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places along an axis, those beyond its ends reflected at the pixels of the ends."""
    last = size - 1
    return last - (last - places.abs()).abs()
