"""The components that a run's energy is counted with, from its hardware."""

from __future__ import annotations

import pytest

from rankfold.cost.energy import hardware_table
from rankfold.machine import DEFAULT_HARDWARE, load_hardware
from rankfold.runs.energy_record import EnergyOptions


def test_only_what_differs_from_the_default_is_asked_for():
    """Cells, rows and noise ask for no energy: arrays that hold no weight then only leave it out."""
    other = DEFAULT_HARDWARE.altered(rows=8, columns=8, cell_bits=2, program_noise=0.1)
    assert not EnergyOptions.of(DEFAULT_HARDWARE).asked
    assert not EnergyOptions.of(other).asked
    for asked in ({"technology": "sram-22nm"}, {"adc": "sar"}, {"adc_bits": 6}, {"mux": 4}):
        assert EnergyOptions.of(DEFAULT_HARDWARE.altered(**asked)).asked


@pytest.mark.parametrize("name", ["default", "rram-22nm", "sram-32nm"])
def test_components_are_those_of_the_hardware(name):
    hardware = load_hardware(name).altered(adc_bits=6, mux=4)
    options = EnergyOptions.of(hardware)
    assert options.for_array(hardware.array) == hardware_table(hardware)
    assert options.identity() != EnergyOptions.of(hardware.altered(mux=2)).identity()
