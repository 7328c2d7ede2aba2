"""Plans for hardware: what they are for stays with them, in their file too; bits of weights and of inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import rankfold as rf
from rankfold.cost.energy import completed, hardware_table, load_table, network_energy
from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE, Hardware, NonIdealities, load_hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.workload import zoo_network

MINE = Hardware(
    name="mine",
    array=ArraySpec(32, 48, 2, "differential", 1, rows_driven=16),
    technology="sram-32nm",
    adc="sar",
    adc_bits=6,
    mux=4,
    noise=NonIdealities(program_noise=0.02),
)


def test_a_plan_keeps_its_hardware(tmp_path):
    plan = uniform_plan(zoo_network("resnet20"), MINE, LowRank(rank="1/8", groups=4, force=True), bits=4)
    assert plan.array == MINE.array
    assert plan.machine == MINE
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert plan.digest() != plan.on(MINE.altered(adc_bits=5)).digest()
    # Another array alone leaves the rest, which the name then says.
    other = plan.on(ArraySpec(64, 48))
    assert other.machine.technology == MINE.technology
    assert other.machine.array == ArraySpec(64, 48)
    assert other.machine.name.startswith("mine with rows 64")
    assert Plan.from_json(json.loads(json.dumps(other.to_json()))).machine == other.machine


def test_plans_that_say_nothing_of_hardware_stay_as_they_were():
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ArraySpec(32, 32), bits=4)
    assert "hardware" not in plan.to_json()
    assert plan.digest() == uniform_plan(network, plan.machine, bits=4).digest()
    assert plan.machine.technology == DEFAULT_HARDWARE.technology
    assert plan.machine.name == "default with rows 32, columns 32"


def test_hardware_in_a_plan_is_checked():
    content = uniform_plan(zoo_network("resnet20"), MINE, bits=4).to_json()
    content["hardware"]["adc"]["bits"] = 99
    with pytest.raises(InputError, match=r"hardware.* at adc/bits: 99 is greater than the maximum"):
        Plan.from_json(content, "mine.json")


def test_energy_is_that_of_the_hardware():
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ArraySpec(64, 64), LowRank(rank="1/8", groups=4, force=True), bits=4)
    made = MINE.altered(cell_bits=1)
    table = replace(load_table("sram-32nm").with_adc("sar", 6), mux=4)
    wanted = network_energy(network, replace(plan, array=made.array), table)
    for found in (rf.energy(network, plan, made), rf.energy(network, plan.on(made))):
        assert found.to_json() == wanted.to_json()
    assert rf.energy(network, plan).to_json() == rf.energy(network, plan, "rram-22nm").to_json()
    with pytest.raises(InputError, match="cells of sram-32nm store at most 1"):
        rf.energy(network, plan, MINE)


def test_open_figures_are_those_of_the_table():
    whole = completed(Hardware(array=ArraySpec(64, 64), technology="sram-22nm"))
    table = load_table("sram-22nm")
    assert (whole.array.cell_bits, whole.array.dac_bits) == (table.cell_bits, 1)
    assert (whole.adc, whole.adc_bits, whole.mux) == (table.adc, table.adc_bits, table.mux)
    described = load_hardware("rram-22nm")
    assert completed(described) == described
    assert hardware_table(described).mux == described.mux


def test_fewer_columns_an_adc_read_faster_and_take_more_adcs():
    """A read takes `mux` steps, and an array has ceil(columns / mux) ADCs; as many columns are converted."""
    network = zoo_network("resnet20")
    plan = uniform_plan(network, load_hardware("rram-22nm"), bits=4)
    eight, two = (rf.energy(network, plan.on(plan.machine.altered(mux=mux))) for mux in (8, 2))
    assert eight.latency == pytest.approx(4 * two.latency)
    assert eight.conversions == two.conversions
    assert eight.components["adc"] == two.components["adc"]
    areas = []
    for energy in (eight, two):
        areas.append(sum(stage.area["adc"] for layer in energy.layers for stage in layer.stages))
    assert 4 * areas[0] == pytest.approx(areas[1])


@pytest.mark.parametrize(
    ("bits", "wanted"), [((4, 8), (4, 8)), ((2, 3), (2, 3)), (5, (5, 5)), (None, (None, None))]
)
def test_weights_and_inputs_have_widths_of_their_own(bits, wanted):
    plan = uniform_plan(
        zoo_network("resnet20"), ArraySpec(64, 64), LowRank(rank="1/8", groups=4, force=True), bits=bits
    )
    edge = (8, 8) if bits else (None, None)
    found = [(layer.weight_bits, layer.input_bits) for layer in plan.layers]
    assert found == [edge, *[wanted] * (len(found) - 2), edge]


@pytest.mark.parametrize(
    ("bits", "complaint"), [((9, 4), r"weight bits \(=9\)"), ((4, 0), r"input bits \(=0\)")]
)
def test_widths_out_of_range_are_refused(bits, complaint):
    with pytest.raises(InputError, match=complaint):
        uniform_plan(zoo_network("resnet20"), ArraySpec(64, 64), bits=bits)
