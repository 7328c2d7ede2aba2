"""What a plan costs on the array: cycles, arrays, and what a chip of several arrays makes of it."""

from rankfold.cost.chip import Chip, ChipSchedule, schedule, schedule_stages
from rankfold.cost.choice import (
    AUTO,
    MOST_ARRAYS,
    MappingOption,
    choose_mapping,
    mapping_options,
)
from rankfold.cost.cycles import BASIC_METHODS, LayerCycles, NetworkCycles, network_cycles, placed_cycles
from rankfold.cost.keys import IM2COL, CostKey
from rankfold.cost.packing import Packing, pack_tiles
from rankfold.cost.planned import Masks, array_mapping, counts_linear, planned_mapping, planned_shape

__all__ = [
    "AUTO",
    "BASIC_METHODS",
    "IM2COL",
    "MOST_ARRAYS",
    "Chip",
    "ChipSchedule",
    "CostKey",
    "LayerCycles",
    "MappingOption",
    "Masks",
    "NetworkCycles",
    "Packing",
    "array_mapping",
    "choose_mapping",
    "counts_linear",
    "mapping_options",
    "network_cycles",
    "pack_tiles",
    "placed_cycles",
    "planned_mapping",
    "planned_shape",
    "schedule",
    "schedule_stages",
]
