"""The components that a run's energy is counted with, from its hardware."""

from __future__ import annotations

import pytest

from rankfold.cost.energy import hardware_table, load_table
from rankfold.errors import UnpricedCellsError
from rankfold.machine import DEFAULT_HARDWARE, load_hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import uniform_plan
from rankfold.runs.cost_record import network_cost
from rankfold.runs.energy_record import EnergyOptions, dense_energy
from rankfold.workload import zoo_network


def test_only_what_differs_from_the_default_is_asked_for():
    """Cells, rows and noise ask for no energy: arrays that hold no weight then only leave it out."""
    other = DEFAULT_HARDWARE.altered(rows=8, columns=8, cell_bits=2, program_noise=0.1)
    assert not EnergyOptions.of(DEFAULT_HARDWARE).asked
    assert not EnergyOptions.of(other).asked
    for asked in ({"technology": "sram-22nm"}, {"adc": "sar"}, {"adc_bits": 6}, {"mux": 4}):
        assert EnergyOptions.of(DEFAULT_HARDWARE.altered(**asked)).asked


def test_no_more_columns_share_an_adc_than_there_are():
    narrow = ArraySpec(64, 4)
    table = load_table("rram-22nm")
    assert table.mux == 8
    for given in (table, "rram-22nm"):
        assert EnergyOptions(table=given).for_array(narrow).mux == 4
        assert EnergyOptions(table=given, mux=2).for_array(narrow).mux == 2


def test_cells_that_nobody_prices_have_cycles_and_no_energy():
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ArraySpec(64, 64, cell_bits=8), bits=4)
    assert dense_energy(network, plan, EnergyOptions()) is None
    assert network_cost(network, plan).energy is None
    with pytest.raises(UnpricedCellsError, match="cells of rram-22nm store at most 4"):
        dense_energy(network, plan, EnergyOptions(mux=4))


@pytest.mark.parametrize("name", ["default", "rram-22nm", "sram-32nm"])
def test_components_are_those_of_the_hardware(name):
    hardware = load_hardware(name).altered(adc_bits=6, mux=4)
    options = EnergyOptions.of(hardware)
    assert options.for_array(hardware.array) == hardware_table(hardware)
    assert options.identity() != EnergyOptions.of(hardware.altered(mux=2)).identity()
