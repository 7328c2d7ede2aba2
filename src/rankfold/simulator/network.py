"""`simulate`: a quantised network whose layers run on the arrays of its plan."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating, run_batches
from rankfold.cost import Masks, array_mapping
from rankfold.errors import InputError
from rankfold.mapping import Mapping
from rankfold.nn.binary import BinaryQuantiser
from rankfold.nn.masked import masks_of
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.swap import swap_
from rankfold.plan import LayerPlan, Plan
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter
from rankfold.simulator.layer import SimulatedLayer
from rankfold.simulator.nonideal import CALIBRATED, ArrayNonIdealities
from rankfold.simulator.schedule import Schedule, schedule_mapping
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.supports import check_supports, with_supports
from rankfold.workload import ConvShape, trace
from rankfold.workload.shape import Pair

BINARY = ", the levels -1 and +1, which no cell coding here stands for; use 2 bits or more"


def simulate(
    model: nn.Module,
    plan: Plan,
    chosen: ArrayNonIdealities | None = None,
    *,
    calibration: Iterable[Tensor] | None = None,
    digital: Iterable[str] = (),
    seed: int = 0,
) -> nn.Module:
    """The network as the arrays of its plan compute it.

    Every layer that has bits in the plan, fully connected ones too, runs tile by tile on the mapping that the plan chose for it,
    with the cells and DACs of `plan.array`. The result shares Parameters and buffers with `model`: to train with the
    non-idealities in the loop, train the result and save `model`. Gradients are those of the quantised network.

    A pattern-pruned layer runs without steering, as its tiles are laid out.

    Args:
        model: the network after `compress_`, `quantise_` and calibration (or loaded weights); it stays as it is. Move it
            to its device and type before: `result.to(...)` would give the result buffers of its own.
        plan: the plan that it follows.
        chosen: the non-idealities; None: ideal arrays.
        calibration: inputs of the model on its device, for calibrated ADC ranges; or call `calibrate_adc_` later.
        digital: layers of the plan that are left to digital logic.
        seed: of everything drawn at random.

    Raises:
        InputError: the plan has no bits at all, or does not belong to the model; a layer cannot be stored in the cells; a name in
            `digital` is not in the plan.
    """
    chosen = chosen or ArrayNonIdealities()
    left = set(digital)
    check_arrays(plan, chosen, left)
    unknown = left - {layer.name for layer in plan.layers}
    if unknown:
        raise InputError(f"the plan of {plan.model} has no layer {min(unknown)} that could be left digital")
    planned = planned_mappings(model, plan, left)
    schedules: dict[Mapping, Schedule] = {}
    dtype = next(model.parameters()).dtype
    tensors = [*model.parameters(), *model.buffers()]
    result = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    modules = dict(result.named_modules())
    found: dict[nn.Module, SimulatedLayer] = {}
    for name, runs in planned.items():
        module = modules[name]
        assert isinstance(module, QuantLayer)  # planned_mappings refuses others
        arrays = {}
        for size, mapping in runs.items():
            key = replace(mapping, shape=mapping.shape.anonymous)
            if key not in schedules:
                schedules[key] = schedule_mapping(key)
            inputs = InputCoding(
                module.input_quantiser.bits, module.input_quantiser.signed, plan.array.dac_bits
            )
            cells = CellCoding.of(plan.array, module.weight_quantiser.bits)
            arrays[size] = LayerArrays(
                name, schedules[key], cells, inputs, chosen, plan.array.rows, dtype=_at_least_single(dtype)
            )
        found[module] = SimulatedLayer(module, name, arrays, seed)
    swap_(result, found)
    for simulated in found.values():
        for held in simulated.arrays.values():
            Converter.check(chosen, held.sums, simulated.name)
        simulated.program_(seed)
    if calibration is not None:
        calibrate_adc_(result, calibration)
    return result


def check_arrays(plan: Plan, chosen: ArrayNonIdealities, digital: Iterable[str] = ()) -> None:
    """Refuse, from the plan alone, what no network that follows it can run on.

    Args:
        plan: with the cells and DACs of its array.
        chosen: the non-idealities.
        digital: layers of the plan that are left to digital logic.

    Raises:
        InputError: no layer has bits, one has a single bit or does not fit into a row, or the cells do not go with `chosen`.
    """
    if not plan.quantised:
        raise InputError(
            f"the plan of {plan.model} gives no layer bits, and arrays compute with integers; make it with bits, such as --bits 4"
        )
    if chosen.ir_drop and plan.array.cell_bits is None:
        raise InputError(
            f"ir_drop (={chosen.ir_drop}) needs real cells, which have a conductance; give the array cell_bits (--cell-bits 2)"
        )
    if chosen.adc_bits == 1 and plan.array.cell_bits is None:
        raise InputError(
            "cells of whole weights have signed sums, so adc_bits (=1) must be 2 or more; or give the array cell_bits"
        )
    left = set(digital)
    for layer in plan.layers:
        if layer.weight_bits is not None and layer.name not in left:
            if layer.weight_bits == 1:
                raise InputError(f"layer {layer.name} has 1-bit weights{BINARY}")
            plan.array.in_weights(layer.weight_bits)


def planned_mappings(
    model: nn.Module, plan: Plan, digital: Iterable[str] = ()
) -> dict[str, dict[Pair, Mapping]]:
    """The mapping of every layer of a quantised network that runs on arrays: by module, and by the (H, W) of its input.

    Supports that the plan leaves open are those of the network.

    Args:
        model: the network after `compress_` and `quantise_`.
        plan: the plan that it follows.
        digital: layers of the plan that are left to digital logic, as are those without bits.

    Raises:
        InputError: the plan does not belong to the model, keeps other kernel positions, or a layer has levels that no cell coding
            stands for.
    """
    shapes: dict[str, list[ConvShape]] = {}
    for shape in trace(model, plan.input, plan.model).layers:
        shapes.setdefault(shape.weight, []).append(shape)
    check_supports(plan, model)
    plan = with_supports(plan, model)
    masks = masks_of(model)
    modules = dict(model.named_modules())
    found: dict[str, dict[Pair, Mapping]] = {}
    for layer in plan.layers:
        if layer.weight_bits is None or layer.name in digital:
            continue
        for name, runs in _stages(layer, shapes, plan, masks).items():
            module = modules.get(name)
            if not isinstance(module, QuantLayer):
                raise InputError(
                    f"layer {name} is not quantised in the network, as the plan says; quantise it by the plan first"
                )
            if isinstance(module.weight_quantiser, BinaryQuantiser) or isinstance(
                module.input_quantiser, BinaryQuantiser
            ):
                raise InputError(f"layer {name} has 1-bit inputs or weights{BINARY}")
            bits = module.weight_quantiser.bits, module.input_quantiser.bits
            if bits != (layer.weight_bits, layer.input_bits):
                raise InputError(
                    f"layer {name} has weights and inputs of {bits[0]} and {bits[1]} bits, the plan says {layer.weight_bits} and "
                    f"{layer.input_bits}; simulate a network that follows the plan"
                )
            found[name] = runs
    return found


def simulated_layers(network: nn.Module) -> tuple[SimulatedLayer, ...]:
    """The layers of a simulated network that run on arrays, in the order in which they are registered."""
    return tuple(module for module in network.modules() if isinstance(module, SimulatedLayer))


def program_(network: nn.Module, seed: int) -> None:
    """Program all arrays of a simulated network anew, as another chip would be."""
    for layer in simulated_layers(network):
        layer.program_(seed)


def calibrate_adc_(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Gather the sums that the converters will see, for calibrated ranges, in eval mode and without converters.

    Args:
        network: a simulated network.
        batches: inputs on its device; a few hundred images do.

    Raises:
        InputError: there is no batch.
    """
    if not needs_calibration(network):
        return
    layers = simulated_layers(network)
    for layer in layers:
        layer.calibrate_(True)
    try:
        with evaluating(network):
            run_batches(network, batches)
    finally:
        for layer in layers:
            layer.calibrate_(False)


