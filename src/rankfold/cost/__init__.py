"""What a plan costs on the array: cycles, arrays, and what a chip of several arrays makes of it."""

from rankfold.cost.chip import Chip, ChipSchedule, schedule, schedule_stages
from rankfold.cost.cycles import BASIC_METHODS, LayerCycles, NetworkCycles, network_cycles
from rankfold.cost.keys import IM2COL, CostKey
from rankfold.cost.packing import Packing, pack_tiles
from rankfold.cost.planned import Masks, array_mapping, counts_linear, planned_mapping, planned_shape

__all__ = [
    "BASIC_METHODS",
    "IM2COL",
    "Chip",
    "ChipSchedule",
    "CostKey",
    "LayerCycles",
    "Masks",
    "NetworkCycles",
    "Packing",
    "array_mapping",
    "counts_linear",
    "network_cycles",
    "pack_tiles",
    "planned_mapping",
    "planned_shape",
    "schedule",
    "schedule_stages",
]
