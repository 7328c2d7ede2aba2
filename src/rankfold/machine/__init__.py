"""The hardware that networks run on, described once for cycles, energy and simulation alike."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankfold.machine.description import find_hardware, hardware_names, hardware_text, load_hardware
from rankfold.machine.description import from_json as hardware_from_json
from rankfold.machine.description import to_json as hardware_to_json
from rankfold.machine.hardware import DEFAULT_HARDWARE, Hardware
from rankfold.machine.nonideal import CALIBRATED, FULL, PCM, NonIdealities

if TYPE_CHECKING:
    from rankfold.machine.chip import Buffer, ChipSpec, Cores, Interconnect, OffChip, Writing
    from rankfold.machine.chip_file import chip_from_json, chip_names, chip_text, load_chip

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
    "Writing",
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

# Whole chips are imported when they are first asked for: most of what uses arrays needs none.
_OF_CHIPS = {
    "chip": ("Buffer", "ChipSpec", "Cores", "Interconnect", "OffChip", "Writing"),
    "chip_file": ("chip_from_json", "chip_names", "chip_text", "load_chip"),
}


def __getattr__(name: str) -> Any:
    for module, names in _OF_CHIPS.items():
        if name in names:
            return getattr(import_module(f"rankfold.machine.{module}"), name)
    raise AttributeError(f"module 'rankfold.machine' has no attribute {name!r}")
