"""The front of a layer's mappings, against all windows and tiles that are made."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec, execute, map_layer, mapping_front
from rankfold.mapping.front import undominated
from rankfold.mapping.layer import map_with_window
from rankfold.workload import ConvShape

GROUPS = st.sampled_from([(1, 1, 1), (2, 3, 1), (4, 4, 4), (4, 2, 2)])  # C_in, m, G
ARRAYS = st.builds(ArraySpec, st.integers(2, 24), st.integers(2, 24))


@st.composite
def layers(draw):
    channels, outputs, groups = draw(GROUPS)
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    output = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    size = [(pixels - 1) * step + edge for pixels, step, edge in zip(output, stride, kernel, strict=True)]
    return ConvShape("layer", channels, outputs, kernel, tuple(size), stride=stride, groups=groups)


def counted(mapping):
    """Cycles, arrays and conversions from the tiles themselves, each made once."""
    cycles = conversions = 0
    arrays = {}
    for region in mapping.regions:
        tiles = list(region.tiles())
        cycles += region.activations * len(tiles)
        conversions += region.activations * sum(tile.columns for tile in tiles)
        arrays[region.stored] = len(tiles)
    return cycles, sum(arrays.values()), conversions


@given(layers(), ARRAYS)
def test_the_front_is_that_of_all_windows_and_methods(shape, array):
    height, width = shape.output
    every = [map_layer(shape, array, method) for method in MAPPINGS]
    for window in product(range(1, height + 1), range(1, width + 1)):
        if window[0] * window[1] <= array.columns:
            every.append(map_with_window(shape, array, window))
    costs = {counted(mapping) for mapping in every}
    best = {one for one in costs if not any(other != one and beats(other, one) for other in costs)}
    front = mapping_front(shape, array)
    assert {counted(mapping) for mapping in front} == best
    assert len(front) == len(best)
    assert [mapping.cycles for mapping in front] == sorted(mapping.cycles for mapping in front)
    for mapping in front:
        assert counted(map_layer(shape, array, mapping.method)) == counted(mapping)


def beats(one, other):
    return all(left <= right for left, right in zip(one, other, strict=True))


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12))
def test_what_nothing_is_as_good_as(rows):
    found = undominated(np.array(rows, float))
    for index, row in enumerate(rows):
        beaten = [
            other for at, other in enumerate(rows) if beats(other, row) and (other != row or at < index)
        ]
        assert (index in found) == (not beaten)


def test_a_named_window_computes_the_convolution():
    shape = ConvShape("layer", 2, 3, (3, 3), (6, 7))
    mapping = map_layer(shape, ArraySpec(16, 12), "2x3")
    assert (mapping.window, mapping.method) == ((2, 3), "2x3")
    rng = np.random.default_rng(0)
    inputs, weight = rng.integers(-3, 4, (2, 6, 7)), rng.integers(-3, 4, (3, 2, 3, 3))
    by_pixel = execute(map_layer(shape, ArraySpec(16, 12), "im2col"), inputs, weight)
    assert (execute(mapping, inputs, weight) == by_pixel).all()


@pytest.mark.parametrize(
    ("output", "columns", "window"),
    [((8, 8), 64, (4, 6)), ((3, 8), 64, (3, 6)), ((8, 8), 10, (4, 2)), ((8, 8), 3, (3, 1))],
)
def test_as_much_of_a_window_as_there_is_room_for(output, columns, window):
    shape = ConvShape("layer", 1, 1, (1, 1), output)
    assert map_layer(shape, ArraySpec(64, columns), "4x6").window == window


@pytest.mark.parametrize("name", ["0x2", "2x", "2x2+2x2", "x", "2×2", "best "])
def test_what_is_no_mapping(name):
    with pytest.raises(InputError, match="or a window such as 4x8"):
        map_layer(ConvShape("layer", 1, 1, (1, 1), (4, 4)), ArraySpec(8, 8), name)
