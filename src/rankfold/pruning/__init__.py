"""What low-rank is compared with: pattern pruning, as masks of weights."""

from rankfold.pruning.masks import PAIRS, PATDNN, Pruning, choose_masks
from rankfold.pruning.patterns import (
    LIBRARY,
    block_patterns,
    kernel_patterns,
    natural_patterns,
    pattern_library,
)

__all__ = [
    "LIBRARY",
    "PAIRS",
    "PATDNN",
    "Pruning",
    "block_patterns",
    "choose_masks",
    "kernel_patterns",
    "natural_patterns",
    "pattern_library",
]
