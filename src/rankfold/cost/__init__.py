"""What a plan costs on the array: cycles, arrays, and what a chip of several arrays makes of it."""

from rankfold.cost.arrays import Packing, pack_tiles
from rankfold.cost.chip import Chip, ChipSchedule, schedule, schedule_stages
from rankfold.cost.cycles import BASIC_METHODS, LayerCycles, NetworkCycles, array_mapping, network_cycles, planned_mapping

__all__ = [
    "BASIC_METHODS",
    "Chip",
    "ChipSchedule",
    "LayerCycles",
    "NetworkCycles",
    "Packing",
    "array_mapping",
    "network_cycles",
    "pack_tiles",
    "planned_mapping",
    "schedule",
    "schedule_stages",
]
