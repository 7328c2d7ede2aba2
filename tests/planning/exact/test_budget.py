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
        ("time", "10", "5000 or 40%"),
    ],
)
def test_what_is_no_budget(quantity, text, example):
    with pytest.raises(
        InputError, match=rf"budget of {quantity} \(={text}\) must be a positive amount such as {example}"
    ):
        Budget.parse(quantity, text)


def test_amounts_in_words():
    """Of what is counted whole ones; a budget of 19.8 cycles is one of 19."""
    assert in_units(CYCLES, 1) == "1 cycle"
    assert in_units(CYCLES, 19.8) == "19 cycles"
    assert in_units(ARRAYS, 1234.0) == "1,234 arrays"
    assert in_units(ARRAYS, 3 * (1 - 1e-12)) == "3 arrays"  # a sum of shares, rounded
    assert in_units(ENERGY, 1234567.0) == "1,234.6 nJ"
    assert in_units("loss", 0.25) == "0.25 nats of loss"
