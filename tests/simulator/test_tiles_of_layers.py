"""One layer on its arrays: exact where arrays are ideal, as written out in loops where they are not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from common import plain
from common.strategies import conv_shapes
from rankfold.cost.energy import stage_activity
from rankfold.errors import InputError
from rankfold.mapping import INPUT_CODINGS, MAPPINGS, ArraySpec, map_layer, map_low_rank
from rankfold.simulator import CellCoding, Converter, InputCoding, NonIdealities
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.converter import SumSample
from rankfold.simulator.devices import drop_on_lines
from rankfold.simulator.draws import Draws
from rankfold.simulator.reading import Tally
from rankfold.simulator.schedule import schedule_mapping
from rankfold.workload import ConvShape


@st.composite
def arrays(draw):
    rows = draw(st.integers(1, 60))
    return ArraySpec(
        rows,
        draw(st.integers(12, 60)),
        draw(st.sampled_from([None, 1, 2, 3])),
        draw(st.sampled_from(["offset", "differential"])),
        draw(st.sampled_from([None, 1, 2, 3])),
        draw(st.none() | st.integers(1, rows)),
        draw(st.sampled_from(["columns", "differences"])),
        draw(st.sampled_from(INPUT_CODINGS)),
    )


def layer_on(mapping, array, weight_bits, input_bits, signed, chosen=None, dtype=torch.float32):
    return LayerArrays(
        "layer",
        schedule_mapping(mapping),
        CellCoding.of(array, weight_bits),
        InputCoding.of(array, input_bits, signed),
        chosen or NonIdealities(),
        array.rows,
        dtype=dtype,
    )


def numbers(shape, weight_bits, input_bits, signed, seed, images=2):
    """Integer inputs (B, C, H, W), and weights without the lowest, which differential cells may not hold."""
    draw = np.random.default_rng(seed)
    low, high = (-(2 ** (input_bits - 1)), 2 ** (input_bits - 1)) if signed else (0, 2**input_bits)
    levels = draw.integers(low, high, (images, shape.in_channels, *shape.input))
    weight = draw.integers(
        -(2 ** (weight_bits - 1)) + 1,
        2 ** (weight_bits - 1),
        (shape.m, shape.in_channels // shape.groups, *shape.kernel),
    )
    return torch.from_numpy(levels).float(), torch.from_numpy(weight)


def pad(levels, shape):
    top, bottom, left, right = shape.padding
    return F.pad(levels, (left, right, top, bottom))


def convolution(levels, weight, shape):
    return F.conv2d(
        pad(levels, shape).double(),
        weight.double(),
        stride=shape.stride,
        dilation=shape.dilation,
        groups=shape.groups,
    )


def through_tiles(held, levels, weight, converter=None, tally=None, seed=0):
    programmed = held.program(weight, Draws(seed, "layer"))
    return held.run(
        pad(levels, SHAPES[held.schedule]),
        programmed,
        converter,
        torch.Generator().manual_seed(seed),
        tally=tally,
    )


SHAPES = {}


def on(mapping, *arguments, **named):
    held = layer_on(mapping, *arguments, **named)
    SHAPES[held.schedule] = mapping.shape
    return held


@settings(max_examples=120)
@given(
    conv_shapes(largest=8, channels=4),
    arrays(),
    st.sampled_from(MAPPINGS),
    st.integers(2, 5),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_ideal_arrays_compute_the_convolution(shape, array, method, weight_bits, input_bits, signed, seed):
    """With ideal cells, and converters that tell all sums apart, accumulators are torch's integers."""
    input_bits += signed
    mapping = map_layer(shape, array.in_weights(weight_bits), method)
    levels, weight = numbers(shape, weight_bits, input_bits, signed, seed)
    levels.clamp_(min=InputCoding.of(array, input_bits, signed).lowest)
    wanted = convolution(levels, weight, shape)
    for chosen in (NonIdealities(), NonIdealities(adc_bits=16, adc_range="full")):
        held = on(mapping, array, weight_bits, input_bits, signed, chosen)
        converter = Converter.of(chosen, held.sums, "layer")
        assert held.is_exact(converter)
        assert torch.equal(through_tiles(held, levels, weight, converter).double(), wanted)
        programmed = held.program(weight, Draws(0, "layer"))
        assert torch.equal(
            held.run(levels, programmed, converter, None).double(), wanted
        )  # it pads with zeros itself
        fast = held.exact(pad(levels, shape), weight, shape.stride, shape.dilation, shape.groups)
        assert torch.equal(fast.double(), wanted)


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    arrays(),
    st.sampled_from(["im2col", "sdk", "best"]),
    st.integers(0, 99),
)
def test_low_rank_pairs_compute_both_stages(groups, rank, array, method, seed):
    shape = ConvShape("layer", 6, 9, (3, 3), (7, 6), padding=(1, 1, 1, 1))
    pair = map_low_rank(shape, array.in_weights(4), groups, rank, method)
    for stage, signed in ((pair.stage1, False), (pair.stage2, True)):
        levels, weight = numbers(stage.shape, 4, 4, signed, seed)
        levels.clamp_(min=InputCoding.of(array, 4, signed).lowest)
        held = on(stage, array, 4, 4, signed, NonIdealities(adc_bits=16, adc_range="full"))
        converter = Converter.of(held.chosen, held.sums, "layer")
        assert torch.equal(
            through_tiles(held, levels, weight, converter).double(), convolution(levels, weight, stage.shape)
        )


