"""Window layers as candidates: which windows, which rows, and what their matrices are predicted to lose."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rankfold.mapping import ArraySpec
from rankfold.mapping.window_matrix import filling_window, window_cycles, window_shape
from rankfold.plan import WindowLayer
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import PIXEL, candidates_of, window
from rankfold.workload import ConvShape, Network

ARRAY = ArraySpec(16, 32)
PART = candidates_of(WindowLayer)


def slot_of(outputs=8, plane=(6, 6), array=ARRAY, groups=1):
    """A 3x3 layer of four bits, and four channels a group, between a first convolution and a classifier."""
    layer = ConvShape("layer", 4 * groups, outputs, (3, 3), plane, padding=(1, 1, 1, 1), groups=groups)
    first, last = ConvShape("first", 4, 4, (1, 1), plane), ConvShape("last", 8, 8, (1, 1), (1, 1))
    return layer_slots(Network("net", (4, *plane), (first, layer, last)), array, 4)[1]


SIDES = st.integers(1, 9)


@given(SIDES, SIDES, SIDES, st.integers(1, 40), st.integers(1, 3))
def test_windows_fill_the_columns_or_divide_one_that_does(outputs, height, width, columns, groups):
    def fits(a, b):
        return a <= height and b <= width and a * b * outputs <= columns

    filling = [
        (a, b)
        for a in range(1, height + 1)
        for b in range(1, width + 1)
        if fits(a, b) and not fits(a + 1, b) and not fits(a, b + 1)
    ]
    wanted = {
        (a, b)
        for a in range(1, height + 1)
        for b in range(1, width + 1)
        if any(not height % a and not width % b for height, width in filling)
    }
    slot = slot_of(outputs * groups, (height, width), ArraySpec(16, columns), groups)
    found = PART.windows(slot)
    assert set(found) == wanted - {(1, 1)} and len(set(found)) == len(found)


@given(SIDES, SIDES, SIDES, st.integers(1, 40))
def test_of_windows_whose_pixels_share_no_input_one_of_each_size_is_enough(outputs, height, width, columns):
    """No other of as many pixels needs fewer cycles, however many rows are kept."""
    array, plane = ArraySpec(16, columns), (height, width)
    slot = slot_of(outputs, plane, array)
    every = PART.windows(slot)
    alone = replace(slot.shape, kernel=(1, 1), padding=(0, 0, 0, 0))
    found = PART.windows(replace(slot, shape=alone))
    sizes = [a * b for a, b in found]
    assert set(sizes) == {a * b for a, b in every} and len(set(sizes)) == len(sizes)
    for rows in (None, 16, 32):
        cycles = {a * b: window_cycles(alone, (a, b), array, rows) for a, b in found}
        assert all(cycles[a * b] <= window_cycles(alone, (a, b), array, rows) for a, b in every)


@given(SIDES, SIDES, SIDES, st.integers(1, 3), st.integers(1, 40), st.integers(1, 3))
def test_no_window_of_one_column_tile_needs_fewer_cycles(outputs, height, width, groups, columns, row_tiles):
    """Groups included: what the planner proposes is as cheap as what `--window auto` finds."""
    array = ArraySpec(16, columns)
    slot = slot_of(outputs * groups, (height, width), array, groups)
    window = filling_window([slot.shape], array, row_tiles)
    rows = row_tiles * array.rows
    if window == PIXEL or window_shape(slot.shape, window).n < rows:
        return  # the layer as it is, or one of so few inputs that others have other numbers of tiles
    proposed = [window_cycles(slot.shape, one, array, rows) for one in PART.windows(slot)]
    assert min(proposed) <= window_cycles(slot.shape, window, array, rows)


def test_windows_are_chosen_for_columns_in_weights():
    """Four differential cells of two bits hold a weight of four, so that a quarter as many pixels fit."""
    pixels = {}
    for cell_bits in (None, 2):
        array = ArraySpec(16, 64, cell_bits=cell_bits)
        pixels[cell_bits] = max(a * b for a, b in PART.windows(slot_of(array=array)))
    assert pixels == {None: 8, 2: 2}


def test_windows_of_too_many_inputs_are_none(monkeypatch):
    slot = slot_of()
    assert (2, 2) in PART.windows(slot)
    monkeypatch.setattr(window, "LARGEST_WINDOW", window_shape(slot.shape, (2, 2)).n - 1)
    assert set(PART.windows(slot)) == {(1, 2), (2, 1)}


def test_rows_are_whole_tiles_or_all():
    slot = slot_of()
    entries = list(PART.entries(slot, None))
    assert len(set(entries)) == len(entries)
    for entry in entries:
        entry.kind.check(slot.shape)
    for size in {entry.kind.window for entry in entries}:
        rows = [entry.kind.rows for entry in entries if entry.kind.window == size]
        inputs = window_shape(slot.shape, size).n
        wanted = [16 * k for k in range(1, 99) if 16 * k < inputs]
        if size != (1, 1):
            wanted.append(None)  # one pixel of all inputs is the layer as it is
        assert rows == wanted


def test_a_layer_that_runs_on_two_planes_has_windows_of_the_smaller():
    layer = ConvShape("layer", 4, 8, (3, 3), (6, 6), padding=(1, 1, 1, 1))
    again = replace(layer, name="layer#2", weight="layer", input=(2, 1))
    first, last = ConvShape("first", 4, 4, (1, 1), (6, 6)), ConvShape("last", 8, 8, (1, 1), (1, 1))
    slot = layer_slots(Network("net", (4, 6, 6), (first, layer, again, last)), ArraySpec(16, 64))[1]
    assert slot.plane == (2, 1)
    assert PART.windows(slot) == ((2, 1),)
