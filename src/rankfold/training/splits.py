"""What image data consist of: splits by name, decoded images and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DIGITS = "digits"
SPLITS = ("train", "test")
TEST_SPLITS = ("test", "validation", "val")
HELD_OUT = 5  # of images without labels every so many-th is measured on

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (N, H, W, C), labels int64 (N,)
Size = tuple[int, int]


@dataclass(frozen=True)
class Decoded:
    """All images of a source.

    Attributes:
        classes: class names, in label order; none of images without labels.
        splits: the images and labels of `train` and of `test`.
    """

    classes: list[str]
    splits: dict[str, Arrays]


def first_of(names: Iterable[str], there: Mapping[str, Any]) -> str | None:
    """The first of some names that is there."""
    for name in names:
        if name in there:
            return name
    return None
