"""What each kind of layer offers to planning: what layers may become, and the weight that then stands in."""

from rankfold.planning.kinds.kind import (
    STEP,
    ChosenSupport,
    KindCandidates,
    Supports,
    WeightCandidates,
    candidates_of,
    chosen_labels,
    labels,
    layer_entries,
    patches_read,
    uses_bypasses,
    uses_channels,
    uses_supports,
    windows_computed,
    windows_made_for,
)
from rankfold.planning.kinds.study import PIXEL, LayerStudy

__all__ = [
    "PIXEL",
    "STEP",
    "ChosenSupport",
    "KindCandidates",
    "LayerStudy",
    "Supports",
    "WeightCandidates",
    "candidates_of",
    "chosen_labels",
    "labels",
    "layer_entries",
    "patches_read",
    "uses_bypasses",
    "uses_channels",
    "uses_supports",
    "windows_computed",
    "windows_made_for",
]
