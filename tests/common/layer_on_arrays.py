"""A layer on its arrays, with integers to run through them, and what they should compute."""

import numpy as np
import torch
from torch.nn import functional as F

from rankfold.simulator import CellCoding, InputCoding, NonIdealities
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.draws import Draws
from rankfold.simulator.schedule import schedule_mapping


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
