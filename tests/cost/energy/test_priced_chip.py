"""A chip as it is built: its arrays, times and energies are those of the network's energy."""

from dataclasses import replace

import pytest

from rankfold.cost import choice
from rankfold.cost.energy import TABLES, choose_mappings, load_table, on_arrays, priced_chip
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, uniform_plan
from rankfold.workload import zoo_network

ARRAY = ArraySpec(64, 64, cell_bits=2, dac_bits=1)
NETWORK = zoo_network("resnet20")


def placed(table="rram-22nm", method=None, array=ARRAY, mapping="sdk"):
    table = load_table(table)
    plan = uniform_plan(NETWORK, replace(array, cell_bits=None), method, bits=4, mapping=mapping)
    return on_arrays(NETWORK, plan, table)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("mapping", ["im2col", "best"])
def test_an_array_for_each_tile_is_what_energy_counts(table, mapping):
    arrays = placed(table, LowRank(groups=4, rank="1/8", force=True), replace(ARRAY, rows_driven=32), mapping)
    energy = arrays.energy
    chip = priced_chip(arrays, energy.arrays)
    assert chip.schedule.tiles == energy.arrays
    assert chip.interval == pytest.approx(energy.interval)
    assert chip.latency == pytest.approx(energy.latency)
    assert chip.area == pytest.approx(energy.area)
    assert chip.staying_energy == pytest.approx(energy.energy + energy.pipelined_leakage_energy)


@pytest.mark.parametrize("table", TABLES)
def test_rewriting_is_slower_and_dearer_than_weights_that_stay(table):
    arrays = placed(table, mapping="vw-sdk")
    chip = priced_chip(arrays, 2 * arrays.energy.arrays)
    assert chip.interval < chip.rewriting_latency
    assert chip.staying_energy < chip.rewriting_energy
    assert chip.writing_energy > 0


def test_small_chips_write_and_wear_out():
    arrays = placed(mapping="best")
    chip = priced_chip(arrays, 200)
    assert chip.interval is None
    way = chip.schedule.rewriting
    assert way.kept + way.written == arrays.energy.arrays
    assert chip.images_endured == pytest.approx(1e6 * (200 - way.kept) / way.written)
    # By hand: 2-bit cells take a reset and on average 1.5 pulses of 4.4 pJ.
    assert chip.writing_energy == pytest.approx(way.cells * 2.5 * 4.4)
    row = 4 * 50e-3 / chip.cycle
    assert way.writing <= arrays.energy.arrays * (64 * row + 1)
    assert chip.rewriting_latency > chip.writing_time > 0
    assert priced_chip(placed("sram-22nm", mapping="best"), 200).images_endured is None


def test_tables_without_writing_say_nothing_of_it():
    arrays = placed()
    table = replace(arrays.energy.table, write=None)
    silent = replace(arrays, energy=arrays.energy.with_table(table))
    chip = priced_chip(silent, 100)
    assert (chip.writing_energy, chip.writing_time, chip.images_endured) == (None, 0, None)
    assert chip.to_json()["rewriting"]["writing_pj"] is None


def test_chips_of_the_rule_have_fewer_arrays_than_its_factor():
    """What `rankfold map` shows by default, on arrays wide enough for windows of many pixels."""
    plan = uniform_plan(NETWORK, ArraySpec(256, 256), bits=4)
    table = load_table("rram-22nm")
    chosen = on_arrays(NETWORK, choose_mappings(NETWORK, plan, table), table).energy
    plain = placed(mapping="im2col", array=ArraySpec(256, 256)).energy
    assert chosen.arrays <= choice.MOST_ARRAYS * plain.arrays
    assert chosen.interval < plain.interval
