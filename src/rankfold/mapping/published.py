"""How the authors of PAIRS and GAROS count cycles in the code that they published.

A layer of C_in input and m output channels has one square window of N = a * a outputs, which covers p x p
inputs, p = a + 2. It is the largest that fits a large array (512x256, or 2048x1024) as Zhang et al. (2020)
say: with no more tiles than one pixel at a time takes there. The matrix of that window is then cut into the
rows and columns of the array in question, whatever its size:

    cycles = windows * ceil(rows / R) * ceil(N m / C),    windows = ceil(OH / a) * ceil(OW / a)

where rows are the inputs, of C_in * p * p, that any output channel's kept positions read under any of the N
shifts, and OH x OW is the plane without padding. No tile is left out, even one that would hold nothing. Only
3x3 layers of stride 1 with as many outputs as inputs count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.layer import map_layer
from rankfold.mapping.strips import ceil
from rankfold.workload.shape import ConvShape, Pair

KERNEL = (3, 3)


@dataclass(frozen=True)
class PublishedCount:
    """What a layer costs in the published reading.

    Attributes:
        window: (a, b) outputs of a window.
        cycles: activations per image.
        conversions: columns converted by ADCs per image; of the formula, all N m for each row tile.
    """

    window: Pair
    cycles: int
    conversions: int


def is_counted(shape: ConvShape) -> bool:
    """Whether a layer counts in the published reading: 3x3, stride 1, as many outputs as inputs."""
    plain = shape.stride == (1, 1) and shape.dilation == (1, 1) and shape.groups == 1
    # Without padding, a smaller plane has no output.
    large_enough = min(shape.input) >= max(KERNEL)
    return plain and large_enough and shape.kernel == KERNEL and shape.in_channels == shape.m


def published_window(shape: ConvShape, large: ArraySpec) -> Pair:
    """(a, a), the window that is found for a large array.

    Args:
        shape: the layer, with or without padding.
        large: R x C of the large array.
    """
    return map_layer(shape.without_padding(), large, "sdk").window


def published_count(
    shape: ConvShape,
    array: ArraySpec,
    window: Pair,
    mask: np.ndarray | None = None,
) -> PublishedCount:
    """The count of a layer that is stored as one matrix.

    Args:
        shape: the layer, with or without padding.
        array: R x C, columns counted in weights.
        window: (a, b), from `published_window`.
        mask: (m, C_in/G, kh, kw) booleans, the weights that are kept; None: all.

    Raises:
        InputError: the mask does not fit the layer.
    """
    bare = shape.without_padding()
    if mask is None:
        mask = np.ones((shape.m, shape.in_channels // shape.groups, *shape.kernel), bool)
    if mask.shape != (shape.m, shape.in_channels // shape.groups, *shape.kernel):
        raise InputError(f"layer {shape.name}: mask (={mask.shape}) must have the shape of its weight")
    kept = np.logical_or.reduce(mask, axis=0)  # (C_in, kh, kw): a row stays where any output needs it
    rows = int(_inputs_read(kept, window).sum())
    columns = window[0] * window[1] * shape.m
    down, across = (int(ceil(size, step)) for size, step in zip(bare.output, window, strict=True))
    activations = down * across * int(ceil(rows, array.rows))
    return PublishedCount(window, activations * int(ceil(columns, array.columns)), activations * columns)


def _inputs_read(kept: np.ndarray, window: Pair) -> np.ndarray:
    """(C_in, ph, pw) booleans, the inputs of a window that any of its pixels reads.

    Args:
        kept: (C_in, kh, kw) booleans.
        window: (a, b) outputs.
    """
    channels, height, width = kept.shape
    a, b = window
    read = np.zeros((channels, a + height - 1, b + width - 1), bool)
    for down in range(a):
        for across in range(b):
            read[:, down : down + height, across : across + width] |= kept
    return read
