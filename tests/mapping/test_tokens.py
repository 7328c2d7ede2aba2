"""Sequences of tokens: several tokens a cycle, each driving a copy of the matrix of its own."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.brute_force import fewest_cycles, stored_blocks, tiles_of
from rankfold.mapping import ArraySpec, map_layer, map_with_window
from rankfold.workload import ConvShape

ARRAYS = st.builds(ArraySpec, st.integers(1, 14), st.integers(1, 14))


@st.composite
def layers_on_tokens(draw, most=9):
    """A fully connected layer on up to so many tokens, or one for each of several heads."""
    heads, tokens = draw(st.sampled_from((1, 1, 2, 3))), draw(st.integers(1, most))
    inputs, outputs = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    plane = draw(st.sampled_from(((tokens, 1), (1, tokens))))
    return ConvShape("fc", heads * inputs, heads * outputs, (1, 1), plane, groups=heads, kind="linear")


def cycles_of_copies(shape, array, copies):
    """By brute force: the matrix of so many tokens written out, block-diagonal, and cut into tiles."""
    window = (copies, 1) if shape.input[1] == 1 else (1, copies)
    whole = (0, shape.in_channels // shape.groups), (0, shape.m // shape.groups)
    tiles = tiles_of(stored_blocks(shape, window, *whole), array.rows, array.columns)
    return tiles, math.ceil(max(shape.input) / copies) * tiles


@settings(max_examples=60)
@given(layers_on_tokens(), ARRAYS)
def test_every_number_of_copies_is_counted_as_by_brute_force(shape, array):
    for copies in range(1, min(max(shape.input), array.columns) + 1):
        window = (copies, 1) if shape.input[1] == 1 else (1, copies)
        assert map_with_window(shape, array, window).cycles == cycles_of_copies(shape, array, copies)[1]


@settings(max_examples=60)
@given(layers_on_tokens(), ARRAYS)
def test_sdk_takes_the_most_copies_that_need_no_more_tiles(shape, array):
    alone, _ = cycles_of_copies(shape, array, 1)
    most = min(max(shape.input), array.columns)
    fitting = [n for n in range(1, most + 1) if cycles_of_copies(shape, array, n)[0] <= alone]
    mapping = map_layer(shape, array, "sdk")
    assert max(mapping.window) == max(fitting)
    assert mapping.tile_count <= alone
    assert map_layer(shape, array, "best").cycles <= mapping.cycles


@settings(max_examples=40)
@given(layers_on_tokens(most=6), ARRAYS)
def test_best_is_exact_on_tokens(shape, array):
    assert map_layer(shape, array, "best").cycles == fewest_cycles(shape, array)


@pytest.mark.parametrize(
    ("side", "copies", "cycles"), [(256, 1, 197), (512, 2, 99), (1024, 5, 40)], ids=["256", "512", "1024"]
)
def test_a_layer_of_vit_tiny_on_large_arrays(side, copies, cycles):
    """floor(side / 192) copies of 192 x 192 on the diagonal, each driven by one of 197 tokens."""
    shape = ConvShape("q_proj", 192, 192, (1, 1), (197, 1), kind="linear")
    mapping = map_layer(shape, ArraySpec(side, side), "sdk")
    assert (mapping.window, mapping.tile_count, mapping.cycles) == ((copies, 1), 1, cycles)
