"""`simulate`: a quantised network whose layers run on the arrays of its plan."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rankfold.arguments import WHOLE, Wanted, shown, takes
from rankfold.calibration.observation import evaluating, run_batches
from rankfold.calibration.samples import GivesBatches, Samples, planned_for
from rankfold.cost.energy import completed
from rankfold.errors import InputError
from rankfold.machine import CALIBRATED, Hardware, NonIdealities
from rankfold.mapping import ArraySpec, Mapping
from rankfold.models.device import MODEL, device_of, dtype_of
from rankfold.models.finite import check_numbers
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.swap import swap_
from rankfold.plan import Plan
from rankfold.plan.plan import PLAN
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter
from rankfold.simulator.layer import SimulatedLayer
from rankfold.simulator.planned import Runs, check_arrays, planned_mappings
from rankfold.simulator.schedule import Schedule, schedule_mapping
from rankfold.workload.shape import Pair

ADC_IMAGES = 512  # whose sums an ADC range is calibrated on


@takes(
    model=MODEL,
    plan=PLAN,
    chosen=Wanted("NonIdealities(...) or a Hardware", NonIdealities, Hardware, optional=True),
    seed=WHOLE,
)
def simulate(
    model: nn.Module,
    plan: Plan,
    chosen: NonIdealities | Hardware | None = None,
    *,
    calibration: Iterable[Any] | GivesBatches | None = None,
    digital: Iterable[str] = (),
    seed: int = 0,
) -> nn.Module:
    """The network as the arrays of its plan compute it.

    Every layer that has bits in the plan, fully connected ones too, runs tile by tile on the mapping that the
    plan chose for it, with the cells and DACs of `plan.array`. The result shares Parameters and buffers with
    `model`: to train with the non-idealities in the loop, train the result and save `model`. Gradients are
    those of the quantised network.

    A pattern-pruned layer runs without steering, as its tiles are laid out.

    Args:
        model: the network after `compress_`, `quantise_` and calibration (or loaded weights); it stays as it
            is. Move it to its device and type before: `result.to(...)` would give the result buffers of its
            own.
        plan: the plan that it follows.
        chosen: the non-idealities of the plan's arrays, or the hardware to run on instead of the plan's,
            whose open figures are those of its component table; None: as the plan's hardware says, ideal
            where it names none.
        calibration: data (see `calibration.samples.Samples`), of which the first 512 samples are used, for
            calibrated ADC ranges; or call `calibrate_adc_` later.
        digital: layers of the plan that are left to digital logic.
        seed: of everything drawn at random.

    Raises:
        InputError: the plan has no bits at all, or does not belong to the model; a weight is NaN, or a layer
            cannot be stored in the cells; a name in `digital` is not in the plan.
    """
    if isinstance(chosen, Hardware):
        plan = plan.on(completed(chosen))
        chosen = None
    if chosen is None:
        chosen = plan.machine.non_idealities
    if isinstance(digital, str) or not isinstance(digital, Iterable):
        raise InputError(f"digital must be names of layers, not {shown(digital)}")
    check_not_simulated(model)
    check_numbers(model.state_dict(), "the network")
    left = set(digital)
    check_arrays(plan, chosen, left)
    names = {layer.name for layer in plan.layers}
    unknown = left - names
    if unknown:
        name = min(unknown)
        raise InputError(f"the plan of {plan.model} has no layer {name} that could be left digital")
    planned = planned_mappings(model, plan, left)
    builder = _Builder(plan.array, chosen, dtype_of(model))
    result = _with_the_same_tensors(model)
    modules = dict(result.named_modules())
    simulated: dict[nn.Module, nn.Module] = {}
    for name, runs in planned.items():
        module = modules[name]
        assert isinstance(module, QuantLayer)  # planned_mappings refuses others
        arrays_by_size = builder.arrays(name, module, runs)
        simulated[module] = SimulatedLayer(module, name, arrays_by_size, seed)
    swap_(result, simulated)
    for layer in simulated_layers(result):
        for arrays in layer.arrays.values():
            Converter.check(chosen, arrays.sums, layer.name)
        layer.program_(seed)
    if calibration is not None:
        samples = Samples(calibration, ADC_IMAGES, device_of(model), image=plan.one_image)
        with planned_for(plan):
            calibrate_adc_(result, samples)
    return result


def _with_the_same_tensors(model: nn.Module) -> nn.Module:
    """A copy of the modules alone, with the very Parameters and buffers of `model`."""
    # deepcopy takes what its memo holds already for copied.
    memo = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


class _Builder:
    """Makes the arrays of layers; mappings that differ in their layer's name alone share one schedule.

    Args:
        array: their cells and DACs.
        chosen: their non-idealities.
        dtype: of the network.
    """

    def __init__(self, array: ArraySpec, chosen: NonIdealities, dtype: torch.dtype) -> None:
        self._array = array
        self._chosen = chosen
        self._dtype = torch.float32  # at the least, also where the network has half as many digits
        if dtype == torch.float64:
            self._dtype = torch.float64
        self._schedules: dict[Mapping, Schedule] = {}

    def arrays(self, name: str, module: QuantLayer, runs: Runs) -> dict[Pair, LayerArrays]:
        """For each input size of a layer, the arrays that hold it."""
        quantiser = module.input_quantiser
        inputs = InputCoding.of(self._array, quantiser.bits, quantiser.signed)
        cells = CellCoding.of(self._array, module.weight_quantiser.bits)
        arrays: dict[Pair, LayerArrays] = {}
        for size, mapping in runs.items():
            arrays[size] = LayerArrays(
                name,
                self._schedule(mapping),
                cells,
                inputs,
                self._chosen,
                self._array.rows,
                dtype=self._dtype,
            )
        return arrays

    def _schedule(self, mapping: Mapping) -> Schedule:
        key = replace(mapping, shape=mapping.shape.anonymous)
        if key not in self._schedules:
            self._schedules[key] = schedule_mapping(key)
        return self._schedules[key]


def check_not_simulated(network: nn.Module) -> None:
    """Refuse a network that `simulate` gave where one without arrays is wanted.

    Raises:
        InputError: it is one.
    """
    if simulated_layers(network):
        raise InputError("the network lies on simulated arrays already; give the one that simulate was given")


def simulated_layers(network: nn.Module) -> tuple[SimulatedLayer, ...]:
    """The layers of a simulated network that run on arrays, in the order in which they are registered."""
    layers = []
    for module in network.modules():
        if isinstance(module, SimulatedLayer):
            layers.append(module)
    return tuple(layers)


def program_(network: nn.Module, seed: int) -> None:
    """Program all arrays of a simulated network anew, as another chip would be."""
    for layer in simulated_layers(network):
        layer.program_(seed)


def calibrate_adc_(network: nn.Module, batches: Iterable[Any]) -> None:
    """Gather the sums that the converters will see, for calibrated ranges.

    In eval mode and without converters.

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
    for layer in simulated_layers(network):
        for arrays in layer.arrays.values():
            chosen = arrays.chosen
            if chosen.adc_bits is not None and chosen.adc_range == CALIBRATED:
                return True
    return False


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
