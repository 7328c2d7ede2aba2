"""Cells stand for their weight, and slices for their input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common import plain
from rankfold.errors import InputError
from rankfold.mapping import INPUT_CODINGS, ArraySpec
from rankfold.mapping.array import lowest_weight
from rankfold.simulator import CellCoding, InputCoding


def test_cells_that_cannot_hold_the_lowest_weight_hold_the_next():
    """Three cells of one bit have no level for |-8|, nor has one cell of three bits; two of two bits have."""
    for cell_bits, lowest in ((1, -7), (3, -7), (2, -8)):
        coding = CellCoding(4, cell_bits, "differential")
        assert coding.lowest == lowest
        assert coding.decode(coding.encode(torch.tensor([-8, 0, 7]), "conv")).tolist() == [lowest, 0, 7]
    coding = CellCoding(4, 1, "differential")
    with pytest.raises(InputError, match="layer conv: weights must be whole numbers from -8 to 7"):
        coding.encode(torch.tensor([8]), "conv")


@given(st.integers(1, 8), st.sampled_from([None, *range(1, 9)]), st.sampled_from(["offset", "differential"]))
def test_cells_stand_for_their_weight(bits, cell_bits, coding):
    cells = CellCoding(bits, cell_bits, coding)
    weight = torch.arange(-(1 << bits - 1) + (bits > 1), 1 << bits - 1)
    if bits == 1 and coding == "differential" and cell_bits is not None:
        weight = torch.tensor([0])
    stored = cells.encode(weight, "conv")
    assert torch.equal(cells.decode(stored), weight)
    assert stored.abs().max() <= cells.highest and (cells.signed or stored.min() >= 0)
    if cell_bits is not None:
        assert stored.shape[-1] == ArraySpec(8, 80, cell_bits, coding).columns_per_weight(bits)
        columns = [plain.cells_of(int(value), bits, cell_bits, coding) for value in weight]
        assert stored.tolist() == [[level for level, _ in column] for column in columns]


@given(st.integers(1, 8), st.sampled_from([None, *range(1, 9)]), st.sampled_from(["offset", "differential"]))
def test_an_array_knows_the_lowest_weight_that_its_cells_hold(bits, cell_bits, coding):
    array = ArraySpec(8, 80, cell_bits, coding)
    cells = CellCoding.of(array, bits)
    every = torch.arange(-(1 << bits - 1), 1 << bits - 1)
    held = cells.decode(cells.encode(every, "conv"))
    assert int(held.min()) == lowest_weight(bits, cell_bits, coding) == cells.lowest
    assert array.lacks_lowest(bits) == (int(held[0]) != int(every[0]))


@given(
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from([None, *range(1, 9)]),
    st.sampled_from(INPUT_CODINGS),
)
def test_slices_stand_for_their_input(bits, signed, dac_bits, coding):
    bits += signed
    array = ArraySpec(8, 8, dac_bits=dac_bits, input_coding=coding)
    inputs = InputCoding.of(array, bits, signed)
    levels = torch.arange(inputs.lowest, 1 << bits - 1) if signed else torch.arange(1 << bits)
    driven = torch.stack(list(inputs.slices(levels)))
    assert torch.equal((driven * torch.tensor(inputs.factors)[:, None]).sum(0), levels)
    assert int(driven.abs().max()) == inputs.highest
    assert (int(driven.min()) < 0) == inputs.driven_negative
    assert len(driven) == array.cycles_per_vector(bits, signed)
    found = [plain.slices_of(int(level), bits, signed, dac_bits, coding) for level in levels]
    assert driven.T.tolist() == [[part for part, _ in slices] for slices in found]


@pytest.mark.parametrize(
    "coding, dac_bits, lowest, slices",
    [
        ("twos-complement", 1, -128, 8),
        ("sign-magnitude", 1, -127, 7),
        ("differential", 1, -127, 14),
        ("sign-magnitude", 2, -128, 4),
        ("differential", 7, -127, 2),
        ("sign-magnitude", 8, -128, 1),
        ("differential", None, -128, 1),
    ],
)
def test_the_lowest_level_is_driven_where_slices_have_room_for_it(coding, dac_bits, lowest, slices):
    inputs = InputCoding(8, True, dac_bits, coding)
    assert inputs.lowest == lowest
    assert len(inputs.factors) == slices


def test_small_negative_inputs_drive_few_slices_but_in_twos_complement():
    """What makes narrow converters err: -1 switches all eight bits on, or one."""
    for coding, lines in (("twos-complement", 8), ("sign-magnitude", 1), ("differential", 1)):
        driven = torch.stack(list(InputCoding(8, True, 1, coding).slices(torch.tensor([-1]))))
        assert int(driven.count_nonzero()) == lines
