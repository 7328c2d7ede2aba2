"""What low-rank is compared with: pattern pruning, as masks of weights."""

from rankfold.pruning.garos import PatternWindow, mixed_patterns
from rankfold.pruning.library import published_library, published_size
from rankfold.pruning.masks import (
    GAROS,
    PAIRS,
    PAIRS_2023,
    PAIRS_2024,
    PATDNN,
    PATDNN_CHANNEL,
    PATDNN_LAYER,
    Pruning,
    choose_masks,
)
from rankfold.pruning.patterns import (
    LIBRARY,
    block_patterns,
    kernel_patterns,
    natural_patterns,
    pattern_library,
    shared_patterns,
)

__all__ = [
    "GAROS",
    "LIBRARY",
    "PAIRS",
    "PAIRS_2023",
    "PAIRS_2024",
    "PATDNN",
    "PATDNN_CHANNEL",
    "PATDNN_LAYER",
    "PatternWindow",
    "Pruning",
    "block_patterns",
    "choose_masks",
    "kernel_patterns",
    "mixed_patterns",
    "natural_patterns",
    "pattern_library",
    "published_library",
    "published_size",
    "shared_patterns",
]
