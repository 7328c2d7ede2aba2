"""The cells of one tile: integer weights, laid out as the tile has them, and coded as levels of its cells."""

from __future__ import annotations

import torch
from torch import Tensor

from rankfold.mapping import Tile
from rankfold.simulator.coding import CellCoding
from rankfold.simulator.schedule import Strip


def tile_cells(weight: Tensor, tile: Tile | Strip, coding: CellCoding, layer: str) -> Tensor:
    """(r, c, J) int64 levels of the cells of a tile, or of tiles side by side; J cells hold one weight.

    Args:
        weight: (m, C_in/G, kh, kw) integers on the CPU, as the quantised layer's `integer_weights` gives
            them.
        tile: of which rows and columns, r by c weights.
        coding: how a weight becomes levels.
        layer: its name, for the error.

    Raises:
        InputError: a weight is outside the range of its bits.
    """
    index = torch.from_numpy(tile.weight_index)  # (r, c), -1 where rows and columns have no weight in common
    flat = weight.reshape(-1)
    held = flat[index.clamp(min=0)]
    levels = torch.where(index >= 0, held, 0)
    return coding.encode(levels, layer)


def array_columns(cells: Tensor, coding: CellCoding, first_row: int = 0) -> Tensor:
    """(r, c * J) the columns of one tile as they lie in its array; with offset coding the reference follows.

    Args:
        cells: (r, c, J) levels of one tile.
        coding: tells whether there is a reference column, and the levels of its cells.
        first_row: of the array that the cells begin at.
    """
    rows, columns, slices = cells.shape
    weights = cells.reshape(rows, columns * slices)
    reference = coding.reference_levels(rows, first_row)
    if reference is None:
        return weights
    return torch.cat([weights, reference[:, None]], 1)
