"""`padding_sides`: what a convolution of torch pads, on each side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def padding_sides(convolution: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros, or copies, (left, right, top, bottom), in the order of `torch.nn.functional.pad`.

    Args:
        convolution: with any padding that torch knows, `same` too.
    """
    # Private, and the one place where torch keeps `same` resolved: the last axis comes first.
    left, right, top, bottom = convolution._reversed_padding_repeated_twice
    return left, right, top, bottom
