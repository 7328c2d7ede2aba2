"""The array simulator: a planned network computed by the very tiles that would be programmed."""

from rankfold.machine import PCM, NonIdealities
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter
from rankfold.simulator.layer import SimulatedLayer
from rankfold.simulator.network import (
    calibrate_adc_,
    needs_calibration,
    only,
    program_,
    simulate,
    simulated_layers,
)
from rankfold.simulator.planned import check_arrays, planned_mappings

__all__ = [
    "PCM",
    "CellCoding",
    "Converter",
    "InputCoding",
    "NonIdealities",
    "SimulatedLayer",
    "calibrate_adc_",
    "check_arrays",
    "needs_calibration",
    "only",
    "planned_mappings",
    "program_",
    "simulate",
    "simulated_layers",
]