def needs_calibration(network: nn.Module) -> bool:
    """Whether the ADC ranges of a simulated network depend on data."""
    held = [arrays.chosen for layer in simulated_layers(network) for arrays in layer.arrays.values()]
    return any(chosen.adc_bits is not None and chosen.adc_range == CALIBRATED for chosen in held)


@contextmanager
def only(network: nn.Module, name: str) -> Iterator[None]:
    """Inside, only the arrays of layer `name` fall short; those of all other layers are ideal.

    Raises:
        InputError: there is no such layer.
    """
    layers = simulated_layers(network)
    if name not in {layer.name for layer in layers}:
        raise InputError(f"no layer {name} of the network runs on arrays")
    before = [layer.ideal for layer in layers]
    for layer in layers:
        layer.ideal = layer.name != name
    try:
        yield
    finally:
        for layer, ideal in zip(layers, before, strict=True):
            layer.ideal = ideal


def _stages(
    layer: LayerPlan, shapes: dict[str, list[ConvShape]], plan: Plan, masks: Masks
) -> dict[str, dict[Pair, Mapping]]:
    """For each module that the layer became: by input size, its mapping."""
    surgery = surgery_of(layer.kind)
    parts = surgery.parts(layer)
    mappings: dict[str, dict[Pair, Mapping]] = {part.name: {} for part in parts}
    # A layer that runs several times has as many runs of each part, in the same order.
    for run in zip(*(_runs(part.name, shapes) for part in parts), strict=True):
        dense = surgery.dense_shape(layer, run)
        stages = array_mapping(dense, plan.array, layer, masks.get(layer.name)).stages
        for part, shape, stage in zip(parts, run, stages, strict=True):
            size = shape.input
            if len(parts) == 1:
                size = dense.input
            mappings[part.name][size] = stage
    return mappings


def _runs(name: str, shapes: dict[str, list[ConvShape]]) -> list[ConvShape]:
    if name not in shapes:
        raise InputError(
            f"the plan names layer {name}, which the network does not run; simulate a network that follows the plan"
        )
    return shapes[name]


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
