"""The compiled kernel reads strips as torch's operations do, to the last bit."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.strategies import conv_shapes
from rankfold.machine import NonIdealities
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer
from rankfold.nn import kernels as of_training
from rankfold.simulator import Converter, arrays
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.draws import Draws
from rankfold.simulator.kernels import kernels
from rankfold.simulator.reading import Tally
from rankfold.simulator.schedule import schedule_mapping

compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@compiled
@settings(max_examples=25)
@given(
    shape=conv_shapes(largest=7, channels=3),
    array=st.builds(
        ArraySpec,
        st.integers(1, 40),
        st.integers(12, 60),
        st.sampled_from([1, 2, 3]),
        st.sampled_from(["offset", "differential"]),
        st.sampled_from([None, 1, 2]),
        converts=st.sampled_from(["columns", "differences"]),
    ),
    method=st.sampled_from(MAPPINGS),
    signed=st.booleans(),
    step=st.sampled_from([1.0, 2.0, 4.0]),  # sums over it are exact, and halves go to even
    images=st.sampled_from([1, 15, 17, 70, 131]),
)
def test_sums_are_read_alike_by_the_kernel_and_by_torch(shape, array, method, signed, step, images):
    mapping = map_layer(shape, array.in_weights(4), method)
    coding = CellCoding.of(array, 4), InputCoding(4, signed, array.dac_bits)
    held = LayerArrays(
        "layer", schedule_mapping(mapping), *coding, NonIdealities(adc_bits=3, adc_range=1.0), array.rows
    )
    draw = torch.Generator().manual_seed(images)
    low = -8 if signed else 0
    levels = torch.randint(low, low + 16, (images, shape.in_channels, *shape.input), generator=draw).float()
    size = (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    programmed = held.program(torch.randint(-7, 8, size, generator=draw), Draws(0, "layer"))
    converter = Converter(step, -3 if held.sums.signed else 0, 3)
    assert kernels() is not None
    by_kernel, by_torch = Tally(), Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "ELEMENTS_AT_ONCE", 100)  # in several parts
        found = held.run(levels, programmed, converter, None, tally=by_kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "kernels", lambda: None)
        expected = held.run(levels, programmed, converter, None, tally=by_torch)
    assert torch.equal(found, expected)
    assert by_kernel.clipped == by_torch.clipped


@compiled
def test_libraries_of_one_process_are_told_apart():
    """The linker would give the first one again to who asks for a file of the same name."""
    assert of_training.kernels() is not None
    assert kernels() is not None
