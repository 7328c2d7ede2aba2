"""What a plan costs on the array: cycles, arrays, and what a chip of several arrays makes of it."""

from rankfold.cost.arrays import Packing, pack_tiles
from rankfold.cost.chip import Chip, ChipSchedule, schedule, schedule_stages
from rankfold.cost.cycles import BASIC_METHODS, LayerCycles, NetworkCycles, network_cycles

__all__ = [
    "BASIC_METHODS",
    "Chip",
    "ChipSchedule",
    "LayerCycles",
    "NetworkCycles",
    "Packing",
    "network_cycles",
    "pack_tiles",
    "schedule",
    "schedule_stages",
]
