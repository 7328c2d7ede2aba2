"""What each kind of layer offers to planning: what layers may become, and the weight that then stands in."""

from rankfold.planning.kinds.kind import (
    ChosenSupport,
    KindCandidates,
    WeightCandidates,
    candidates_of,
    layer_entries,
    patches_read,
)
from rankfold.planning.kinds.study import LayerStudy

__all__ = [
    "ChosenSupport",
    "KindCandidates",
    "LayerStudy",
    "WeightCandidates",
    "candidates_of",
    "layer_entries",
    "patches_read",
]
