"""One layer on arrays that fall short: which cells, reads and lines err, and by how much."""

import pytest
import torch

from common.layer_on_arrays import convolution, numbers, on, through_tiles
from rankfold.mapping import ArraySpec, map_layer
from rankfold.simulator import Converter, NonIdealities
from rankfold.simulator.devices import drop_on_lines
from rankfold.simulator.draws import Draws
from rankfold.workload import ConvShape


def test_each_copy_of_a_kernel_has_noise_of_its_own():
    """Of an image of equal pixels all outputs are alike, until four copies of the kernel err on their own."""
    shape = ConvShape("layer", 1, 1, (1, 1), (4, 4))
    array = ArraySpec(4, 4)
    mapping = map_layer(shape, array, "sdk")
    assert mapping.window == (2, 2)
    held = on(mapping, array, 4, 4, False, NonIdealities(program_noise=0.1))
    found = through_tiles(held, torch.full((1, 1, 4, 4), 9.0), torch.full((1, 1, 1, 1), 5))[0, 0]
    assert len(found.unique()) == 4
    for y in (0, 1):
        for x in (0, 1):
            assert len(found[y::2, x::2].unique()) == 1


def test_regions_that_store_the_same_matrix_share_its_noise():
    """A dilated layer is four interleaved convolutions on the same arrays."""
    shape = ConvShape("layer", 1, 1, (3, 3), (10, 10), dilation=(2, 2))
    array = ArraySpec(20, 16)
    mapping = map_layer(shape, array, "best")
    assert len(mapping.regions) > len(mapping.loads) == 1
    held = on(mapping, array, 4, 4, False, NonIdealities(program_noise=0.1))
    programmed = held.program(torch.full((1, 1, 3, 3), 5), Draws(0, "layer"))
    assert len(programmed.cells) == 1
    found = held.run(torch.full((1, 1, 10, 10), 9.0), programmed, None, None)[0, 0]
    window = mapping.window
    assert len(found.unique()) == window[0] * window[1]


def test_read_noise_has_the_deviation_that_its_cells_add_up_to():
    shape = ConvShape("layer", 8, 4, (1, 1), (40, 40))
    array = ArraySpec(8, 40, cell_bits=2, coding="differential")
    mapping = map_layer(shape, array.in_weights(3), "im2col")
    held = on(mapping, array, 3, 4, False, NonIdealities(read_noise=0.02))
    levels, weight = numbers(shape, 3, 4, False, 1, images=4)
    error = through_tiles(held, levels, weight) - convolution(levels, weight, shape)
    # Two columns of one cell each; every cell errs by 0.02 * 3 levels, times its input.
    wanted = 0.02 * 3 * (2 * levels.square().sum(1, keepdim=True)).sqrt()
    assert float((error / wanted).std()) == pytest.approx(1, abs=4 / (2 * error.numel()) ** 0.5)
    assert abs(float(error.mean())) < 4 * float(error.std()) / error.numel() ** 0.5


@pytest.mark.parametrize("coding", ["differential", "offset"])
def test_differences_have_the_read_noise_of_both_columns(coding):
    """Of the two cells of a pair, or of a column's own cell and the reference's."""
    shape = ConvShape("layer", 8, 4, (1, 1), (40, 40))
    array = ArraySpec(8, 60, cell_bits=3, coding=coding, converts="differences")
    mapping = map_layer(shape, array.in_weights(3), "im2col")
    chosen = NonIdealities(read_noise=0.02)
    held = on(mapping, array, 3, 4, False, chosen)
    levels, weight = numbers(shape, 3, 4, False, 1, images=4)
    error = through_tiles(held, levels, weight) - convolution(levels, weight, shape)
    scale = 0.02 * held.cell_coding.highest * levels.square().sum(1, keepdim=True).sqrt()
    share = error / scale
    assert float(share.square().mean()) == pytest.approx(2, rel=0.08)
    # Columns of a tile share the noise of their reference, and pairs share nothing.
    together = float((share[:, 0] * share[:, 1]).mean())
    assert together == pytest.approx({"offset": 1, "differential": 0}[coding], abs=0.08)


def test_read_noise_reaches_the_converter_in_full():
    """Codes are several levels apart; the noise in them is that of the cells, and that of rounding."""
    shape = ConvShape("layer", 8, 4, (1, 1), (40, 40))
    array = ArraySpec(8, 40)
    levels, weight = numbers(shape, 3, 4, False, 1, images=4)
    held = on(
        map_layer(shape, array, "im2col"),
        array,
        3,
        4,
        False,
        NonIdealities(adc_bits=8, adc_range=9.0, read_noise=0.1),
    )
    converter = Converter.of(held.chosen, held.sums, "layer")
    assert converter.step == pytest.approx(9 * 15 * 4 / 127)
    error = through_tiles(held, levels, weight, converter) - convolution(levels, weight, shape)
    noise = 0.1 * 4 * levels.square().sum(1, keepdim=True).sqrt()
    wanted = (noise**2 + converter.step**2 / 12).sqrt()
    assert float((error / wanted).std()) == pytest.approx(1, abs=4 / (2 * error.numel()) ** 0.5)


