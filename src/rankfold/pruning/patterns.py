"""Patterns: which e of the kh*kw positions of a kernel are kept.

A weight is (m, C_in/G, kh, kw), a pattern (kh*kw,) booleans with e of them set, a mask has the weight's
shape.
"""

from __future__ import annotations

import numpy as np

from rankfold.errors import InputError

Array = np.ndarray

LIBRARY = 8  # patterns, the middle of the 6, 8 and 12 that Niu et al. (ASPLOS 2020) compare


def natural_patterns(energy: Array, entries: int) -> Array:
    """The e positions of most energy of each kernel; of equal ones the first.

    Args:
        energy: (K, kh*kw) squared weights of K kernels, or sums of them.
        entries: e, from 1 to kh*kw.

    Returns:
        (K, kh*kw) booleans.

    Raises:
        InputError: a kernel does not have so many positions.
    """
    positions = energy.shape[1]
    if not 1 <= entries <= positions:
        raise InputError(f"entries (={entries}) must lie between 1 and the {positions} positions of a kernel")
    # A stable sort keeps the first of equal ones first.
    order = np.argsort(-energy, axis=1, kind="stable")
    kept = np.zeros(energy.shape, bool)
    np.put_along_axis(
        kept,
        order[:, :entries],
        True,
        axis=1,
    )
    return kept


def pattern_library(natural: Array, size: int = LIBRARY) -> Array:
    """The most frequent natural patterns, the most frequent first; equals come in order of their positions.

    Args:
        natural: (K, kh*kw) booleans, the natural pattern of each kernel of a network.
        size: how many to keep; fewer are returned where there are no more.

    Returns:
        (L, kh*kw) booleans, all different.
    """
    patterns, counts = np.unique(natural, axis=0, return_counts=True)
    # `unique` sorts False first; reversed, patterns that keep early positions come first among equals.
    patterns = patterns[::-1]  # (P, kh*kw)
    counts = counts[::-1]
    order = np.argsort(-counts, kind="stable")
    return patterns[order[:size]]


def kernel_patterns(weight: Array, library: Array) -> Array:
    """PatDNN's assignment: each kernel takes the pattern of the library that keeps the most of its energy.

    Niu et al., "PatDNN" (ASPLOS 2020): the pattern nearest to the kernel in Euclidean distance.

    Args:
        weight: (m, C_in/G, kh, kw).
        library: (L, kh*kw) booleans.

    Returns:
        A mask of the weight's shape.
    """
    squares = np.square(weight, dtype=np.float64)
    energy = squares.reshape(-1, library.shape[1])  # (K, kh*kw)
    # What is nearest loses the least energy, and so keeps the most of it.
    kept = energy @ library.T.astype(np.float64)  # (K, L)
    chosen = kept.argmax(axis=1)
    return library[chosen].reshape(weight.shape)


def shared_patterns(
    weight: Array,
    library: Array,
    groups: int = 1,
    whole_layer: bool = False,
) -> Array:
    """All kernels of an input channel, or of the layer, take the pattern of a library that keeps the most.

    As the authors of PAIRS published it, with one pattern for each input channel (2023) or for the whole
    layer (2024); their PatDNN shares its natural patterns in the same way.

    Args:
        weight: (m, C_in/G, kh, kw).
        library: (L, kh*kw) booleans.
        groups: G, groups of the convolution; outputs of other groups do not read a channel.
        whole_layer: one pattern for all input channels.

    Returns:
        A mask of the weight's shape.
    """
    outputs, channels, *kernel = weight.shape
    positions = library.shape[1]
    squares = np.square(weight, dtype=np.float64)
    # (G, m/G, C_in/G, kh*kw), summed over the outputs of a group.
    energy = squares.reshape(groups, outputs // groups, channels, positions).sum(axis=1)
    kept = energy @ library.T.astype(np.float64)  # (G, C_in/G, L)
    if whole_layer:
        kept = np.broadcast_to(kept.sum(axis=(0, 1)), kept.shape)
    chosen = library[kept.argmax(axis=2)]  # (G, C_in/G, kh*kw)
    return np.repeat(chosen, outputs // groups, axis=0).reshape(outputs, channels, *kernel)


def block_patterns(
    weight: Array,
    entries: int,
    groups: int = 1,
    block: int | None = None,
) -> Array:
    """Free patterns shared as in PAIRS: in a block of outputs, kernels of an input channel keep the same.

    So the input of a dropped position drives no column of the block, and its row can be skipped (Rhe et al.,
    "PAIRS", ISLPED 2023). PAIRS chooses among the few patterns of a library (`published_library`); here any e
    positions can be chosen, so that more of the weights can be kept: those of most energy, summed over the
    block, which is the best choice in Frobenius norm.

    Args:
        weight: (m, C_in/G, kh, kw).
        entries: e.
        groups: G, groups of the convolution.
        block: output channels in a block, the last one of a group may have fewer; None: all of a group.

    Returns:
        A mask of the weight's shape.

    Raises:
        InputError: a kernel does not have so many positions.
    """
    outputs = len(weight) // groups
    size = outputs
    if block is not None:
        size = min(block, outputs)
    mask = np.zeros(weight.shape, bool)
    # Blocks do not cross the borders of groups.
    for start in range(0, len(weight), outputs):
        stop = start + outputs
        for first in range(start, stop, size):
            last = min(first + size, stop)
            squares = np.square(weight[first:last], dtype=np.float64)
            energy = squares.sum(axis=0)  # (C_in/G, kh, kw)
            by_channel = energy.reshape(len(energy), -1)  # (C_in/G, kh*kw)
            kept = natural_patterns(by_channel, entries)
            mask[first:last] = kept.reshape(energy.shape)
    return mask
