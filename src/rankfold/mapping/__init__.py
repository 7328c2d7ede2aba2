"""A convolution on R x C arrays: windows, tiles, cycles."""

from rankfold.mapping.array import CELLS, CODINGS, CONVERSIONS, INPUT_CODINGS, ArraySpec
from rankfold.mapping.execute import execute
from rankfold.mapping.front import mapping_front
from rankfold.mapping.layer import MAPPINGS, clear_cache, map_layer, map_one_window, map_with_window
from rankfold.mapping.low_rank import LOW_RANK_METHODS, LowRankMapping, low_rank_stages, map_low_rank
from rankfold.mapping.mapping import Mapping
from rankfold.mapping.pruned import PRUNED_METHODS, map_pruned, map_steered, steered_cycles
from rankfold.mapping.region import Region
from rankfold.mapping.stored import StoredMatrix
from rankfold.mapping.tile import Tile

__all__ = [
    "CELLS",
    "CODINGS",
    "CONVERSIONS",
    "INPUT_CODINGS",
    "LOW_RANK_METHODS",
    "MAPPINGS",
    "PRUNED_METHODS",
    "ArraySpec",
    "LowRankMapping",
    "Mapping",
    "Region",
    "StoredMatrix",
    "Tile",
    "clear_cache",
    "execute",
    "low_rank_stages",
    "map_layer",
    "map_low_rank",
    "map_one_window",
    "map_pruned",
    "map_steered",
    "map_with_window",
    "mapping_front",
    "steered_cycles",
]
