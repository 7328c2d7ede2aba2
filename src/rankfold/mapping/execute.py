"""Running a convolution from the tiles of its mapping: what the arrays compute, in exact arithmetic."""

from __future__ import annotations

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.mapping import Mapping

Array = np.ndarray


def execute(
    mapping: Mapping,
    inputs: Array,
    weight: Array,
) -> Array:
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
    inputs_per_group = shape.in_channels // shape.groups
    weight_shape = (shape.m, inputs_per_group, *shape.kernel)
    _check(
        shape.name,
        "inputs",
        inputs,
        (shape.in_channels, *shape.input),
    )
    _check(shape.name, "weight", weight, weight_shape)
    top, bottom, left, right = shape.padding
    margins = (0, 0), (top, bottom), (left, right)
    padded = np.pad(inputs, margins)
    kind = np.result_type(inputs, weight)
    result = np.zeros((shape.m, *shape.output), kind)
    for region in mapping.regions:
        origins = region.origins()  # (activations, slots, 2)
        first = origins * shape.stride  # the input under the first tap
        for tile in region.tiles():
            # (activations, r)
            y = first[:, tile.row_slot, 0] + tile.row_y
            x = first[:, tile.row_slot, 1] + tile.row_x
            driven = padded[tile.row_channel, y, x]
            # (activations, c)
            sums = driven @ tile.matrix(weight)
            sums[~region.kept(tile)] = 0
            y = origins[:, tile.col_slot, 0] + tile.col_y
            x = origins[:, tile.col_slot, 1] + tile.col_x
            channel = np.broadcast_to(tile.col_channel, y.shape)
            np.add.at(
                result,
                (channel, y, x),
                sums,
            )
    return result


def _check(
    name: str,
    label: str,
    array: Array,
    wanted: tuple[int, ...],
) -> None:
    if array.shape != wanted:
        raise InputError(f"layer {name}: {label} of shape {array.shape} must have shape {wanted}")
