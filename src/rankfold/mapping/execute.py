"""Running a convolution from the tiles of its mapping: what the arrays compute, in exact arithmetic."""

from __future__ import annotations

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.layer import Mapping

Array = np.ndarray


def execute(mapping: Mapping, inputs: Array, weight: Array) -> Array:
    """The convolution, computed tile by tile; partial sums are added digitally.

    Args:
        mapping: the mapping of the layer.
        inputs: (C_in, H, W).
        weight: (m, C_in/G, kh, kw).

    Returns:
        (m, OH, OW), of the common type of inputs and weight.

    Raises:
        InputError: inputs or weight do not fit the layer.
    """
    shape = mapping.shape
    wanted = (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    for label, found, expected in (("inputs", inputs.shape, (shape.in_channels, *shape.input)), ("weight", weight.shape, wanted)):
        if found != expected:
            raise InputError(f"layer {shape.name}: {label} of shape {found} must have shape {expected}")
    top, bottom, left, right = shape.padding
    padded = np.pad(inputs, ((0, 0), (top, bottom), (left, right)))
    result = np.zeros((shape.m, *shape.output), np.result_type(inputs, weight))
    for region in mapping.regions:
        origins = region.origins()  # (activations, slots, 2)
        first = origins * shape.stride
        for tile in region.tiles():
            y, x = first[:, tile.row_slot, 0] + tile.row_y, first[:, tile.row_slot, 1] + tile.row_x  # (activations, r)
            sums = padded[tile.row_channel, y, x] @ tile.matrix(weight)  # (activations, c)
            sums[~region.kept(tile)] = 0
            y, x = origins[:, tile.col_slot, 0] + tile.col_y, origins[:, tile.col_slot, 1] + tile.col_x  # (activations, c)
            np.add.at(result, (np.broadcast_to(tile.col_channel, y.shape), y, x), sums)
    return result
