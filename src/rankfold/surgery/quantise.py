"""Quantising a compressed network as its plan says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from rankfold.arguments import takes
from rankfold.calibration.batch_norm import follow_batch_norm_, reestimate_batch_norm_
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.rounding import compensate_rounding_
from rankfold.calibration.samples import (
    CALIBRATION_IMAGES,
    MOMENT_IMAGES,
    GivesBatches,
    Inputs,
    Samples,
    planned_for,
)
from rankfold.calibration.signs import observe_signs
from rankfold.cost.energy.chosen_table import array_with_cells
from rankfold.errors import InputError
from rankfold.lowrank import ROUNDINGS
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL, device_of
from rankfold.nn.quantised import LayerBits, replace_by_quantised_
from rankfold.plan.plan import PLAN, Plan
from rankfold.surgery.follows import check_follows
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.supports import filled_in
from rankfold.surgery.undo import unchanged_on_error

NEAREST, COMPENSATED = ROUNDINGS


@takes(model=MODEL, plan=PLAN, reference=MODEL.or_none, hardware=HARDWARE.or_none)
def quantise_(
    model: nn.Module,
    plan: Plan,
    data: Iterable[Any] | GivesBatches,
    *,
    rounding: str = NEAREST,
    images: int = CALIBRATION_IMAGES,
    reference: nn.Module | None = None,
    hardware: ArraySpec | Hardware | None = None,
) -> Plan:
    """Make a compressed network ready to be fine-tuned at the bits of its plan, in place, after `compress_`.

    Batch norm is estimated anew on the changed weights; signs of inputs that the plan leaves open are
    observed; quantisers are put in and their step sizes set; weights are rounded, where their errors shall
    make up for each other; and batch norm is estimated once more. Without bits in the plan only the first of
    these is done. An error leaves the network as it was.

    Args:
        model: the network after `compress_`.
        plan: the plan that it follows.
        data: batches, see `calibration.samples.inputs_of`; batches as large as in training serve batch norm
            best.
        rounding: `nearest` (each weight to its nearest level) or `compensated` (layer by layer, errors of
            weights made up for by weights that are rounded later, on the first 512 samples; the weights
            become levels, see `calibration.rounding`).
        images: samples of them that are used.
        reference: the network that it was made from. Batch norms then change only by what has changed since,
            so that data may be unlike those that the network was trained on; None: they are estimated anew
            on the data.
        hardware: whose cells shall hold the weights: levels that these lack are left out. None: the plan's.
            Cells that it does not name are those of its technology.

    Returns:
        The plan with all that it left open filled in: signs, supports, levels of weights, and the weights
        that pruned layers keep. `save`, `simulate`, `cycles` and `energy` take it as it is.

    Raises:
        InputError: the network does not follow the plan, there is no batch, a layer never runs on them, a
            value is not finite, there is no such rounding, a plan without bits is to be rounded with
            compensation, or the hardware names no cells and a technology that cannot be read.
        MissingDependencyError: likewise, one whose package is not installed.
    """
    check_rounding(rounding, plan)
    check_follows(model, plan, quantised=False)
    if plan.quantised:
        if isinstance(hardware, ArraySpec):
            hardware = DEFAULT_HARDWARE.with_array(hardware)
        plan = plan.with_levels_for(array_with_cells(hardware or plan.machine))
    # Gone through several times, always the same samples.
    batches = Samples(data, images, device_of(model), image=plan.one_image)
    with unchanged_on_error(model), planned_for(plan):
        return _quantised_(model, plan, batches, reference, compensated=rounding == COMPENSATED)


def check_rounding(rounding: str, plan: Plan) -> None:
    """Refuse a rounding that is none of `ROUNDINGS`, or that has no weights to round.

    Raises:
        InputError: it is none, or all weights stay float.
    """
    if rounding not in ROUNDINGS:
        raise InputError(f"rounding (={rounding}) must be one of {', '.join(ROUNDINGS)}")
    if rounding == COMPENSATED and not plan.quantised:
        raise InputError(
            "the plan has no bits, so that no weight is rounded; omit the rounding, or give bits"
        )


def _quantised_(
    model: nn.Module, plan: Plan, batches: Samples, reference: nn.Module | None, *, compensated: bool
) -> Plan:
    """`quantise_`, of a network that follows its plan."""

    def estimate_norms_() -> None:
        if reference is None:
            reestimate_batch_norm_(model, batches)
        else:
            follow_batch_norm_(model, reference, batches)

    # Before signs and steps: both are read off values that pass through the norms.
    if plan.changed:
        estimate_norms_()
    plan = filled_in(plan, model)
    if not plan.quantised:
        return plan
    # On the float network, as a quantiser's levels depend on the sign.
    settled = with_observed_signs(model, plan, batches)
    insert_quantisers_(model, settled)
    calibrate_(model, batches)
    if compensated:
        # Layers shall read what they will read, which norms have a part in.
        estimate_norms_()
        compensate_rounding_(model, batches.first(MOMENT_IMAGES))
    # Rounding moves means and variances once more.
    estimate_norms_()
    return settled


def with_observed_signs(model: nn.Module, plan: Plan, batches: Iterable[Inputs]) -> Plan:
    """The plan with the signs of inputs that it leaves open as they are on data.

    Args:
        model: the network after `compress_`, without quantisers.
        plan: the plan that it follows.
        batches: inputs of the model, on its device.

    Raises:
        InputError: see `calibration.signs.observe_signs`.
    """
    modules = open_signs(plan)
    seen = observe_signs(model, batches, [part for parts in modules.values() for part in parts])
    # A layer reads what its parts read.
    return plan.with_signs({name: any(seen[part] for part in parts) for name, parts in modules.items()})


def insert_quantisers_(model: nn.Module, plan: Plan) -> None:
    """Give every layer of `plan` that has bit widths its quantisers, in place, after `compress_`.

    None is calibrated.

    All parts of a layer are quantised; the value between two stages of a low-rank pair is always signed.

    Raises:
        InputError: a sign is still open in the plan, or a module is not what the plan says.
    """
    bits: dict[str, LayerBits] = {}
    for layer in plan.layers:
        if layer.weight_bits is None or layer.input_bits is None:
            continue
        if layer.input_signed is None:
            raise InputError(
                f"plan, layer {layer.name}: input_signed is open; fill it in, or let the data show it "
                "(quantise_)"
            )
        for part in surgery_of(layer.kind).parts(layer):
            signed = layer.input_signed
            # A second stage reads sums of either sign, whatever the layer reads.
            if part.signed is not None:
                signed = part.signed
            bits[part.name] = LayerBits(layer.weight_bits, layer.input_bits, signed, layer.narrow_weights)
    replace_by_quantised_(model, bits)


def open_signs(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Layers whose input sign is still open: plan name -> names of the modules that get the input."""
    modules: dict[str, tuple[str, ...]] = {}
    for layer in plan.layers:
        if layer.input_signed is None and layer.quantised:
            parts = surgery_of(layer.kind).parts(layer)
            modules[layer.name] = tuple(part.name for part in parts if part.signed is None)
    return modules
