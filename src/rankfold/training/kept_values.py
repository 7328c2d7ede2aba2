"""Values of many samples, kept while a block is trained: in memory, or in a file where they are many."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MEMORY = 1 << 29  # bytes of the values of a block's inputs, and as many of its outputs


class KeptValues:
    """One tensor of values for each sample, filled batch by batch.

    Args:
        samples: how many there are.
        folder: where a file is made for values that do not fit; None: where the system keeps temporary files.
            The file has no name, so that nothing of it is left whatever ends the process.
        memory: bytes that may be kept in memory; None: `MEMORY`.

    Attributes:
        samples: how many there are.
    """

    def __init__(self, samples: int, folder: Path | None = None, memory: int | None = None) -> None:
        self.samples = samples
        self._folder = folder
        self._memory = MEMORY if memory is None else memory
        self._values: Tensor | None = None
        self._filled = 0

    def add(self, values: Tensor) -> None:
        """Keep the values (B, ...) of the next samples."""
        if self._values is None:
            self._values = self._room(values)
        self._values[self._filled : self._filled + len(values)] = values
        self._filled += len(values)

    def of(self, samples: Tensor | slice, device: torch.device) -> Tensor:
        """The values (B, ...) of some samples, on a device."""
        assert self._values is not None  # filled before
        return self._values[samples].to(device)

    def _room(self, values: Tensor) -> Tensor:
        shape = self.samples, *values.shape[1:]
        if math.prod(shape) * values.element_size() <= self._memory:
            return torch.empty(shape, dtype=values.dtype)
        kind = torch.empty(0, dtype=values.dtype).numpy().dtype
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return torch.from_numpy(np.memmap(file, kind, "w+", shape=shape))