@pytest.mark.parametrize(
    "chosen",
    [{"program_noise": 0.1}, {"stuck": 0.5}, {"drift": 1e6}, {"read_noise": "pcm"}, {"ir_drop": 1e-4}],
)
def test_the_reference_column_falls_short_too(chosen):
    shape = ConvShape("layer", 4, 3, (3, 3), (5, 5))
    array = ArraySpec(40, 40, cell_bits=2, coding="offset", converts="columns")
    held = on(
        map_layer(shape, array.in_weights(4), "im2col"),
        array,
        4,
        4,
        False,
        NonIdealities(adc_bits=8, **chosen),
    )
    _, weight = numbers(shape, 4, 4, False, 0)
    reference = held.program(weight, Draws(0, "layer")).cells[0][0].held[-1]
    level, _ = held.cell_coding.reference
    assert (reference != level).double().mean() > 0.3


def test_lines_are_as_long_as_the_array():
    """A tile of few rows sits far from the converters."""
    shape = ConvShape("layer", 4, 3, (1, 1), (5, 5))
    _, weight = numbers(shape, 4, 4, False, 0)
    chosen = NonIdealities(adc_bits=8, ir_drop=1e-3)
    for rows in (4, 64):
        array = ArraySpec(rows, 40, cell_bits=4, coding="offset", converts="columns")
        held = on(map_layer(shape, array.in_weights(4), "im2col"), array, 4, 4, False, chosen)
        (cells,) = held.program(weight, Draws(0, "layer")).cells[0]
        levels = torch.cat([weight.view(3, 4) + 8, torch.full((1, 4), 8)]).float()
        torch.testing.assert_close(cells.held, drop_on_lines(levels.T / 15, 1e-3, rows, "layer").T * 15)


def test_rows_driven_in_turns_keep_their_place_on_the_lines():
    """Only driven rows drop a voltage; those further up are further from the converters."""
    shape = ConvShape("layer", 5, 3, (1, 1), (5, 5))
    _, weight = numbers(shape, 4, 4, False, 0)
    chosen = NonIdealities(adc_bits=8, ir_drop=1e-3)
    array = ArraySpec(16, 40, cell_bits=4, coding="offset", rows_driven=2, converts="columns")
    held = on(map_layer(shape, array.in_weights(4), "im2col"), array, 4, 4, False, chosen)
    levels = torch.cat([weight.view(3, 5) + 8, torch.full((1, 5), 8)]).float()
    parts = []
    for first in (0, 2, 4):
        driven = levels[:, first : first + 2].T / 15
        parts.append(drop_on_lines(driven, 1e-3, 16 - first, "layer").T * 15)
    found = held.program(weight, Draws(0, "layer")).cells[0]
    for cells, wanted in zip(found, parts, strict=True):
        torch.testing.assert_close(cells.held, wanted)


def test_the_mean_of_the_drift_is_taken_back():
    shape = ConvShape("layer", 16, 8, (3, 3), (8, 8))
    array = ArraySpec(64, 64, cell_bits=2, coding="differential")
    levels, weight = numbers(shape, 4, 4, False, 1)
    wanted = convolution(levels, weight, shape)
    ratios = []
    for compensation in (False, True):
        chosen = NonIdealities(drift=86400.0 * 30, drift_compensation=compensation)
        held = on(map_layer(shape, array.in_weights(4), "im2col"), array, 4, 4, False, chosen)
        found = through_tiles(held, levels, weight)
        ratios.append(float((found * wanted).sum() / wanted.square().sum()))
    assert ratios[0] < 0.6 and ratios[1] == pytest.approx(1, abs=0.05)


def test_output_noise_is_relative_to_one_cell_fully_on():
    shape = ConvShape("layer", 6, 4, (1, 1), (40, 40))
    array = ArraySpec(2, 40)
    held = on(map_layer(shape, array, "im2col"), array, 4, 4, False, NonIdealities(output_noise=0.1))
    levels, weight = numbers(shape, 4, 4, False, 1, images=4)
    error = through_tiles(held, levels, weight) - convolution(levels, weight, shape)
    # Three row tiles, each read once, with 0.1 * 15 * 8.
    assert float(error.std()) == pytest.approx(0.1 * 15 * 8 * 3**0.5, rel=4 / (2 * error.numel()) ** 0.5)


def test_the_same_seed_gives_the_same_chip():
    shape = ConvShape("layer", 3, 4, (3, 3), (6, 6))
    array = ArraySpec(20, 12, cell_bits=2)
    chosen = NonIdealities(program_noise=0.1, read_noise=0.1, stuck=0.1, drift=100.0)
    held = on(map_layer(shape, array.in_weights(4), "best"), array, 4, 4, False, chosen)
    levels, weight = numbers(shape, 4, 4, False, 1)
    first, again, other = (through_tiles(held, levels, weight, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
