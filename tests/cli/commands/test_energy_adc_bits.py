"""`rankfold energy DIR --data D`: the coarsest ADCs that lose little, and what these cost."""

import json

import pytest

from rankfold.cli.main import main
from rankfold.errors import InputError
from rankfold.machine import load_hardware
from rankfold.runs.adc_bits import fewest_adc_bits
from rankfold.runs.chips import LoadedRun
from rankfold.runs.simulate import simulate_run
from rankfold.runs.simulation import SimulationOptions

pytestmark = pytest.mark.usefixtures("few_digits")

IMAGES = 30
HARDWARE = load_hardware("rram-22nm")


@pytest.fixture(scope="module")
def loaded(finished):
    return LoadedRun.load(finished, "digits", "cpu")


def accuracy(loaded, bits):
    """By a simulation of its own, with converters that were never exchanged."""
    options = SimulationOptions(hardware=HARDWARE.altered(adc_bits=bits), images=IMAGES, layer_images=0)
    found = simulate_run(loaded, options)
    return found.ideal, found.mean


@pytest.fixture(scope="module")
def choice(loaded):
    return fewest_adc_bits(loaded, HARDWARE, max_drop=7.0, images=IMAGES)


def test_one_bit_less_would_lose_more(loaded, choice):
    ideal, kept = accuracy(loaded, choice.bits)
    assert (choice.accuracy.ideal, choice.accuracy.accuracy) == (ideal, kept)
    assert 100 * (ideal - kept) <= 7.0
    if choice.bits > 2:
        ideal, less = accuracy(loaded, choice.bits - 1)
        assert 100 * (ideal - less) > 7.0
    assert choice.hardware.adc_bits == choice.bits
    assert choice.simulations <= 5  # a bisection of 2 to 16 bits


def test_layers_have_fewer_bits_and_the_network_keeps_as_much(loaded, choice):
    each = fewest_adc_bits(loaded, HARDWARE, max_drop=7.0, images=IMAGES, per_layer=True)
    assert each.bits == choice.bits
    assert all(2 <= bits < each.bits for bits in each.by_layer.values())
    assert 100 * each.accuracy.drop <= 7.0


def test_what_was_chosen_is_priced(capsys, finished, choice):
    command = ["energy", str(finished), "--hardware", "rram-22nm", "--json"]
    capsys.readouterr()
    asked = ["--data", "digits", "--max-drop", "7", "--images", str(IMAGES)]
    assert main([*command, *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main([*command, "--adc-bits", str(choice.bits)]) == 0
    named = json.loads(capsys.readouterr().out)
    assert found["adc"]["bits"] == choice.bits
    assert found["total"] == named["total"]
    assert named["accuracy_on_arrays"] == "not simulated"
    assert found["accuracy_on_arrays"]["accuracy"] == choice.accuracy.accuracy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-drop", "2"], "--max-drop says nothing without --data; add it"),
        (["--device", "cpu"], "--device says nothing without --data; add it"),
        (["--threads", "1"], "--threads says nothing without --data; add it"),
        (["--data", "digits", "--threads", "0"], "threads (=0) must be 1 or more"),
        (["--data", "digits", "--adc-bits", "5"], "--data chooses the bits of the ADCs; omit --adc-bits"),
        (["--data", "digits", "--cheapest"], "as its plan lays it out"),
        (["--data", "digits", "--max-drop", "-1"], "must be from 0 to 100 points"),
        (["--data", "digits", "--images", "0"], "images (=0) must be 1 or more"),
        (["--data", "digits", "--images", "-3"], "images (=-3) must be 1 or more"),
        (["--data", "digits", "--seed", "-1"], "seed (=-1) must be 0 or more"),
    ],
)
def test_options_that_say_nothing_are_refused(capsys, finished, options, message):
    assert main(["energy", str(finished), *options]) == 2
    assert message in capsys.readouterr().err


def test_arrays_that_lose_too_much_at_any_resolution_are_named(loaded, monkeypatch):
    monkeypatch.setattr("rankfold.runs.chips.Chips.accuracy", lambda *arguments: 0.0)
    with pytest.raises(InputError, match="with ADCs of 16 bits these arrays still lose"):
        fewest_adc_bits(loaded, HARDWARE, images=IMAGES)
