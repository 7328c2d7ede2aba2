"""One layer on its arrays: exact where they are ideal, read by converters as loops say where not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common import plain
from common.layer_on_arrays import convolution, numbers, on, pad, through_tiles
from common.strategies import conv_shapes
from rankfold.cost.energy import stage_activity
from rankfold.mapping import INPUT_CODINGS, MAPPINGS, ArraySpec, map_layer, map_low_rank
from rankfold.simulator import Converter, InputCoding, NonIdealities
from rankfold.simulator.converter import SumSample
from rankfold.simulator.draws import Draws
from rankfold.simulator.reading import Tally
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


def test_large_sums_stay_exact():
    """Sums beyond 2^24 are added in float64."""
    shape = ConvShape("layer", 4096, 1, (1, 1), (1, 1))
    array = ArraySpec(1024, 4)
    held = on(map_layer(shape, array, "im2col"), array, 8, 8, False)
    levels, weight = torch.full((1, 4096, 1, 1), 255.0), torch.full((1, 4096, 1, 1), -127)
    weight[0, 0] = -126
    assert through_tiles(held, levels, weight).item() == -(4096 * 127 - 1) * 255
