"""A convolution on R x C arrays: windows, tiles, cycles."""

from rankfold.mapping.array import DEFAULT_ARRAY, ArraySpec
from rankfold.mapping.layer import METHODS, Mapping, map_layer
from rankfold.mapping.low_rank import LOW_RANK_METHODS, LowRankMapping, map_low_rank

__all__ = ["DEFAULT_ARRAY", "LOW_RANK_METHODS", "METHODS", "ArraySpec", "LowRankMapping", "Mapping", "map_layer", "map_low_rank"]
