"""`Stretch`: what the next steps of a training are made of, as tables that a device reads by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rankfold.training.batches import Batches


class Row(NamedTuple):
    """What one step is made of.

    Attributes:
        places: (B,) int64 of the images in the split.
        offsets: (2, B) int64 of the crops.
        mirrored: (B,) bool.
        rate: learning rate, shape (), float32.
    """

    places: Tensor
    offsets: Tensor
    mirrored: Tensor
    rate: Tensor


class Stretch:
    """Tables with a row for each of the next steps, and the number of the step that is next, on a device.

    Their places in memory stay the same, so that a recorded step finds the rows of each stretch there.

    Args:
        steps: S, the most of a stretch.
        batch_size: B.
        device: what reads them.
    """

    def __init__(self, steps: int, batch_size: int, device: torch.device) -> None:
        self._places = torch.zeros(steps, batch_size, dtype=torch.int64, device=device)
        self._offsets = torch.zeros(steps, 2, batch_size, dtype=torch.int64, device=device)
        self._mirrored = torch.zeros(steps, batch_size, dtype=torch.bool, device=device)
        self._rates = torch.zeros(steps, device=device)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)

    def fill_(self, batches: Batches, epoch: int, first: int, rates: Sequence[float]) -> None:
        """Make batches of an epoch, from the number `first` on, the next ones: one for each of the rates."""
        places: list[Tensor] = []
        offsets: list[Tensor] = []
        mirrored: list[Tensor] = []
        for index, crops in batches.drawn(epoch, first):
            if len(places) == len(rates):
                break
            places.append(index)
            offsets.append(batches.augmentation.crops(crops))
            mirrored.append(batches.augmentation.mirrored(index, epoch))
        count = len(rates)
        self._places[:count].copy_(torch.stack(places))
        self._offsets[:count].copy_(torch.stack(offsets))
        self._mirrored[:count].copy_(torch.stack(mirrored))
        self._rates[:count].copy_(torch.tensor(rates))
        self._number.zero_()

    def row(self) -> Row:
        """That of the step that is next, found by the device."""
        tables = (self._places, self._offsets, self._mirrored, self._rates)
        return Row(*(table.index_select(0, self._number).squeeze(0) for table in tables))

    def advance_(self) -> None:
        """The step is done."""
        self._number.add_(1)
