"""`StageActivity`: what the arrays of one stored convolution do for an image, counted from the tiles of its
mapping.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping
from rankfold.mapping.stored import StoredMatrix, held_together
from rankfold.workload import ConvShape

STEERING = ("none", "rows", "kernels")


@dataclass(frozen=True, kw_only=True)
class StageActivity:
    """Counts for one image of one stored convolution: a layer, or one of the two stages of a low-rank pair.

    A read is one activation of one tile with one slice of the inputs, and with those rows that are driven at
    once: where the array drives fewer than a tile uses, several reads follow one another. Physical columns
    are the mapped ones: those of the weights, and with offset coding the reference column.

    Attributes:
        tiles: stored tiles, each of which has an array of its own.
        activations: of tiles, with whole inputs; the papers' cycles.
        drives: the same, each as often as its tile's rows are driven in turns.
        turns: of the tile that needs most: rows in use over rows driven at once, rounded up.
        slices: input bit slices, in all passes, see `ArraySpec.cycles_per_vector`.
        columns_per_weight: physical columns of a weight.
        longest: drives of the busiest tile; the stage takes so long where tiles work side by side.
        rows: rows driven, over all reads; where signs have passes of their own, each in one of these.
        conversions: columns converted by ADCs, over all reads.
        columns: columns of weights, over all reads.
        cells: cells in rows driven and columns converted, over all reads.
        sums: column sums of whole weights and whole inputs that leave the arrays, after shift-and-add.
        additions: of such sums to one another: sums less outputs. Where windows overlap at the edge of the
            plane, pixels are computed twice and their sums count.
        inputs: input values driven into rows, over all activations.
        outputs: output values of the stage.
        steered: rows (or, steered kernel by kernel, rows times columns of weights) whose input passes a
            steering multiplexer, over all reads.
        kernel: kh * kw, inputs of a steering multiplexer.
        macs: multiply-accumulates with the weights that are stored.
        weight_bits: of the weights.
        input_bits: of the inputs.
        stored: what the arrays hold.
        input_signed: whether inputs can be negative; None: not known.
    """

    tiles: int
    activations: int
    drives: int
    turns: int
    slices: int
    columns_per_weight: int
    longest: int
    rows: int
    conversions: int
    columns: int
    cells: int
    sums: int
    additions: int
    inputs: int
    outputs: int
    steered: int
    kernel: int
    macs: int
    weight_bits: int
    input_bits: int
    stored: tuple[StoredMatrix, ...] = field(default=(), compare=False, repr=False)
    input_signed: bool | None = None

    @property
    def held(self) -> Hashable:
        """What the arrays hold of a parameter, on which cells."""
        return held_together(self.stored), self.weight_bits, self.columns_per_weight

    @property
    def reads(self) -> int:
        """Activations of tiles, turn by turn and slice by slice."""
        return self.drives * self.slices

    def under(self, array: ArraySpec, weight_bits: int, input_bits: int) -> StageActivity:
        """The same with other bits, where a weight takes as many physical columns and conversions.

        Args:
            array: the physical array.
            weight_bits: of a weight.
            input_bits: of an input.
        """
        slices = array.cycles_per_vector(input_bits, self.input_signed)
        # Exact: inputs of other bits take the same passes.
        return replace(
            self,
            slices=slices,
            rows=self.rows * slices // self.slices,
            conversions=self.conversions * slices // self.slices,
            columns=self.columns * slices // self.slices,
            cells=self.cells * slices // self.slices,
            steered=self.steered * slices // self.slices,
            weight_bits=weight_bits,
            input_bits=input_bits,
        )


@dataclass
class _Counted:
    """Sums over the tiles of a stage and their activations, before inputs are cut into slices.

    Attributes:
        tiles: stored tiles.
        activations: of tiles, with all their rows.
        drives: the same, turn by turn.
        turns: of the tallest tile.
        longest: drives of the busiest tile.
        rows: rows driven.
        cells: cells in rows driven and columns that conduct.
        kernels: rows times columns of weights.
        columns: columns of weights, once an activation: turns are added up behind the converters, before the
            sum leaves the array.
        read: the same, turn by turn.
        converted: columns converted.
    """

    tiles: int = 0
    activations: int = 0
    drives: int = 0
    turns: int = 1
    longest: int = 1
    rows: int = 0
    cells: int = 0
    kernels: int = 0
    columns: int = 0
    read: int = 0
    converted: int = 0


def _counted(mapping: Mapping, array: ArraySpec, weight_bits: int) -> _Counted:
    wide = array.columns_per_weight(weight_bits)  # physical columns of a weight
    converts = array.conversions_per_weight(weight_bits)
    # Offset coding subtracts the sum of one more column, before or after it is converted.
    reference = int(array.has_reference)
    sums = _Counted()
    for stored, times in mapping.loads:
        # (rows in use, columns in use in weights), tiles of that size; each is activated `times` times.
        for (height, width), number in stored.extents().items():
            whole = number * times  # activations with all rows
            turns = array.turns(height)
            physical = width * wide + reference  # columns that conduct
            converted = width * converts + array.reference_conversions
            sums.tiles += number
            sums.activations += whole
            sums.drives += whole * turns
            sums.turns = max(sums.turns, turns)
            sums.longest = max(sums.longest, times * turns)
            # A row is driven in one of the turns; what it drives adds up to the whole tile over all of them.
            sums.rows += height * whole
            sums.cells += height * physical * whole
            sums.kernels += height * width * whole
            sums.columns += width * whole
            sums.read += width * whole * turns
            sums.converted += converted * whole * turns
    return sums


def stage_activity(
    mapping: Mapping,
    array: ArraySpec,
    weight_bits: int,
    input_bits: int,
    *,
    steering: str = "none",
    layer: ConvShape | None = None,
    input_signed: bool | None = None,
) -> StageActivity:
    """Count what a mapping makes the arrays do.

    Args:
        mapping: the stored convolution, with columns counted in weights (`array.in_weights(weight_bits)`).
        array: the physical array, with bits per cell and DAC.
        weight_bits: bits of a weight.
        input_bits: bits of an input.
        steering: the circuits between input buffer and rows of a pruned layer: `none`; `rows` (a multiplexer
            for each row picks the kernel position that the support keeps, as PAIRS needs); `kernels` (each
            kernel keeps positions of its own, so that a row needs a multiplexer for every column of weights
            it serves; PatDNN's patterns, packed).
        layer: the convolution that the mapping stands for, where it is one of another shape (`map_steered`);
            None: its own.
        input_signed: whether inputs can be negative; None: not known.

    Raises:
        InputError: the mapping is for another array, or steering is of no such kind.
    """
    if steering not in STEERING:
        raise InputError(f"steering (={steering}) must be one of {', '.join(STEERING)}")
    _check_array(mapping, array, weight_bits)
    slices = array.cycles_per_vector(input_bits, input_signed)
    # An input has one sign, and drives its row in the pass of that.
    driven = slices // array.passes(input_signed)
    counted = _counted(mapping, array, weight_bits)
    shape, macs = mapping.shape, mapping.macs
    if layer is not None:
        shape, macs = layer, _macs_of(layer, mapping)
    outputs = shape.m * math.prod(shape.output)
    # Multiplexers that an activation's inputs pass.
    steered = {"none": 0, "rows": counted.rows, "kernels": counted.kernels}
    return StageActivity(
        tiles=counted.tiles,
        activations=counted.activations,
        drives=counted.drives,
        turns=counted.turns,
        slices=slices,
        columns_per_weight=array.columns_per_weight(weight_bits),
        longest=counted.longest,
        # Rows, conversions and cells work slice by slice; sums and inputs are of whole values.
        rows=counted.rows * driven,
        conversions=counted.converted * slices,
        columns=counted.read * slices,
        cells=counted.cells * driven,
        # Slices and physical columns of a weight are joined before its sum leaves the array.
        sums=counted.columns,
        # A pruned layer may have outputs without a column.
        additions=max(counted.columns - outputs, 0),
        inputs=counted.rows,
        outputs=outputs,
        steered=steered[steering] * slices,
        kernel=math.prod(shape.kernel),
        macs=macs,
        weight_bits=weight_bits,
        input_bits=input_bits,
        stored=tuple(stored for stored, _ in mapping.loads),
        input_signed=input_signed,
    )


def _macs_of(layer: ConvShape, mapping: Mapping) -> int:
    """Multiply-accumulates of a layer that a mapping of another shape stands for.

    It stores as much as the layer keeps: each of its outputs takes an m-th of that, in every pixel.
    """
    return (mapping.weights or 0) * layer.m // mapping.shape.m * math.prod(layer.output)


def _check_array(mapping: Mapping, array: ArraySpec, weight_bits: int) -> None:
    """Refuse a mapping onto other arrays."""
    fitting = array.in_weights(weight_bits)
    # Tiles of other columns would be counted as if they were cut for this array.
    if mapping.array.rows != array.rows or mapping.array.columns != fitting.columns:
        raise InputError(
            f"layer {mapping.shape.name}: mapped onto {mapping.array} weights, but arrays of {array} hold "
            f"{fitting} of {weight_bits} bits; map it onto these"
        )
