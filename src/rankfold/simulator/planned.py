"""What a plan says about the arrays of a network: the mapping of every layer that runs on them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from rankfold.cost import Masks, array_mapping
from rankfold.errors import InputError
from rankfold.machine import NonIdealities
from rankfold.mapping import ArraySpec, Mapping
from rankfold.mapping.array import TWOS_COMPLEMENT
from rankfold.nn.binary import BinaryQuantiser
from rankfold.nn.masked import masks_of
from rankfold.nn.quantised import QuantLayer
from rankfold.plan import LayerPlan, Plan
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import ConvShape, retrace
from rankfold.workload.shape import Pair

BINARY = ", the levels -1 and +1, which no cell coding here stands for; use 2 bits or more"

Runs = dict[Pair, Mapping]  # by the (H, W) of the input


def check_arrays(plan: Plan, chosen: NonIdealities, digital: Iterable[str] = ()) -> None:
    """Refuse, from the plan alone, what no network that follows it can run on.

    Args:
        plan: with the cells and DACs of its array.
        chosen: the non-idealities.
        digital: layers of the plan that are left to digital logic.

    Raises:
        InputError: no layer has bits, one has a single bit or does not fit into a row, or the cells do not go
            with `chosen`.
    """
    if not plan.quantised:
        raise InputError(
            f"the plan of {plan.model} gives no layer bits, and arrays compute with integers; "
            "make it with bits, such as bits=4"
        )
    if plan.array.cell_bits is None:
        _check_whole_cells(chosen)
    check_slices(plan.array)
    left = set(digital)
    for layer in plan.layers:
        if layer.weight_bits is None or layer.name in left:
            continue
        if layer.weight_bits == 1:
            raise InputError(f"layer {layer.name} has 1-bit weights{BINARY}")
        plan.array.in_weights(layer.weight_bits)  # refuses weights that are wider than a row of cells


def check_slices(array: ArraySpec) -> None:
    """Refuse a coding of slices of inputs that are driven whole.

    Raises:
        InputError: it has one.
    """
    if array.dac_bits is None and array.input_coding != TWOS_COMPLEMENT:
        raise InputError(
            f"array input_coding (={array.input_coding}) is of slices, and inputs are driven whole; "
            "give the array dac_bits (dac_bits=1)"
        )


def _check_whole_cells(chosen: NonIdealities) -> None:
    """Refuse what cells that hold whole weights, with their signs, cannot have."""
    if chosen.ir_drop:
        raise InputError(
            f"ir_drop (={chosen.ir_drop}) needs real cells, which have a conductance; "
            "give the array cell_bits (cell_bits=2)"
        )
    if chosen.adc_bits == 1:
        raise InputError(
            "cells of whole weights have signed sums, so adc_bits (=1) must be 2 or more; "
            "or give the array cell_bits"
        )


def planned_mappings(
    model: nn.Module,
    plan: Plan,
    digital: Iterable[str] = (),
) -> dict[str, Runs]:
    """The mapping of every layer of a quantised network that runs on arrays.

    Supports that the plan leaves open are those of the network.

    Args:
        model: the network after `compress_` and `quantise_`.
        plan: the plan that it follows.
        digital: layers of the plan that are left to digital logic, as are those without bits.

    Returns:
        the mappings by module, and by the (H, W) of its input.

    Raises:
        InputError: the plan does not belong to the model, keeps other kernel positions, or a layer has levels
            that no cell coding stands for.
    """
    shapes: dict[str, list[ConvShape]] = {}
    for shape in retrace(model, plan.model, plan.input, plan.inputs).layers:
        shapes.setdefault(shape.weight, []).append(shape)
    check_supports(plan, model)
    plan = with_supports(plan, model)
    masks = masks_of(model)
    modules = dict(model.named_modules())
    left = set(digital)
    mappings: dict[str, Runs] = {}
    for layer in plan.layers:
        if layer.weight_bits is None or layer.name in left:
            continue
        stages = _stages(layer, modules[layer.name], shapes, plan, masks)
        for name, runs in stages.items():
            _check_module(name, modules.get(name), layer)
            mappings[name] = runs
    return mappings


def _check_module(name: str, module: nn.Module | None, layer: LayerPlan) -> None:
    """Refuse a module that does not compute with the levels which its layer's plan says."""
    if not isinstance(module, QuantLayer):
        raise InputError(
            f"layer {name} is not quantised in the network, as the plan says; quantise it by the plan first"
        )
    weight, inputs = module.weight_quantiser, module.input_quantiser
    if isinstance(weight, BinaryQuantiser) or isinstance(inputs, BinaryQuantiser):
        raise InputError(f"layer {name} has 1-bit inputs or weights{BINARY}")
    if (weight.bits, inputs.bits) != (layer.weight_bits, layer.input_bits):
        raise InputError(
            f"layer {name} has weights and inputs of "
            f"{weight.bits} and {inputs.bits} bits, "
            f"the plan says {layer.weight_bits} and {layer.input_bits}; "
            "simulate a network that follows the plan"
        )


def _stages(
    layer: LayerPlan,
    module: nn.Module,
    shapes: dict[str, list[ConvShape]],
    plan: Plan,
    masks: Masks,
) -> dict[str, Runs]:
    """For each module that the layer became: by input size, its mapping."""
    surgery = surgery_of(layer.kind)
    parts = surgery.parts(layer)
    mappings: dict[str, Runs] = {}
    runs: list[list[ConvShape]] = []
    for part in parts:
        mappings[part.name] = {}
        runs.append(_runs(part.name, shapes))
    # A layer that runs several times has as many runs of each part, in the same order.
    for run in zip(*runs, strict=True):
        dense = surgery.dense_shape(layer, module, run)
        mask = masks.get(layer.name)
        mapping = array_mapping(dense, plan.array, layer, mask)
        for part, shape, stage in zip(parts, run, mapping.stages, strict=True):
            size = shape.input
            if len(parts) == 1:
                size = dense.input  # of a linear layer one vector, however many tokens it saw
            mappings[part.name][size] = stage
    return mappings


def _runs(name: str, shapes: dict[str, list[ConvShape]]) -> list[ConvShape]:
    if name not in shapes:
        raise InputError(
            f"the plan names layer {name}, which the network does not run; "
            "simulate a network that follows the plan"
        )
    return shapes[name]
