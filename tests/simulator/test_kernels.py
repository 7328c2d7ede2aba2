"""The compiled kernel reads strips as torch's operations do, to the last bit."""

import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.strategies import conv_shapes
from rankfold.machine import NonIdealities
from rankfold.mapping import INPUT_CODINGS, MAPPINGS, ArraySpec, map_layer
from rankfold.simulator import Converter, strips
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.draws import Draws
from rankfold.simulator.kernels import Cells, Codes, kernels
from rankfold.simulator.reading import Tally
from rankfold.simulator.schedule import schedule_mapping
from rankfold.workload import ConvShape

compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
IDEAL = NonIdealities(adc_bits=3, adc_range=1.0)
IMAGES = st.sampled_from([1, 15, 17, 70, 131])


@st.composite
def array_specs(draw):
    rows = draw(st.integers(1, 40))
    return ArraySpec(
        rows,
        draw(st.integers(12, 60)),
        draw(st.sampled_from([1, 2, 3])),
        draw(st.sampled_from(["offset", "differential"])),
        draw(st.sampled_from([None, 1, 2])),
        converts=draw(st.sampled_from(["columns", "differences"])),
        rows_driven=draw(st.none() | st.integers(1, rows)),
        input_coding=draw(st.sampled_from(INPUT_CODINGS)),
    )


def layer_on_arrays(shape, array, method, signed, chosen):
    """The arrays of a layer, programmed, and what draws inputs for them."""
    mapping = map_layer(shape, array.in_weights(4), method)
    coding = CellCoding.of(array, 4), InputCoding.of(array, 4, signed)
    held = LayerArrays("layer", schedule_mapping(mapping), *coding, chosen, array.rows)
    draw = torch.Generator().manual_seed(0)
    size = (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    programmed = held.program(torch.randint(-7, 8, size, generator=draw), Draws(0, "layer"))
    low = coding[1].lowest

    def levels(images):
        size = (images, shape.in_channels, *shape.input)
        return torch.randint(low, 8 if signed else 16, size, generator=draw).float()

    return held, programmed, levels


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_64ths(strip):
    return replace(strip, held=(64 * strip.held).round() / 64)


def by_torch(held, *given, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "kernels", lambda: None)
        return held.run(*given, **options)


@compiled
@settings(max_examples=30)
@given(
    shape=conv_shapes(largest=7, channels=3),
    array=array_specs(),
    method=st.sampled_from(MAPPINGS),
    signed=st.booleans(),
    step=st.sampled_from([1.0, 2.0, 4.0]),  # sums over it are exact, and halves go to even
    noise=st.sampled_from([0.0, 0.2]),
    images=IMAGES,
    count=st.sampled_from([1, 2, 3]),
)
def test_sums_are_read_alike_by_the_kernel_and_by_torch(
    shape, array, method, signed, step, noise, images, count
):
    chosen = replace(IDEAL, program_noise=noise)
    held, programmed, levels = layer_on_arrays(shape, array, method, signed, chosen)
    # No cell is whole, and still no addition rounds: 40 rows of levels up to 7 and inputs up to 15, in 64ths.
    cells = tuple(tuple(map(in_64ths, strips)) for strips in programmed.cells)
    programmed, levels = replace(programmed, cells=cells), levels(images)
    converter = Converter(step, -3 if held.sums.signed else 0, 3)
    assert kernels() is not None
    tallies = Tally(), Tally()
    with pytest.MonkeyPatch.context() as patch, threads(count):
        patch.setattr(strips, "ELEMENTS_AT_ONCE", 100)  # in several parts
        found = held.run(levels, programmed, converter, None, tally=tallies[0])
    expected = by_torch(held, levels, programmed, converter, None, tally=tallies[1])
    assert torch.equal(found, expected)
    assert tallies[0].clipped == tallies[1].clipped


@compiled
@settings(max_examples=15)
@given(
    shape=conv_shapes(largest=7, channels=3),
    array=array_specs(),
    method=st.sampled_from(MAPPINGS),
    signed=st.booleans(),
    images=IMAGES,
    count=st.sampled_from([1, 2, 3]),
)
def test_images_are_read_alike_alone_together_and_by_any_number_of_threads(
    shape, array, method, signed, images, count
):
    chosen = replace(IDEAL, program_noise=0.2)
    held, programmed, levels = layer_on_arrays(shape, array, method, signed, chosen)
    levels = levels(images)
    # A step so small that codes are the sums themselves: a bit rounded in another way is seen.
    converter = Converter(2.0**-20, -(2**60), 2**60)
    with threads(count):
        together = held.run(levels, programmed, converter, None)
    with threads(1):
        apart = torch.cat([held.run(one, programmed, converter, None) for one in levels.split(7)])
    assert torch.equal(together, apart)


@compiled
@pytest.mark.parametrize("noise", [{"read_noise": 0.05}, {"output_noise": 0.5}])
def test_noise_at_reads_is_the_same_where_there_is_a_kernel(noise):
    chosen = replace(IDEAL, **noise)
    shape = ConvShape("conv", 3, 8, (3, 3), (6, 6), padding=(1, 1, 1, 1))
    held, programmed, levels = layer_on_arrays(shape, ArraySpec(27, 16, 2), "sdk", False, chosen)
    levels, converter = levels(5), Converter(2.0, -3, 3)
    found = held.run(levels, programmed, converter, torch.Generator().manual_seed(1))
    expected = by_torch(held, levels, programmed, converter, torch.Generator().manual_seed(1))
    other = held.run(levels, programmed, converter, torch.Generator().manual_seed(2))
    assert torch.equal(found, expected)
    assert not torch.equal(found, other)


@compiled
def test_memory_that_is_not_there_is_an_error_of_python():
    held = torch.ones(9, 4)
    cells = replace(Cells.of(held, (4,), 2), references=1 << 50)
    codes = Codes(0, 3, torch.ones(3, 1), counts=False)
    with pytest.raises(RuntimeError, match=r"memory|invalid|overflow"):
        kernels().read(
            cells,
            torch.ones(4, 1),
            torch.zeros(1, 4, dtype=torch.int64),
            1,
            codes=codes,
            totals=[torch.zeros(1, 4, 1)],
            fresh=[True],
        )
