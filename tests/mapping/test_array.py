"""`ArraySpec`: sizes, and what precision costs on real arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.mapping import INPUT_CODINGS, ArraySpec


def test_parse():
    assert ArraySpec.parse(" 512X256 ") == ArraySpec(512, 256)
    for text in ("64by64", "64", "0x64", "64x-1", "x", "6.4x64", "9999999999x1"):
        with pytest.raises(InputError, match="array"):
            ArraySpec.parse(text)


def test_columns_and_cycles_by_hand():
    """8-bit weights in 2-bit cells: 4 columns with an offset; 7 magnitude bits, 4 pairs of columns, as
    differences.
    """
    offset = ArraySpec(64, 64, cell_bits=2, coding="offset", dac_bits=1)
    assert offset.columns_per_weight(8) == 4
    assert offset.in_weights(8).columns == 15  # one column is the reference that takes the offset off again
    assert offset.cycles_per_vector(8) == 8
    pairs = ArraySpec(64, 64, cell_bits=2, coding="differential", dac_bits=4)
    assert pairs.columns_per_weight(8) == 8
    assert pairs.in_weights(8).columns == 8
    assert pairs.cycles_per_vector(6) == 2
    plain = ArraySpec(64, 64)
    assert plain.in_weights(4) == plain
    assert plain.columns_per_weight(8) == plain.cycles_per_vector(8) == 1


def test_slices_of_signed_inputs_by_hand():
    """NeuRRAM drives inputs of four bits as three pulses of either sign; two passes take twice as many."""
    slices = {}
    for coding in INPUT_CODINGS:
        array = ArraySpec(64, 64, dac_bits=1, input_coding=coding)
        slices[coding] = [array.cycles_per_vector(4, signed) for signed in (False, True, None)]
        assert ArraySpec(64, 64, input_coding=coding).cycles_per_vector(4, True) == 1
    assert slices == {
        "twos-complement": [4, 4, 4],
        "sign-magnitude": [4, 3, 4],
        "differential": [4, 6, 6],
    }


@given(
    st.integers(1, 600),
    st.sampled_from(["offset", "differential"]),
    st.integers(1, 8),
    st.integers(1, 16),
    st.integers(1, 16),
)
def test_more_bits_never_need_fewer_columns_or_cycles(columns, coding, cell_bits, weight_bits, input_bits):
    array = ArraySpec(8, columns, cell_bits, coding, cell_bits)
    wider = ArraySpec(8, columns, cell_bits + 1, coding, cell_bits + 1)
    assert array.columns_per_weight(weight_bits) <= array.columns_per_weight(weight_bits + 1)
    assert wider.columns_per_weight(weight_bits) <= array.columns_per_weight(weight_bits)
    assert wider.cycles_per_vector(input_bits) <= array.cycles_per_vector(input_bits)
    levels = 2 ** (cell_bits * array.columns_per_weight(weight_bits) // (1 if coding == "offset" else 2))
    assert levels >= 2**weight_bits if coding == "offset" else levels >= 2 ** (weight_bits - 1)
    if columns > array.columns_per_weight(weight_bits):
        seen = array.in_weights(weight_bits)
        used = seen.columns * array.columns_per_weight(weight_bits)
        assert used + (coding == "offset") <= columns
        assert seen.rows == 8


def test_what_is_refused():
    for field, value, message in (
        ("rows", 0, "array rows"),
        ("columns", 1 << 21, "array columns"),
        ("cell_bits", 0, "cell_bits"),
        ("dac_bits", 33, "dac_bits"),
        ("coding", "gray", "must be one of offset, differential"),
        ("input_coding", "offset", "must be one of twos-complement, sign-magnitude, differential"),
    ):
        with pytest.raises(InputError, match=message):
            ArraySpec(**{"rows": 8, "columns": 8, field: value})
    with pytest.raises(InputError, match="do not hold one weight of 8 bits in cells of 1"):
        ArraySpec(64, 8, cell_bits=1).in_weights(8)
    with pytest.raises(InputError, match=r"weight_bits \(=0\) must be a whole number from 1 to 32"):
        ArraySpec(64, 8, cell_bits=1).columns_per_weight(0)


@given(st.integers(1, 90), st.data())
def test_rows_are_driven_in_turns(rows, data):
    """As many rows at a time as are driven, until none is left."""
    driven = data.draw(st.integers(1, rows))
    array = ArraySpec(rows, 8, rows_driven=driven)
    used = left = data.draw(st.integers(1, rows))
    turns = 0
    while left > 0:
        left -= driven
        turns += 1
    assert array.turns(used) == turns
    assert ArraySpec(rows, 8).turns(used) == 1
    assert array.in_weights(4).rows_driven == driven
    assert not array.counts_vectors


@pytest.mark.parametrize("driven", [0, 9, 2.0, True])
def test_rows_that_cannot_be_driven_are_refused(driven):
    with pytest.raises(InputError, match=r"array rows_driven \(=.*\) must be a whole number from 1 to"):
        ArraySpec(8, 8, rows_driven=driven)
