"""Budgets as users say them."""

import pytest

from rankfold.errors import InputError
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, Budget, in_units


@pytest.mark.parametrize(
    ("quantity", "text", "dense", "limit"),
    [
        (CYCLES, "40%", 1000.0, 400.0),
        (CYCLES, " 8000 ", 1000.0, 8000.0),
        (ARRAYS, "12.5 %", 80.0, 10.0),
        (ENERGY, "300nJ", 1.0, 3e5),
        (ENERGY, "1.2 uJ", 1.0, 1.2e6),
        (ENERGY, "2mJ", 1.0, 2e9),
        (ENERGY, "50%", 3e5, 1.5e5),
        ("interval", "25us", 1.0, 25.0),
        ("latency", "3 ms", 1.0, 3000.0),
        ("area", "1.5mm2", 1.0, 1.5),
        ("array_cycles", "40000", 1.0, 40000.0),
    ],
)
def test_shares_and_amounts(quantity, text, dense, limit):
    assert Budget.parse(quantity, text).limit(dense) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("quantity", "text", "example"),
    [
        (CYCLES, "0", "5000 or 40%"),
        (CYCLES, "-3", "5000 or 40%"),
        (CYCLES, "10nJ", "5000 or 40%"),
        (CYCLES, "many", "5000 or 40%"),
        (ENERGY, "10", "300nJ or 40%"),
        (ENERGY, "10pJ", "300nJ or 40%"),
        ("latency", "10nJ", "250us or 40%"),
        ("area", "3", "1.5mm2 or 40%"),
    ],
)
def test_what_is_no_budget(quantity, text, example):
    with pytest.raises(
        InputError, match=rf"budget of {quantity} \(={text}\) must be a positive amount such as {example}"
    ):
        Budget.parse(quantity, text)


def test_an_unknown_quantity_is_named():
    with pytest.raises(
        InputError, match=r"budget \(=time\): the quantity must be one of cycles, arrays, energy"
    ):
        Budget.parse("time", "10")


def test_several_budgets():
    found = Budget.parse_all("cycles=5440, energy=600nJ,array-cycles=40%")
    assert found == (Budget(CYCLES, 5440), Budget(ENERGY, 6e5), Budget("array_cycles", 0.4, True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time=3", r"budget \(=time\): the quantity must be one of cycles, arrays, energy, array-cycles"),
        ("cycles", r"budget \(=cycles\) must be such as cycles=5000"),
        ("energy=5", r"budget of energy \(=5\) must be a positive amount such as 300nJ or 40%"),
        ("", r"budget \(=\): the quantity must be one of"),
    ],
)
def test_what_is_no_list_of_budgets(text, words):
    with pytest.raises(InputError, match=words):
        Budget.parse_all(text)


def test_amounts_in_words():
    """Of what is counted whole ones; a budget of 19.8 cycles is one of 19."""
    assert in_units(CYCLES, 1) == "1 cycle"
    assert in_units(CYCLES, 19.8) == "19 cycles"
    assert in_units(ARRAYS, 1234.0) == "1,234 arrays"
    assert in_units(ARRAYS, 3 * (1 - 1e-12)) == "3 arrays"  # a sum of shares, rounded
    assert in_units(ENERGY, 1234567.0) == "1,234.6 nJ"
    assert in_units("loss", 0.25) == "0.25 of predicted loss"