@settings(max_examples=40)
@given(
    conv_shapes(largest=7, channels=2),
    arrays(),
    st.sampled_from(MAPPINGS),
    st.integers(2, 4),
    st.integers(1, 4),
    st.booleans(),
    st.integers(2, 5),
    st.sampled_from(["full", 0.5, 3.0]),
    st.integers(0, 99),
)
def test_converters_round_and_clip_every_sum_of_every_tile_and_slice(
    shape, array, method, weight_bits, input_bits, signed, adc_bits, adc_range, seed
):
    input_bits += signed
    mapping = map_layer(shape, array.in_weights(weight_bits), method)
    levels, weight = numbers(shape, weight_bits, input_bits, signed, seed, images=1)
    levels.clamp_(min=InputCoding.of(array, input_bits, signed).lowest)
    chosen = NonIdealities(adc_bits=adc_bits, adc_range=adc_range)
    held = on(mapping, array, weight_bits, input_bits, signed, chosen, dtype=torch.float64)
    converter = Converter.of(chosen, held.sums, "layer")

    def read(found):
        code = found / converter.step
        # Which of two codes a sum halfway between them gets is a matter of the last digit of a float.
        assume(abs(code - math.floor(code) - 0.5) > 1e-9)
        return min(max(round(code), converter.low), converter.high) * converter.step

    wanted = plain.run(
        mapping, levels[0].numpy(), weight.numpy(), weight_bits, array, input_bits, signed, read
    )
    found = through_tiles(held, levels.double(), weight, converter)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_converters_count_what_they_clip():
    shape = ConvShape("layer", 2, 2, (1, 1), (2, 2))
    array = ArraySpec(2, 8)
    held = on(map_layer(shape, array, "im2col"), array, 4, 4, False, NonIdealities(adc_bits=3, adc_range=0.2))
    converter = Converter.of(held.chosen, held.sums, "layer")  # codes -3 to 3, 8 levels apart
    assert (converter.step, converter.low, converter.high) == (0.2 * 15 * 8 / 3, -3, 3)
    tally = Tally()
    levels = torch.tensor([[[[15.0, 1], [0, 1]], [[15, 0], [0, 1]]]])
    weight = torch.tensor([[7, 7], [1, -1]]).view(2, 2, 1, 1)
    found = through_tiles(held, levels, weight, converter, tally)
    # 15*7*2 = 210 clips at 24; the other sums are 0, 7, 14 and 0, 1: codes 0, 1, 2, 0.
    assert found[0, 0].tolist() == [[24, 8], [0, 16]]
    assert found[0, 1].tolist() == [[0, 0], [0, 0]]
    assert tally.clipped == 1 and held.conversions == 8


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


@settings(max_examples=40)
@given(conv_shapes(largest=8, channels=4), arrays(), st.sampled_from(MAPPINGS), st.booleans())
def test_what_is_simulated_is_what_is_priced(shape, array, method, signed):
    """Activations and conversions are those of energy, and no sum is of more rows than are driven."""
    mapping = map_layer(shape, array.in_weights(4), method)
    held = on(mapping, array, 4, 4, signed, NonIdealities(adc_bits=6, adc_range="full"))
    activity = stage_activity(mapping, array, 4, 4, input_signed=signed)
    assert held.cycles == activity.reads
    assert held.conversions == activity.conversions
    most = max(tile.rows for _, tile in mapping.tiles())
    assert held.sums.rows == min(most, array.rows_driven or most)


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


class Spy(SumSample):
    """Remembers which weight each sum was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def add(self, sums, weight):
        self.seen.append((tuple(sums.shape), weight))
        super().add(sums, weight)


def test_calibration_weighs_sums_by_what_their_error_does():
    """Slices by the square of their factors; a reference sum counts for every column of its tile."""
    shape = ConvShape("layer", 2, 5, (1, 1), (1, 1))
    array = ArraySpec(8, 40, cell_bits=2, coding="offset", dac_bits=2, converts="columns")
    held = on(map_layer(shape, array.in_weights(4), "im2col"), array, 4, 4, False, NonIdealities(adc_bits=4))
    levels, weight = numbers(shape, 4, 4, False, 1)
    spy = Spy()
    held.run(levels, held.program(weight, Draws(0, "layer")), None, None, sample=spy)
    columns = [weight for shape_, weight in spy.seen if shape_ == (1, 5, 2)]
    references = [weight for shape_, weight in spy.seen if shape_ == (1, 2)]
    assert columns == [1, 16, 16, 256]  # (cell 1, 4) x (slice 1, 4), squared
    assert references == [5 * 16, 5 * 256]  # the reference counts 4 times


def test_a_calibrated_step_serves_the_sums_that_count():
    """Few large sums that count more than many small ones get their range."""
    sample = SumSample()
    sample.add(torch.arange(16.0), 1)
    sample.add(torch.arange(0.0, 160, 10), 1e-6)
    assert sample.best_step(0, 15, 200 / 15) == 1
    sample.add(torch.arange(0.0, 160, 10), 100)
    assert sample.best_step(0, 15, 200 / 15) == pytest.approx(10, rel=0.1)


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


def test_large_sums_stay_exact():
    """Sums beyond 2^24 are added in float64."""
    shape = ConvShape("layer", 4096, 1, (1, 1), (1, 1))
    array = ArraySpec(1024, 4)
    held = on(map_layer(shape, array, "im2col"), array, 8, 8, False)
    levels, weight = torch.full((1, 4096, 1, 1), 255.0), torch.full((1, 4096, 1, 1), -127)
    weight[0, 0] = -126
    assert through_tiles(held, levels, weight).item() == -(4096 * 127 - 1) * 255


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
