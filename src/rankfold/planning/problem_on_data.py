"""`planning_problem`: a network calibrated on data, and everything that its layers may become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rankfold.arguments import Wanted, takes
from rankfold.calibration.branches import Branches, branches
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.samples import Inputs
from rankfold.cost.energy import hardware_table
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL, device_of
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy, agreement
from rankfold.planning.changeable import changeable_slots, windows_of, within_reach
from rankfold.planning.channels import in_order, with_channels
from rankfold.planning.choices import layer_choices
from rankfold.planning.data import PlanningData, data_digest, default_images, planning_data
from rankfold.planning.exact import LOSS, Budget, LayerChoices
from rankfold.planning.exact.budget import limits_of
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.linked import with_dependents
from rankfold.planning.exact.slots import LayerSlot, dense_network, layer_slots
from rankfold.planning.kinds import chosen_labels, patches_read, uses_bypasses
from rankfold.planning.layer_runners import LayerRunner
from rankfold.planning.memory import give_back_memory
from rankfold.planning.options import USUAL, PlanningOptions
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.request import check_budgets, counted_quantities
from rankfold.planning.statistics import LayerStatistics, layer_statistics
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData
from rankfold.training.metric import Measure, Metric
from rankfold.workload import Network
from rankfold.workload.network import NETWORK

# What is given of a network that is planned on data, and how it is checked.
PLANNING_ARGUMENTS = {
    "model": MODEL,
    "array": HARDWARE,
    "budgets": Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    "network": NETWORK.or_none,
    "progress": PROGRESS,
}


@takes(**PLANNING_ARGUMENTS, options=Wanted("PlanningOptions(...)", PlanningOptions))
def planning_problem(
    model: nn.Module,
    data: ImageData | LoaderData | Iterable[Any],
    array: ArraySpec | Hardware,
    *budgets: Budget,
    options: PlanningOptions = USUAL,
    network: Network | None = None,
    runner: LayerRunner | None = None,
    progress: Progress | None = None,
) -> PlanningProblem:
    """Calibrate on data, and find everything that layers may become, with costs and predicted losses.

    Args:
        model: the dense network with its trained weights, where it shall be calibrated; it stays as it
            is.
        data: images, of which the training split is used; or an iterable of batches: tensors, pairs (inputs,
            target), or dictionaries of inputs. It is gone through once, and no further than needed.
        array: R x C, or the hardware, whose component table energy is counted with.
        budgets: the most of any of `planning.exact.QUANTITIES` together; none for the front alone.
        options: what else plans are asked for.
        network: the model's trace; None: it is traced, and has the name of the model's class.
        runner: finds what layers may become elsewhere, such as a connected `planning.cluster.RayLayers`;
            None: threads of this process do, as many as torch may use.
        progress: hears how far the work is.

    Raises:
        InputError: what was given is wrong, or is no network that could be planned.
    """
    check_budgets(budgets)
    kinds = chosen_labels(options.kinds)
    progress = progress or Silent()
    samples = planning_data(data, device_of(model), with_targets=options.metric is not None)
    if network is None:
        network = samples.network(model)
    images = options.images or default_images(samples)
    measure = MeasureSettings(options.measured_images, seed=options.seed, calibrated=images)
    outputs = None if options.outputs is None else OutputModel.parse(options.outputs)
    by = _measured_by(model, samples, measure, options, outputs)
    spec = _spec(array)
    slots = layer_slots(network, spec, options.bits, pointwise=options.pointwise, linear=options.linear)
    costing = _costing(network, array, slots, options)
    celled = costing.precise.array
    slots = changeable_slots(
        slots,
        network,
        model,
        (spec, celled),
        kinds=kinds,
        layer_bits=options.layer_bits,
        count_rounding=options.count_rounding,
    )
    calibration = samples.calibration(images, options.seed)
    slots = within_reach(slots, model, calibration)
    slots, bypasses = _among_others(slots, model, calibration)
    known = _calibrated(
        model,
        calibration,
        slots,
        spec,
        bypasses,
        celled=celled,
        seed=options.seed,
        progress=progress,
        outputs=outputs,
    )
    slots = in_order(slots, model, known)
    hardware = array if isinstance(array, Hardware) else None
    counted = counted_quantities(budgets, options.objective, (*options.trades, *options.counted))
    choices = _choices(slots, model, known, costing, counted, runner=runner, progress=progress)
    return PlanningProblem(
        network,
        model,
        spec,
        choices,
        _accuracy(model, samples, measure, known, by, celled),
        budgets=_limits(budgets, choices, options),
        max_drop=options.max_drop,
        hardware=hardware,
        objective=options.objective,
        trades=tuple(options.trades),
        comparable=options.layer_bits is None and not options.count_rounding,
        data=data_digest(data),
        unit=known.unit,
        outputs=known.outputs,
    )


def _spec(array: ArraySpec | Hardware) -> ArraySpec:
    """The array that plans are for."""
    return array.array if isinstance(array, Hardware) else array


def _measured_by(
    model: nn.Module,
    samples: PlanningData,
    settings: MeasureSettings,
    options: PlanningOptions,
    outputs: OutputModel | None,
) -> Measure | None:
    """What plans are measured by; None: top-1 accuracy.

    Raises:
        InputError: a drop is limited, and there are no samples to measure it on.
    """
    by: Measure | None = None
    if options.metric is not None:
        by = Metric.of(options.metric).named()
    if options.max_drop is not None:
        if by is None and not samples.is_labelled:
            by = agreement(model, samples, outputs, settings.seed)
        # Samples without classes are found out before any work, not after minutes of it.
        PlanAccuracy(model, samples, settings, metric=by).held_out  # noqa: B018
    return by


def _costing(
    network: Network,
    array: ArraySpec | Hardware,
    slots: tuple[LayerSlot, ...],
    options: PlanningOptions,
) -> Costing:
    """What prices candidates: with the table given, that of the hardware, or the default one.

    Raises:
        InputError: a table does not go with the cells, whether a budget is of energy or not.
    """
    spec = _spec(array)
    hardware = array if isinstance(array, Hardware) else DEFAULT_HARDWARE.with_array(spec)
    dense = dense_network(network, spec, slots)
    table = options.table or hardware_table(hardware)
    return Costing.of(network, dense, table, linear=options.linear)


def _limits(
    budgets: Sequence[Budget], choices: Sequence[LayerChoices], options: PlanningOptions
) -> dict[str, float]:
    """The most of each quantity in its base unit, and of predicted loss."""
    limits = limits_of(budgets, choices)
    if options.max_loss is not None:
        limits[LOSS] = options.max_loss
    return limits


def _accuracy(
    model: nn.Module,
    samples: PlanningData,
    settings: MeasureSettings,
    known: LayerStatistics,
    metric: Measure | None,
    celled: ArraySpec,
) -> PlanAccuracy:
    """What measures plans, with weights made for what calibration found."""
    unstudied = [name for name in known.skipping if name not in known.sensitivities]
    return PlanAccuracy(
        model,
        samples,
        settings,
        known.moments,
        known.window_moments,
        skippable=unstudied,
        metric=metric,
        array=celled,
    )


def _among_others(
    slots: Sequence[LayerSlot], model: nn.Module, batches: Iterable[Inputs]
) -> tuple[tuple[LayerSlot, ...], Branches]:
    """The slots with what a run of the network says of the layers around each."""
    asked = [slot.name for slot in slots if uses_bypasses(slot)]
    bypasses = branches(model, batches, asked)
    bypassed = [replace(slot, bypassed=slot.name in bypasses.feeding) for slot in slots]
    return with_channels(bypassed, model, batches), bypasses


def _calibrated(
    model: nn.Module,
    batches: Iterable[Inputs],
    slots: Sequence[LayerSlot],
    array: ArraySpec,
    bypasses: Branches,
    *,
    celled: ArraySpec,
    seed: int,
    progress: Progress,
    outputs: OutputModel | None,
) -> LayerStatistics:
    """What candidates of the layers that may be changed need to know of these."""
    opened = [slot for slot in slots if not slot.why_dense]
    widths = {slot.name: slot.widths for slot in slots if slot.widths is not None}
    names = [slot.name for slot in slots if not slot.why_dense or slot.widths is not None]
    others = {slot.name: patches_read(slot) for slot in opened}
    windows = {slot.name: windows_of(slot, array) for slot in opened}
    # In one go for all layers, so that the bar stands still until it is full.
    progress.begin("calibration", len(names) or 1, "layers")
    try:
        skippable = [slot.name for slot in slots if slot.bypassed]
        known = layer_statistics(
            model,
            batches,
            names,
            seed,
            others,
            windows,
            widths=widths,
            skippable=skippable,
            bypasses=bypasses,
            outputs=outputs,
            array=celled,
        )
        progress.advance(len(names))
    finally:
        progress.end()
    give_back_memory()
    return known


def _choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    known: LayerStatistics,
    costing: Costing,
    quantities: Sequence[str],
    *,
    runner: LayerRunner | None,
    progress: Progress,
) -> tuple[LayerChoices, ...]:
    """What layers may become, where these quantities count."""
    # As many layers at a time as torch may use threads; the user bounds both by it.
    threads = torch.get_num_threads()
    progress.begin("candidates", len(slots), "layers")
    try:
        found = layer_choices(
            slots, model, known, costing, quantities, progress=progress, threads=threads, runner=runner
        )
        return with_dependents(found, known.bypasses.nearest)
    finally:
        progress.end()
