"""Transposed convolutions as sub-pixel ones: shapes from torch and ONNX, cells, and cycles by brute force."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import nn
from torch.nn import functional as F

from common.graphs import model, save, weight
from common.strategies import ARRAYS, GENERATORS
from common.transposed import TransposedCase, transposed_cases
from rankfold.errors import InputError
from rankfold.mapping import execute, map_layer
from rankfold.nn.sub_pixel import sub_pixel_weight
from rankfold.workload import trace
from rankfold.workload.onnx.layers import read_onnx
from rankfold.workload.sub_pixel import SubPixelForm


def traced(case):
    """The one layer that tracing finds in a network of this layer alone."""
    (layer,) = trace(nn.Sequential(case.module()), (case.in_channels, *case.size)).layers
    return layer


@settings(max_examples=40)
@given(transposed_cases(), ARRAYS, GENERATORS)
def test_tiles_of_the_mapped_shape_compute_the_transposed_convolution(case, array, generator):
    shape = traced(case)
    weight = generator.integers(-9, 10, (case.in_channels, case.out_channels // case.groups, *case.kernel))
    x = generator.integers(-9, 10, (case.in_channels, *case.size))
    dense = sub_pixel_weight(torch.tensor(weight), case.form, case.groups).numpy()
    assert shape.parameters == weight.size
    assert np.count_nonzero(dense) <= weight.size
    mapping = map_layer(shape, array, "im2col")
    # Inputs that no output reads are cut away.
    before = [min(more.padding[0], 0) for more in (case.form.vertical, case.form.horizontal)]
    read = x[:, -before[0] :, -before[1] :][:, : shape.input[0], : shape.input[1]]
    blocks = execute(mapping, read.astype(float), dense.astype(float))
    tall, wide = case.form.stride
    phases = blocks.reshape(case.out_channels, tall, wide, *shape.output).transpose(0, 3, 1, 4, 2)
    plane = phases.reshape(case.out_channels, shape.output[0] * tall, shape.output[1] * wide)
    kept = plane[:, case.form.vertical.kept(case.size[0]), case.form.horizontal.kept(case.size[1])]
    np.testing.assert_array_equal(kept, case.run(torch.tensor(x)[None], torch.tensor(weight))[0].numpy())


@settings(max_examples=25)
@given(transposed_cases(groups=(1,)), ARRAYS)
def test_cycles_are_those_of_the_inputs_that_blocks_of_outputs_read(case, array):
    """By brute force: what each output reads is found by setting one input after another."""
    read = {}
    ones = torch.ones(1, 1, *case.kernel)
    for place in itertools.product(*map(range, case.size)):
        x = torch.zeros(1, 1, *case.size)
        x[0, 0][place] = 1
        for output in case.run(x, ones, groups=1)[0, 0].nonzero().tolist():
            read.setdefault(tuple(output), []).append(place)
    shape = traced(case)
    first = case.form.vertical.front // case.stride[0], case.form.horizontal.front // case.stride[1]
    rows = shape.kernel[0] * shape.kernel[1]
    for output, places in read.items():
        for axis, dilation in enumerate(shape.dilation):
            # The window of the block that the output is in, in inputs.
            block = (output[axis] + case.padding[axis]) // case.stride[axis] - first[axis]
            more = (case.form.vertical, case.form.horizontal)[axis].padding[0]
            window = range(block - more, block - more + (shape.kernel[axis] - 1) * dilation + 1, dilation)
            assert {place[axis] for place in places} <= set(window)
    tiles = math.ceil(rows * case.in_channels / array.rows)
    tiles *= math.ceil(case.out_channels * case.form.phases / array.columns)
    mapping = map_layer(shape, array, "im2col")
    assert mapping.cycles == tiles * math.prod(shape.output)
    useful = case.in_channels * case.out_channels * math.prod(case.kernel) * math.prod(shape.output)
    assert mapping.macs == useful
    assert map_layer(shape, array, "best").cycles >= mapping.lower_bound


def test_unused_cells_are_no_use():
    """Four phases of a kernel of 3 have 9 of the 16 weights of a kernel of 2."""
    up = TransposedCase(8, 6, (3, 3), (5, 5), (2, 2), (1, 1), (1, 1))
    shape = traced(up)
    assert (shape.kernel, shape.out_channels, shape.zeros) == ((2, 2), 24, 8 * 6 * 7)
    assert shape.parameters == 8 * 6 * 9
    assert shape.macs == shape.parameters * 36


@settings(max_examples=15)
@given(transposed_cases())
def test_onnx_files_have_the_same_layer(case):
    attributes = {"strides": case.stride, "dilations": case.dilation, "group": case.groups}
    attributes |= {"pads": (*case.padding, *case.padding), "output_padding": case.output_padding}
    made = helper.make_node("ConvTranspose", ["x", "up.weight"], ["y"], **attributes)
    stored = [weight("up.weight", case.in_channels, case.out_channels // case.groups, *case.kernel)]
    file = model([made], stored, [("x", (1, case.in_channels, *case.size))])
    with TemporaryDirectory() as folder:
        (layer,) = read_onnx(save(Path(folder), file)).layers
    expected = traced(case)
    # As the plain convolution that loading it makes of it, all of whose weights may be trained.
    assert (layer.name, layer.fixed) == ("up.conv", "")
    assert layer.anonymous == replace(expected.anonymous, zeros=0)


def test_functions_and_one_dimension_are_mapped_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 4, 2, 2))
            self.line = nn.ConvTranspose1d(4, 2, 4, 3)

        def forward(self, x):
            return self.line(F.conv_transpose2d(x, self.kernel, stride=2).flatten(2))

    kernel, line = trace(Net(), (3, 5, 5)).layers
    assert (kernel.name, kernel.fixed) == ("kernel", line.fixed)
    assert line.fixed == "is a transposed convolution, mapped as the sub-pixel convolution it equals"
    assert (line.kernel, line.input, line.out_channels) == ((1, 2), (1, 100), 6)


def test_a_padding_that_leaves_nothing_is_refused():
    form = SubPixelForm.of((2, 2), (1, 1), (1, 1), (3, 3), (3, 3))
    with pytest.raises(InputError, match="layer up: its padding leaves no output of an input of 5"):
        form.shape("up", 3, 4, (5, 5))


def test_sizes_that_torch_can_be_asked_for():
    """As `output_size` of `nn.ConvTranspose2d`."""
    form = SubPixelForm.of((3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    assert form.giving((5, 5), (9, 10)).horizontal.behind == 0
    with pytest.raises(ValueError, match="an input of 5 cannot give an output of 11"):
        form.giving((5, 5), (9, 11))


@given(st.data())
@settings(max_examples=10)
def test_phases_share_the_taps(data):
    """Every tap has a phase and a position of its own."""
    case = data.draw(transposed_cases())
    for axis in (case.form.vertical, case.form.horizontal):
        assert len(set(axis.taps())) == axis.kernel
