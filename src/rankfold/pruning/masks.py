"""The masks of a whole network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankfold.pruning.patterns import block_patterns, kernel_patterns, natural_patterns, pattern_library

Array = np.ndarray

PATDNN, PAIRS = "patdnn", "pairs"

LibraryKey = tuple[tuple[int, ...], int]  # (kh, kw), and entries


@dataclass(frozen=True)
class Pruning:
    """How one layer is pruned.

    Attributes:
        method: `patdnn` (each kernel its own pattern, from one library for all layers) or `pairs` (the
            kernels of an input channel share one in each block of output channels).
        entries: e, positions kept of each kernel.
        block: output channels in a block of `pairs`; None: all of a group.
        groups: G, groups of the convolution.
    """

    method: str
    entries: int
    block: int | None = None
    groups: int = 1


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
        InputError: a kernel does not have so many positions.
    """
    libraries = _libraries(weights, prunings)
    masks = {}
    for name, pruning in prunings.items():
        weight = weights[name]
        if pruning.method == PATDNN:
            library = libraries[weight.shape[2:], pruning.entries]
            masks[name] = kernel_patterns(weight, library)
        else:
            masks[name] = block_patterns(
                weight,
                pruning.entries,
                pruning.groups,
                pruning.block,
            )
    return masks


def _libraries(
    weights: Mapping[str, Array],
    prunings: Mapping[str, Pruning],
) -> dict[LibraryKey, Array]:
    """PatDNN's library (L, kh*kw) for each kernel size and number of entries, from all of its layers."""
    natural: defaultdict[LibraryKey, list[Array]] = defaultdict(list)
    for name, pruning in prunings.items():
        if pruning.method != PATDNN:
            continue
        energy = np.square(weights[name], dtype=np.float64)  # (m, C_in/G, kh, kw)
        kernel = energy.shape[2:]
        kernels = energy.reshape(-1, kernel[0] * kernel[1])  # (K, kh*kw)
        patterns = natural_patterns(kernels, pruning.entries)
        natural[kernel, pruning.entries].append(patterns)
    libraries = {}
    for key, of_layers in natural.items():
        libraries[key] = pattern_library(np.concatenate(of_layers))
    return libraries
