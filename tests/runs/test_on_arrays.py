"""The accuracy beside an energy is that of a simulation of the same machine, or none."""

import json
from dataclasses import asdict, replace

import pytest

from rankfold.cost.energy import ArrayAccuracy, accuracy_in_words, load_table, network_energy
from rankfold.machine import Hardware, NonIdealities, hardware_to_json
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import file_digest
from rankfold.plan import uniform_plan
from rankfold.runs.on_arrays import energy_with_accuracy
from rankfold.workload import zoo_network

ARRAY = ArraySpec(64, 64, 2, "differential", 1, converts="differences")
FOUND = ArrayAccuracy(accuracy=0.9, ideal=0.92, images=500, seed=3)


@pytest.fixture(scope="module")
def energy():
    network = zoo_network("resnet8")
    return network_energy(network, uniform_plan(network, ARRAY, bits=4), load_table("rram-22nm"))


def write(path, hardware, images=500, run="this", **others):
    simulation = {
        "hardware": hardware_to_json(hardware),
        "accuracies": [0.88, 0.92],
        "ideal": 0.92,
        "images": images,
        "seed": 3,
        "digital": [],
        **others,
    }
    (path.parent / "result.json").write_text('{"run": "this"}')
    identity = {"run": run}
    content = {"_type": "rankfold.simulation", "_version": 1, "identity": identity, "simulation": simulation}
    path.write_text(json.dumps(content))


def test_the_simulation_of_the_same_machine_is_taken(tmp_path, energy):
    assert energy_with_accuracy(energy, tmp_path).accuracy is None
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5))
    found = energy_with_accuracy(energy, tmp_path)
    assert asdict(found.accuracy) == pytest.approx(asdict(FOUND))
    assert found.to_json()["accuracy_on_arrays"] == asdict(found.accuracy)
    assert accuracy_in_words(found.accuracy).startswith("90.0% (92.0% where arrays are exact; 500 test")
    write(tmp_path / "simulation-more.json", Hardware(array=ARRAY, adc_bits=5), images=900)
    assert energy_with_accuracy(energy, tmp_path).accuracy.images == 900


@pytest.mark.parametrize(
    "hardware",
    [
        Hardware(array=ARRAY, adc_bits=6),
        Hardware(array=replace(ARRAY, converts="columns"), adc_bits=5),
        Hardware(array=replace(ARRAY, rows=128), adc_bits=5),
        Hardware(array=ARRAY, adc_bits=5, noise=NonIdealities(program_noise=0.02)),
    ],
)
def test_another_machine_says_nothing(tmp_path, energy, hardware):
    write(tmp_path / "simulation.json", hardware)
    found = energy_with_accuracy(energy, tmp_path)
    assert found.accuracy is None
    assert found.to_json()["accuracy_on_arrays"] == "not simulated"


def test_another_run_says_nothing(tmp_path, energy):
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5), run="another")
    assert energy_with_accuracy(energy, tmp_path).accuracy is None


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_energy_does_without_a_result_that_can_be_read(tmp_path, energy, content):
    """And a simulation of no run is none of it."""
    for number, run in enumerate(("this", None)):
        write(tmp_path / f"simulation{number}.json", Hardware(array=ARRAY, adc_bits=5), run=run)
    (tmp_path / "result.json").write_text(content)
    assert energy_with_accuracy(energy, tmp_path) == energy
    (tmp_path / "result.json").unlink()
    assert energy_with_accuracy(energy, tmp_path) == energy


def test_a_network_that_was_saved_is_known_by_its_weights(tmp_path, energy):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    run = file_digest(tmp_path / "model.safetensors")
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5), run=run)
    (tmp_path / "result.json").unlink()
    assert energy_with_accuracy(energy, tmp_path).accuracy == FOUND


def test_a_folder_without_weights_says_nothing(tmp_path, energy):
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5))
    (tmp_path / "result.json").unlink()
    assert energy_with_accuracy(energy, tmp_path).accuracy is None


def test_an_agreement_is_no_accuracy(tmp_path, energy):
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5), measured="agreement")
    found = energy_with_accuracy(energy, tmp_path).accuracy
    assert accuracy_in_words(found).startswith("90.0% agreement (92.0% where arrays are exact")


def test_damaged_and_partial_simulations_say_nothing(tmp_path, energy):
    write(tmp_path / "simulation.json", Hardware(array=ARRAY, adc_bits=5), digital=["conv1"])
    (tmp_path / "simulation-begun.json").write_text('{"_type": "rankfold.simulation", "_version": 1}')
    (tmp_path / "simulation-broken.json").write_text("{")
    assert energy_with_accuracy(energy, tmp_path).accuracy is None


def test_other_adcs_forget_the_accuracy(energy):
    """An accuracy belongs to one machine; energy priced for another one does not keep it."""
    known = replace(energy, accuracy=FOUND)
    assert known.with_table(load_table("rram-22nm").with_adc(bits=4)).accuracy is None
    mixed = known.with_adc_bits({"conv1": 8})
    assert mixed.accuracy is None
    assert "5- to 8-bit flash ADC" in mixed.describe()
    for before, after in zip(known.layers, mixed.layers, strict=True):
        dearer = after.components["adc"] > before.components["adc"]
        assert dearer == (before.shape.name == "conv1")
