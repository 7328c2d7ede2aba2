"""The rule by which a convolution is stored on arrays, small enough for a page: no cell is listed.

`templates/cells.js` makes every tile from it, as `mapping.stored.StoredMatrix` does from the same outlines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from rankfold.mapping import Mapping, Region, StoredMatrix
from rankfold.mapping.outline import Diagonal, EvenCuts, Outline
from rankfold.mapping.window_low_rank import WindowOutputs, WindowValues
from rankfold.mapping.window_matrix import WindowMatrix
from rankfold.report.arrays.colours import copy_colours
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

Rule = dict[str, Any]


@dataclass(eq=False)
class Tables:
    """What several rules share, each once.

    Attributes:
        masks: supports as hexadecimal digits, one bit for each (input channel, kernel position).
        colours: of the pixels of a window, six hexadecimal digits each, by `AxB`, or `AxB second`.
    """

    masks: list[str] = field(default_factory=list)
    colours: dict[str, str] = field(default_factory=dict)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def mask(self, mask: bytes) -> int:
        """The number of a support, given as one byte for each bit."""
        if mask not in self._numbers:
            self._numbers[mask] = len(self.masks)
            bits = np.frombuffer(mask, np.uint8)
            self.masks.append(np.packbits(bits).tobytes().hex())
        return self._numbers[mask]

    def colour(self, window: Pair, second: bool) -> str:
        """The name of the colours of a window's pixels."""
        name = f"{window[0]}x{window[1]}"
        if second:
            name += " second"
        if name not in self.colours:
            self.colours[name] = copy_colours(window, second).tobytes().hex()
        return name


def stage_rule(mapping: Mapping, tables: Tables, *, second: bool = False) -> Rule:
    """How one stored matrix lies on arrays, and where its windows go.

    Args:
        mapping: a layer, or a stage of it.
        tables: take what this rule shares with others.
        second: whether it is the second stage of a pair, which has colours of its own.
    """
    stored: dict[StoredMatrix, int] = {}
    regions = []
    for region in mapping.regions:
        number = stored.setdefault(region.stored, len(stored))
        regions.append({**_region_rule(region), "stored": number})
    rule: Rule = {
        "shape": _shape_rule(mapping.shape),
        "array": [mapping.array.rows, mapping.array.columns],
        "regions": regions,
        "stored": [_stored_rule(matrix, tables) for matrix in stored],
    }
    for region, own in zip(mapping.regions, regions, strict=True):
        window = region.window
        if mapping.matrix is not None:
            window = mapping.matrix.window
        own["colours"] = tables.colour(window, second)
    if mapping.matrix is not None:
        rule["matrix"] = _matrix_rule(mapping.matrix)
    return rule


def _shape_rule(shape: ConvShape) -> Rule:
    top, _, left, _ = shape.padding
    return {
        "inputs": shape.in_channels,
        "outputs": shape.m,
        "groups": shape.groups,
        "kernel": shape.kernel,
        "input": shape.input,
        "padded": shape.padded_input,
        "output": shape.output,
        "stride": shape.stride,
        "padding": [top, left],
        "dilation": shape.dilation,
    }


def _region_rule(region: Region) -> Rule:
    rule: Rule = {"origin": region.origin, "size": region.size, "window": region.window}
    if region.phase is not None:
        rule["phase"] = region.phase
        rule["spacing"] = region.footprint.spacing
    return rule


def _stored_rule(matrix: StoredMatrix, tables: Tables) -> Rule:
    shape = matrix.footprint.shape
    rule: Rule = {
        "window": matrix.window,
        "part": matrix.part,
        "stride": shape.stride,
        "dilation": shape.dilation,
        "channels": matrix.block.channels,
        "outputs": matrix.block.outputs,
        "slots": 1,
        "outlines": [_outline_rule(outline, matrix) for outline in matrix.outlines],
    }
    if matrix.overflow is not None:
        rule["slots"] = matrix.overflow.slots
        rule["axis"] = matrix.overflow.axis
    if matrix.footprint.mask is not None:
        rule["mask"] = tables.mask(matrix.footprint.mask)
        # Groups whose support keeps nothing have no block.
        rule["groups"] = sorted({group for group, _ in matrix.blocks})
    return rule


def _outline_rule(outline: Outline, matrix: StoredMatrix) -> Rule:
    rule: Rule
    if isinstance(outline, Diagonal):
        heights = [[height, len(list(same))] for height, same in groupby(outline.heights)]
        rule = {
            "heights": heights,
            "columns": outline.columns,
            "capacity": outline.capacity,
            "limit": outline.limit,
            "sideways": outline.sideways,
            "start": outline.start,
        }
    else:
        rule = {
            "blocks": [outline.blocks.start, outline.blocks.stop],
            "rows": _cuts_rule(outline.rows),
            "columns": _cuts_rule(outline.columns),
        }
    pixels = outline.pixels.tolist()
    # Mostly the lines are what all pixels of a block read.
    if len(pixels) < matrix.part[0] * matrix.part[1]:
        rule["pixels"] = pixels
    return rule


def _cuts_rule(cuts: EvenCuts | tuple[Pair, ...]) -> Any:
    if isinstance(cuts, EvenCuts):
        return [cuts.start, cuts.stop, cuts.step]
    return cuts


def _matrix_rule(matrix: WindowMatrix) -> Rule:
    """Of which layer the stored matrix computes windows."""
    layer = matrix.layer
    rule: Rule = {
        "window": matrix.window,
        "outputs": layer.m,
        "groups": layer.groups,
        "plane": layer.output,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "gives": "pixels",
        "takes": "inputs",
    }
    if isinstance(matrix, WindowValues):
        rule |= {"gives": "values", "rank": matrix.rank}
    elif isinstance(matrix, WindowOutputs):
        rule |= {"takes": "values", "rank": matrix.rank}
    return rule
