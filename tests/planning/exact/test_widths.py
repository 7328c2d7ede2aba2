"""Bits that layers may have, as users say them."""

import pytest

from rankfold.errors import InputError
from rankfold.planning.exact.widths import BitChoices


@pytest.mark.parametrize(
    ("text", "weights", "inputs"),
    [
        ("2-8", range(2, 9), range(2, 9)),
        ("8, 2,4", (2, 4, 8), (2, 4, 8)),
        ("2-3,8/4", (2, 3, 8), (4,)),
        ("4/4-6", (4,), (4, 5, 6)),
    ],
)
def test_what_is_read(text, weights, inputs):
    assert BitChoices.parse(text) == BitChoices(tuple(weights), tuple(inputs))


@pytest.mark.parametrize(
    "text", ["", "2-", "8-2", "4/", "a", "2.5", "-4", "4//4", "4/4/4", "1-8", "2-999999999", "9" * 5000]
)
def test_what_is_no_choice(text):
    with pytest.raises(InputError, match=r"layer bits \(=.*\) must be widths from 2 to 8, such as 2-8"):
        BitChoices.parse(text)


def test_widths_out_of_range():
    with pytest.raises(InputError, match=r"weights \(=1\) must be whole numbers from 2 to 8"):
        BitChoices((1, 8), (4,))
    with pytest.raises(InputError, match=r"inputs \(=9\) must be whole numbers from 2 to 8"):
        BitChoices((2,), (4, 9))
    for nothing in ((), "248", 4):
        with pytest.raises(InputError, match="weights must be some of 2 to 8"):
            BitChoices(nothing, (4,))


def test_a_layers_own_bits_are_among_them():
    assert BitChoices((2, 4), (3,)).with_own(8, 4) == BitChoices((2, 4, 8), (3, 4))
