"""The hardware that networks run on, described once for cycles, energy and simulation alike."""

from rankfold.machine.chip import Buffer, ChipSpec, Cores, Interconnect, OffChip
from rankfold.machine.chip_file import chip_from_json, chip_names, chip_text, load_chip
from rankfold.machine.description import find_hardware, hardware_names, hardware_text, load_hardware
from rankfold.machine.description import from_json as hardware_from_json
from rankfold.machine.description import to_json as hardware_to_json
from rankfold.machine.hardware import DEFAULT_HARDWARE, Hardware
from rankfold.machine.nonideal import CALIBRATED, FULL, PCM, NonIdealities

__all__ = [
    "CALIBRATED",
    "DEFAULT_HARDWARE",
    "FULL",
    "PCM",
    "Buffer",
    "ChipSpec",
    "Cores",
    "Hardware",
    "Interconnect",
    "NonIdealities",
    "OffChip",
    "chip_from_json",
    "chip_names",
    "chip_text",
    "find_hardware",
    "hardware_from_json",
    "hardware_names",
    "hardware_text",
    "hardware_to_json",
    "load_chip",
    "load_hardware",
]
