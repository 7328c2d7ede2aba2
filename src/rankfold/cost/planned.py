"""What a plan makes of one convolution: its mapping, and the other mappings of its kind."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import replace

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping import (
    LOW_RANK_METHODS,
    METHODS,
    PRUNED_METHODS,
    ArraySpec,
    LowRankMapping,
    Mapping,
    map_layer,
    map_low_rank,
    map_pruned,
    map_steered,
    steered_cycles,
)
from rankfold.plan import (
    IDEAL,
    LOW_RANK,
    NARROWED,
    PRUNED,
    SUPPORT,
    LayerPlan,
    Plan,
    support_to_mask,
    text_to_support,
    weights,
)
from rankfold.workload import ConvShape, Network

Masks = Map[str, np.ndarray]  # (m, C_in/G, kh, kw) booleans by layer
STEERED_METHODS = ("im2col", "sdk")


def planned_shape(shape: ConvShape, entry: LayerPlan) -> ConvShape:
    """The layer with the channels that a plan leaves it."""
    if entry.in_channels is None or entry.out_channels is None:
        return shape
    # A depthwise convolution keeps as many groups as channels.
    groups = entry.in_channels if shape.groups == shape.in_channels > 1 else shape.groups
    return replace(shape, in_channels=entry.in_channels, out_channels=entry.out_channels, groups=groups)


def planned_mapping(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None
) -> Mapping | LowRankMapping:
    """The mapping that a plan chose for a layer, with columns counted in weights.

    A pattern-pruned layer is laid out without steering, since no array could hold it otherwise.

    Raises:
        InputError: the layer is pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    if entry.groups is not None and entry.rank is not None:
        return map_low_rank(shape, array, entry.groups, entry.rank, entry.mapping, planned_support(shape, entry))
    if entry.kind == PRUNED:
        return map_pruned(shape, array, planned_mask(shape, entry, mask), entry.mapping)
    return map_layer(planned_shape(shape, entry), array, entry.mapping)


def planned_mask(shape: ConvShape, entry: LayerPlan, mask: np.ndarray | None) -> np.ndarray:
    """The mask of a pattern-pruned layer: that of the support in its plan, or the one that was saved with the weights.

    Raises:
        InputError: there is neither, or the support does not fit the layer.
    """
    if entry.support is not None:
        return support_to_mask(text_to_support(entry.support, shape), shape.m, shape.groups, shape.kernel)
    if mask is None and entry.pruning == SUPPORT:
        raise InputError(_open_support(shape, entry))
    if mask is None:
        raise InputError(
            f"layer {shape.name} is pattern-pruned: counting its cycles needs its mask, which is saved with the weights"
        )
    return mask


def planned_support(shape: ConvShape, entry: LayerPlan) -> np.ndarray | None:
    """(C_in, kh*kw) the positions that R_ of a low-rank layer uses; None: all.

    Raises:
        InputError: the layer is row-sparse and the plan does not say where, or the support does not fit the layer.
    """
    if entry.support is not None:
        return text_to_support(entry.support, shape)
    if entry.entries is not None:
        raise InputError(_open_support(shape, entry))
    return None


def _open_support(shape: ConvShape, entry: LayerPlan) -> str:
    return (
        f"layer {shape.name} keeps {entry.entries} of {shape.kernel[0] * shape.kernel[1]} kernel positions, which are chosen on "
        "data: its cycles are known for a finished run (rankfold compress), or for a plan that has the positions (support)"
    )


def array_mapping(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None
) -> Mapping | LowRankMapping:
    """The mapping that a plan chose for a layer, on arrays whose columns are physical: weights spread over cells.

    Its array is `array.in_weights(bits)`; each activation of it takes `array.cycles_per_vector(input bits)` cycles.

    Raises:
        InputError: the array has bits per cell or DAC, and the layer has none, or more than a row holds; or the layer is
            pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    if array.cell_bits is None and array.dac_bits is None:
        return planned_mapping(shape, array, entry, mask)
    if entry.weight_bits is None or entry.input_bits is None:
        raise InputError(
            f"layer {shape.name}: an array with bits per cell or DAC needs the bits of weights and inputs; "
            "plan it with bits (--bits 4)"
        )
    return planned_mapping(shape, array.in_weights(entry.weight_bits), entry, mask)


def array_cycles(shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None) -> int | None:
    """Activations of arrays with the given cells and DACs; None where the array names neither.

    Raises:
        InputError: as `array_mapping`.
    """
    if array.cell_bits is None and array.dac_bits is None:
        return None
    if entry.weight_bits is not None and entry.input_bits is not None and entry.steering == IDEAL:
        each = steered_cycles(shape, array.in_weights(entry.weight_bits), planned_mask(shape, entry, mask), entry.mapping)
        return each * array.cycles_per_vector(entry.input_bits)
    mapping = array_mapping(shape, array, entry, mask)
    assert entry.input_bits is not None  # array_mapping refuses a layer without
    return mapping.cycles * array.cycles_per_vector(entry.input_bits)


Mapped = dict[str, Mapping | LowRankMapping]


def _low_rank_mappings(shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None) -> Mapped:
    if entry.groups is None or entry.rank is None:
        single: Mapped = {f"low-rank-{method}": _laid_out(shape, array, entry, mask, method) for method in LOW_RANK_METHODS}
        return {**single, "low-rank-shared": single["low-rank-sdk"]}
    support = planned_support(shape, entry)
    pairs = {method: map_low_rank(shape, array, entry.groups, entry.rank, method, support) for method in LOW_RANK_METHODS}
    return {**{f"low-rank-{method}": pair for method, pair in pairs.items()}, "low-rank-shared": pairs["sdk"].shared}


def _pruned_mappings(shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None) -> Mapped:
    found = {f"pruned-{method}": _laid_out(shape, array, entry, mask, method) for method in PRUNED_METHODS}
    for method in STEERED_METHODS:
        found[f"ideal-{method}"] = found[f"pruned-{method}"]
        if entry.kind == PRUNED:
            found[f"ideal-{method}"] = map_steered(shape, array, planned_mask(shape, entry, mask), method)
    return found


def _laid_out(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None, method: str
) -> Mapping | LowRankMapping:
    """What the plan makes of a layer, under a mapping that low-rank, pruned and dense layers all have."""
    return planned_mapping(shape, array, replace(entry, mapping=method), mask)


def _narrowed_mappings(shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None) -> Mapped:
    return {f"channel-{method}": map_layer(planned_shape(shape, entry), array, method) for method in METHODS}


COMPRESSED = {LOW_RANK: _low_rank_mappings, PRUNED: _pruned_mappings, NARROWED: _narrowed_mappings}


def counts_linear(network: Network, plan: Plan) -> bool:
    """Whether the plan makes any fully connected layer low-rank; then all of them count."""
    shapes = weights(network)
    return any(layer.kind == LOW_RANK and shapes[layer.name].kind == "linear" for layer in plan.layers)


def counted_layers(network: Network, plan: Plan, linear: bool | None) -> tuple[ConvShape, ...]:
    """The layers whose costs count: all convolutions, and fully connected layers where asked for.

    Args:
        network: the network.
        plan: its plan.
        linear: whether fully connected layers count; None: as `counts_linear`.

    Raises:
        InputError: nothing is left to count.
    """
    layers = network.layers if (counts_linear(network, plan) if linear is None else linear) else network.convolutions
    if not layers:
        raise InputError(f"{network.name} has no two-dimensional convolution; count its fully connected layers (--linear)")
    return layers
