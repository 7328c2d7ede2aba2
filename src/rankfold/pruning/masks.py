"""The masks of a whole network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankfold.pruning.garos import PatternWindow, mixed_patterns
from rankfold.pruning.library import published_library, published_size
from rankfold.pruning.patterns import (
    LIBRARY,
    block_patterns,
    kernel_patterns,
    natural_patterns,
    pattern_library,
    shared_patterns,
)

Array = np.ndarray

PATDNN, PAIRS = "patdnn", "pairs"
PAIRS_2023, PAIRS_2024 = "pairs-2023", "pairs-2024"
PATDNN_CHANNEL, PATDNN_LAYER = "patdnn-channel", "patdnn-layer"
GAROS = "garos"
PIXEL = PatternWindow(1)

NATURAL = (PATDNN, PATDNN_CHANNEL, PATDNN_LAYER)  # their library is what the network's kernels keep
WHOLE_LAYER = (PAIRS_2024, PATDNN_LAYER)

LibraryKey = tuple[str, tuple[int, ...], int]  # the method, (kh, kw), and entries


@dataclass(frozen=True)
class Pruning:
    """How one layer is pruned.

    Attributes:
        method: `patdnn` (each kernel its own pattern, from one library for all layers), `pairs` (the kernels
            of an input channel share free positions in each block of output channels); and as the authors of
            PAIRS published both: `patdnn-channel` and `patdnn-layer` (a natural pattern for each input
            channel, or for the layer), `pairs-2023` and `pairs-2024` (the same of a fixed library), `garos`
            (patterns of several sizes).
        entries: e, positions kept of each kernel.
        block: output channels in a block of `pairs`; None: all of a group.
        groups: G, groups of the convolution.
        window: of `garos`, under which rows are counted.
    """

    method: str
    entries: int
    block: int | None = None
    groups: int = 1
    window: PatternWindow = PIXEL


def choose_masks(
    weights: Mapping[str, Array],
    prunings: Mapping[str, Pruning],
) -> dict[str, Array]:
    """Choose which weights every layer keeps.

    PatDNN's library is that of all its layers together (Niu et al. 2020), one for each kernel size and number
    of entries.

    Args:
        weights: (m, C_in/G, kh, kw) of each layer, by name.
        prunings: how each of these layers is pruned, by name.

    Returns:
        A mask of the weight's shape for each name of `prunings`.

    Raises:
        InputError: a kernel does not have so many positions, or the published library none of so many.
    """
    libraries = _libraries(weights, prunings)
    return {name: _mask(weights[name], pruning, libraries) for name, pruning in prunings.items()}


def _mask(weight: Array, pruning: Pruning, libraries: Mapping[LibraryKey, Array]) -> Array:
    """The mask of one layer, with the libraries of natural patterns."""
    method, entries = pruning.method, pruning.entries
    if method == PAIRS:
        return block_patterns(weight, entries, pruning.groups, pruning.block)
    if method == GAROS:
        return mixed_patterns(weight, entries, pruning.window, pruning.groups)
    if method in NATURAL:
        library = libraries[method, weight.shape[2:], entries]
    else:
        library = published_library(entries)
    if method == PATDNN:
        return kernel_patterns(weight, library)
    return shared_patterns(weight, library, pruning.groups, method in WHOLE_LAYER)


def _libraries(
    weights: Mapping[str, Array],
    prunings: Mapping[str, Pruning],
) -> dict[LibraryKey, Array]:
    """The library (L, kh*kw) of natural patterns for each method, kernel size and number of entries, from all
    of its layers.
    """
    natural: defaultdict[LibraryKey, list[Array]] = defaultdict(list)
    for name, pruning in prunings.items():
        if pruning.method not in NATURAL:
            continue
        energy = np.square(weights[name], dtype=np.float64)  # (m, C_in/G, kh, kw)
        kernel = energy.shape[2:]
        kernels = energy.reshape(-1, kernel[0] * kernel[1])  # (K, kh*kw)
        patterns = natural_patterns(kernels, pruning.entries)
        natural[pruning.method, kernel, pruning.entries].append(patterns)
    libraries = {}
    for key, of_layers in natural.items():
        method, _, entries = key
        size = LIBRARY
        if method != PATDNN:
            size = published_size(entries)
        libraries[key] = pattern_library(np.concatenate(of_layers), size)
    return libraries
