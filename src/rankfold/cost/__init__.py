"""What a plan costs on the array: cycles, arrays, and what a chip of several arrays makes of it."""

from rankfold.cost.chip import Chip, ChipSchedule, schedule, schedule_stages
from rankfold.cost.choice import (
    AUTO,
    MOST_ARRAYS,
    MappingOption,
    choose_mapping,
    mapping_options,
)
from rankfold.cost.cycles import BASIC_METHODS, NetworkCycles, network_cycles, placed_cycles
from rankfold.cost.keys import IM2COL, CostKey
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.cost.packing import Packing, pack_tiles
from rankfold.cost.planned import Masks, array_mapping, planned_mapping, planned_shape
from rankfold.cost.published import PUBLISHED, PublishedCycles, large_array, published_cycles

__all__ = [
    "AUTO",
    "BASIC_METHODS",
    "IM2COL",
    "MOST_ARRAYS",
    "PUBLISHED",
    "Chip",
    "ChipSchedule",
    "CostKey",
    "LayerCycles",
    "MappingOption",
    "Masks",
    "NetworkCycles",
    "Packing",
    "PublishedCycles",
    "array_mapping",
    "choose_mapping",
    "large_array",
    "mapping_options",
    "network_cycles",
    "pack_tiles",
    "placed_cycles",
    "planned_mapping",
    "planned_shape",
    "published_cycles",
    "schedule",
    "schedule_stages",
]
