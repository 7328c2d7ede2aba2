"""Stored arrays of files as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """The same numbers as a tensor; floats of 16 bits become float32, in which networks are computed here."""
    # NumPy knows bfloat16 by another package's type alone, which is of no kind of its own.
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return torch.tensor(array)
