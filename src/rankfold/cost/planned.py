"""What a plan makes of one convolution: its mapping on arrays, and which layers count."""

from __future__ import annotations

from collections.abc import Mapping as Map

import numpy as np

from rankfold.arguments import Wanted
from rankfold.cost.kinds import AnyMapping, cost_of
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping
from rankfold.plan.counted import counts_linear
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.workload import ConvShape, Network

Masks = Map[str, np.ndarray]  # (m, C_in/G, kh, kw) booleans by layer
BITS = 4  # of weights and inputs where the plan has none; 8 in the first convolution and the classifier
MASKS = Wanted("a dictionary of masks by layer", Map)  # for `arguments.takes`


def planned_shape(shape: ConvShape, entry: LayerPlan) -> ConvShape:
    """The layer with the channels that a plan leaves it."""
    return cost_of(entry.kind).shape(shape, entry.kind)


def planned_mapping(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None = None,
) -> AnyMapping:
    """The mapping that a plan chose for a layer, with columns counted in weights.

    A pattern-pruned layer is laid out without steering, since no array could hold it otherwise.

    Raises:
        InputError: the layer is pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    return cost_of(entry.kind).mapping(shape, array, entry, mask)


def array_mapping(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None = None,
) -> AnyMapping:
    """The mapping that a plan chose for a layer, on arrays whose columns are physical: weights spread over
    cells.

    Its array is `array.in_weights(bits)`; each activation of it takes as many cycles as `input_slices` says.

    Raises:
        InputError: the array has bits per cell or DAC, and the layer has none, or more than a row holds; or
            the layer is pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    # Then a column is a weight, as the plan was mapped: turns of rows move nothing.
    if array.cell_bits is None and array.dac_bits is None:
        return planned_mapping(shape, array, entry, mask)
    # DACs repeat activations and move nothing: the layout depends on the cells alone.
    weight_bits, _ = bits_of(shape, entry)
    return planned_mapping(shape, array.in_weights(weight_bits), entry, mask)


def bits_of(shape: ConvShape, entry: LayerPlan) -> tuple[int, int]:
    """Bits of a layer's weights and inputs; `BITS` of one that can only stay as it is, and has none in plans.

    Raises:
        InputError: the plan gives it none.
    """
    if shape.fixed and entry.weight_bits is None:
        return BITS, BITS
    if entry.weight_bits is None or entry.input_bits is None:
        raise InputError(
            f"layer {shape.name}: an array with bits per cell or DAC needs the bits of weights and inputs; "
            "plan it with bits (bits=4)"
        )
    return entry.weight_bits, entry.input_bits


def input_slices(shape: ConvShape, array: ArraySpec, entry: LayerPlan) -> tuple[int, ...]:
    """Slices of the inputs of each stored matrix of a layer, see `ArraySpec.cycles_per_vector`.

    Raises:
        InputError: the array has bits per DAC, and the layer has none.
    """
    signs = cost_of(entry.kind).input_signs(entry.kind, entry.input_signed)
    if array.dac_bits is None:
        return (1,) * len(signs)
    _, input_bits = bits_of(shape, entry)
    return tuple(array.cycles_per_vector(input_bits, signed) for signed in signs)


def array_cycles(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None = None,
) -> int | None:
    """Activations of arrays with the given cells, DACs and driven rows; None where the array names none.

    Raises:
        InputError: as `array_mapping`.
    """
    if array.counts_vectors:
        return None
    in_weights = array
    if array.cell_bits is not None or array.dac_bits is not None:
        weight_bits, _ = bits_of(shape, entry)
        in_weights = array.in_weights(weight_bits)
    # One activation for each slice of the inputs that the DACs drive at once.
    slices = input_slices(shape, array, entry)
    if array.rows_driven is None:
        # Of a steered mapping the cycles are known without making it.
        activations = cost_of(entry.kind).steered_cycles(shape, in_weights, entry, mask)
        if activations is not None:
            return activations * slices[0]
    stages = _executed(shape, in_weights, entry, mask)
    return sum(drives(stage, array) * each for stage, each in zip(stages, slices, strict=True))


def _executed(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
) -> tuple[Mapping, ...]:
    """The stored matrices that count: with steering where the plan assumes it."""
    steered = cost_of(entry.kind).steered(shape, array, entry, mask)
    if steered is not None:
        return (steered,)
    return planned_mapping(shape, array, entry, mask).stages


def drives(stage: Mapping, array: ArraySpec) -> int:
    """Activations of a stored matrix's tiles for an image, each as often as its rows are driven in turns."""
    if array.rows_driven is None:
        return stage.cycles
    total = 0
    for stored, times in stage.loads:
        for (rows, _), tiles in stored.extents().items():
            total += tiles * times * array.turns(rows)
    return total


def busiest(stage: Mapping, array: ArraySpec) -> int:
    """Activations for an image of the tile that has most of them, with the turns of its rows."""
    if array.rows_driven is None:
        # All rows at once: every tile is activated as often as the stored matrix.
        return max(times for _, times in stage.loads)
    most = 0
    for stored, times in stage.loads:
        for rows, _ in stored.extents():
            most = max(most, times * array.turns(rows))
    return most


def counted_layers(network: Network, plan: Plan, linear: bool | None) -> tuple[ConvShape, ...]:
    """The layers whose costs count: all convolutions, and fully connected layers where asked for.

    Args:
        network: the network.
        plan: its plan.
        linear: whether fully connected layers count; None: as `counts_linear`.

    Raises:
        InputError: nothing is left to count.
    """
    if linear is None:
        linear = counts_linear(network, plan)
    layers = network.convolutions
    if linear:
        layers = network.layers
    if not layers:
        raise InputError(
            f"{network.name} has no two-dimensional convolution; count its fully connected layers "
            "(linear=True)"
        )
    return layers
