"""Supports in plans: the kernel positions that all outputs of a layer share, as text and as masks."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank import check_rank
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

PATTERN = "^[0-9a-f]+( [0-9a-f]+)*$"  # of a support as text
# JSON Schema searches, so that it needs the anchors; `fullmatch` does not.
WORDS = re.compile(PATTERN[1:-1])
SMALL_KERNEL = 62  # positions that fit into one machine word


def support_to_text(support: np.ndarray) -> str:
    """The positions as one hexadecimal number for each input channel, separated by blanks.

    The lowest bit is the first position, row by row: `11` is the upper left one and the middle one of a 3x3
    kernel.

    Args:
        support: (C_in, kh*kw) booleans.
    """
    return " ".join(f"{sum(1 << int(bit) for bit in np.flatnonzero(row)):x}" for row in support)


def text_to_support(text: str, shape: ConvShape) -> np.ndarray:
    """Read what `support_to_text` wrote.

    Args:
        text: the positions.
        shape: the layer.

    Returns:
        (C_in, kh*kw) booleans.

    Raises:
        InputError: it is no such text, is for another number of input channels or a smaller kernel, or keeps
            nothing.
    """
    # First, as `int` takes signs, underscores and `0x` too, and one support could be written in many ways.
    if not WORDS.fullmatch(text):
        raise InputError(
            f"layer {shape.name}: support must be hexadecimal numbers separated by single blanks, such as "
            "`1f 1b a3`"
        )
    numbers = [int(word, 16) for word in text.split(" ")]
    positions = shape.kernel[0] * shape.kernel[1]
    if len(numbers) != shape.in_channels:
        raise InputError(
            f"layer {shape.name}: support is for {len(numbers)} input channels, the layer has "
            f"{shape.in_channels}; give one number for each"
        )
    # The largest number alone tells whether any has a bit too many, or whether all are zero.
    most = max(numbers)
    if most >= 1 << positions:
        raise InputError(
            f"layer {shape.name}: support number {most:x} means positions beyond the {positions} of its "
            "kernel"
        )
    # Single channels may keep nothing, but a layer without any input would be no layer.
    if most == 0:
        raise InputError(f"layer {shape.name}: support must keep at least one position of one input channel")
    # (C_in, kh*kw), the lowest bit in the first column.
    return np.array([[number >> bit & 1 for bit in range(positions)] for number in numbers], bool)


def support_to_mask(support: np.ndarray, outputs: int, groups: int, kernel: Pair) -> np.ndarray:
    """The mask of a weight whose outputs all keep the positions of `support`.

    Args:
        support: (C_in, kh*kw) booleans.
        outputs: m, or G*g*r for the first stage of a low-rank pair.
        groups: G, or G*g for the first stage of a low-rank pair.
        kernel: (kh, kw).

    Returns:
        (outputs, C_in/groups, kh, kw) booleans.
    """
    blocks = support.reshape(groups, 1, -1)  # (groups, 1, C_in/groups * kh*kw)
    # Each output of a group gets the positions of the group's own inputs.
    return np.repeat(blocks, outputs // groups, axis=1).reshape(outputs, -1, *kernel)


def mask_to_support(mask: np.ndarray, groups: int) -> np.ndarray:
    """(C_in, kh*kw) the positions of each input channel that any output of its group keeps.

    Args:
        mask: (outputs, C_in/groups, kh, kw) booleans.
        groups: of the convolution.
    """
    outputs, channels, kh, kw = mask.shape
    # (groups, outputs/groups, C_in/groups, kh*kw), joined over the outputs of a group.
    kept = np.logical_or.reduce(mask.reshape(groups, outputs // groups, channels, kh * kw), axis=1)
    return np.asarray(kept).reshape(groups * channels, kh * kw)


def check_entries(shape: ConvShape, entries: int) -> None:
    """Refuse patterns or supports that a layer cannot have.

    Raises:
        InputError: the layer is no convolution, or `entries` is not below the positions of its kernel.
    """
    positions = shape.kernel[0] * shape.kernel[1]
    if shape.is_linear or not 1 <= entries < positions:
        what = f"its kernel has {positions} positions"
        if shape.is_linear:
            # Its single position cannot be dropped, whatever e is.
            what = "it is a fully connected layer"
        raise InputError(
            f"layer {shape.name}: entries (={entries}) must be at least 1 and fewer than a kernel has "
            f"positions; {what}"
        )


def row_sparse_rank(shape: ConvShape, groups: int, entries: int) -> int:
    """The largest useful rank of a block whose R_ keeps `entries` positions of each input channel: min(m/G,
    C_in/(G*g) * e).
    """
    # A block of R_ has e columns that are not zero for each of its input channels.
    return min(shape.m // shape.groups, shape.in_channels // (shape.groups * groups) * entries)


def check_row_sparse(shape: ConvShape, groups: int, rank: int, entries: int) -> None:
    """Refuse a (g, r, e) that the layer cannot have.

    Raises:
        InputError: (g, r) or e alone do not fit the layer, or the rank is above what e positions can have.
    """
    check_rank(shape, groups, rank)
    check_entries(shape, entries)
    most = row_sparse_rank(shape, groups, entries)
    if rank > most:
        raise InputError(
            f"layer {shape.name}: rank (={rank}) must be at most {most}, the full rank with {groups} groups "
            f"and {entries} positions of each input channel"
        )


def check_support(shape: ConvShape, entries: int, text: str) -> None:
    """Refuse a support that does not fit its layer.

    Raises:
        InputError: see `text_to_support`; or no input channel keeps just `entries` positions, or one keeps
            more.
    """
    # Single channels may keep fewer: e is the largest number.
    most = int(text_to_support(text, shape).sum(axis=1).max())
    if most != entries:
        raise InputError(
            f"layer {shape.name}: entries (={entries}) must be the most positions that its support keeps of "
            f"an input channel, {most}"
        )


def check_support_words(text: str) -> None:
    """Refuse a text that is no support of any layer.

    Raises:
        InputError: it is not made of hexadecimal numbers.
    """
    if not WORDS.fullmatch(text):
        raise InputError("support must be hexadecimal numbers separated by single blanks")


def support_mark(text: str | None) -> str:
    """`*` where all input channels keep the same positions, else nothing."""
    if text is not None and len(set(text.split(" "))) == 1:
        return "*"
    return ""


def is_within(inner: str | None, outer: str | None) -> bool:
    """Whether every position of one support is in another; False where either is not known, or is what else
    some kind of layer has in the place of a support.
    """
    return inner is not None and outer is not None and _is_within(inner, outer)


# The planner asks for the same supports again and again.
@lru_cache(maxsize=1 << 14)
def _is_within(inner: str, outer: str) -> bool:
    if not (WORDS.fullmatch(inner) and WORDS.fullmatch(outer)):
        return False
    small, large = _numbers(inner), _numbers(outer)
    # Supports of different lengths are of different layers. Both operators also work on Python's integers.
    return small.shape == large.shape and not np.any(small & ~large)


@lru_cache(maxsize=256)
def _numbers(text: str) -> np.ndarray:
    """(C_in,) the positions of each channel as one number each; Python's own where 64 bits are too few."""
    numbers = [int(word, 16) for word in text.split(" ")]
    if max(numbers) < 1 << SMALL_KERNEL:
        return np.array(numbers, dtype=np.int64)
    return np.array(numbers, dtype=object)
