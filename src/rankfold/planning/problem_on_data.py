"""`planning_problem`: a network calibrated on data, and everything that its layers may become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rankfold.arguments import NUMBER, SWITCH, TEXT, Wanted, takes
from rankfold.calibration.branches import Branches, branches
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.calibration.samples import Inputs
from rankfold.cost.energy import ComponentTable, hardware_table
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL, device_of
from rankfold.plan.uniform import Bits
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy, agreement
from rankfold.planning.changeable import changeable_slots, windows_of
from rankfold.planning.channels import in_order, with_channels
from rankfold.planning.choices import layer_choices
from rankfold.planning.data import PlanningData, default_images, digest_of, planning_data
from rankfold.planning.exact import CYCLES, LOSS, Budget, LayerChoices
from rankfold.planning.exact.budget import limits_of
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.linked import with_dependents
from rankfold.planning.exact.slots import LayerSlot, dense_network, layer_slots
from rankfold.planning.exact.widths import CHOICES, BitChoices
from rankfold.planning.kinds import chosen_labels, patches_read, uses_bypasses
from rankfold.planning.layer_runners import LayerRunner
from rankfold.planning.memory import give_back_memory
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.request import (
    MEASURED_IMAGES,
    check_request,
    chosen_objective,
    chosen_trades,
    counted_quantities,
)
from rankfold.planning.statistics import LayerStatistics, layer_statistics
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData
from rankfold.training.metric import METRIC, Function, Measure, Metric, Updated
from rankfold.workload import Network
from rankfold.workload.network import NETWORK

# What is given of a network that is planned on data, and how it is checked.
PLANNING_ARGUMENTS = {
    "model": MODEL,
    "array": HARDWARE,
    "budgets": Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    "objective": TEXT.or_none,
    "max_loss": NUMBER.or_none,
    "max_drop": NUMBER.or_none,
    "metric": METRIC.or_none,
    "outputs": OUTPUTS,
    "pointwise": SWITCH,
    "layer_bits": CHOICES.or_none,
    "count_rounding": SWITCH,
    "network": NETWORK.or_none,
    "progress": PROGRESS,
    "table": Wanted("a ComponentTable (load_table)", ComponentTable, optional=True),
}


@takes(**PLANNING_ARGUMENTS, trades=Wanted("a list of quantities, such as ['cycles']", list, tuple))
def planning_problem(
    model: nn.Module,
    data: ImageData | LoaderData | Iterable[Any],
    array: ArraySpec | Hardware,
    *budgets: Budget,
    bits: Bits = 4,
    layer_bits: BitChoices | None = None,
    count_rounding: bool = False,
    objective: str | None = None,
    max_loss: float | None = None,
    max_drop: float | None = None,
    metric: Metric | Function | Updated | None = None,
    outputs: OutputModel | str | None = None,
    trades: Sequence[str] = (CYCLES,),
    pointwise: bool = False,
    linear: bool = False,
    kinds: Iterable[str] | None = None,
    images: int | None = None,
    measured_images: int = MEASURED_IMAGES,
    seed: int = 0,
    table: ComponentTable | None = None,
    network: Network | None = None,
    counted: Sequence[str] = (),
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
        bits: of weights and inputs, or (of weights, of inputs); None for float.
        layer_bits: bits that each convolution may have instead, with what rounding is predicted to lose
            counted in all losses; None: all have `bits`.
        count_rounding: whether losses count what rounding convolutions to `bits` is predicted to lose, as
            with `layer_bits`; then no layer is trimmed, and the plan has no prediction. False: they are those
            of changed weights alone.
        objective: what shall be small: `loss`, or one of `QUANTITIES` within a limit of loss or drop; None:
            the cycles where there is such a limit and no budget of them, else the loss.
        max_loss: the most predicted loss per image, in nats, or as `outputs` says.
        max_drop: the most accuracy, 0.01 for a point, that the plan may lose against the dense network at
            the same bits, measured before fine-tuning on samples that nothing was calibrated on; of data
            without targets the share of samples (and positions) whose most likely class is that of the
            float network.
        metric: what plans are measured by instead of top-1 accuracy, the higher the better, see `Metric`: a
            function (outputs, targets) -> number of all samples. `max_drop` is in its own units.
        outputs: what the network's outputs are taken for: `scores` before a softmax, or `probabilities` after
            one, over dimension 1 or another (`scores:2`), with losses in nats; or `values` of any other sort,
            with losses as shares of their variance. None: one tensor (B, classes) is scores, all else values.
        trades: what fronts trade for predicted loss, one or two of `QUANTITIES`.
        pointwise: whether 1x1 convolutions may become low-rank.
        linear: whether fully connected layers may, and count.
        kinds: what layers may become beside dense, some of `low-rank`, `support`, `window`,
            `window-low-rank`, `window-margins`, `grouped`, `skipped`, `trimmed` and kinds of your own; None:
            all. Pairs on supports count as low-rank.
        images: samples to calibrate on; None: 512, or 32 where images are larger than 64x64.
        measured_images: samples to measure accuracy on.
        seed: of the images that are drawn.
        table: the components that energy is counted with; None: those of the hardware, else the default
            ones.
        network: the model's trace; None: it is traced, and has the name of the model's class.
        counted: further quantities that tell candidates apart.
        runner: finds what layers may become elsewhere, such as a connected `planning.cluster.RayLayers`;
            None: threads of this process do, as many as torch may use.
        progress: hears how far the work is.

    Raises:
        InputError: what was given is wrong, or is no network that could be planned.
    """
    goal = chosen_objective(objective, max_loss=max_loss, max_drop=max_drop)
    check_request(
        budgets,
        max_drop=max_drop,
        metric=metric is not None,
        images=images,
        measured_images=measured_images,
        seed=seed,
    )
    traded = chosen_trades(trades)
    quantities = counted_quantities(budgets, goal, (*traded, *counted))
    chosen = chosen_labels(kinds)  # before any work
    progress = progress or Silent()
    hardware = array if isinstance(array, Hardware) else None
    samples = planning_data(data, device_of(model), with_targets=metric is not None)
    if network is None:
        network = samples.network(model)
    images = images or default_images(samples)
    measure = MeasureSettings(measured_images, seed=seed, calibrated=images)
    taken_for = None if outputs is None else OutputModel.parse(outputs)
    by = _measured_by(model, samples, measure, metric=metric, max_drop=max_drop, outputs=taken_for)
    slots = layer_slots(network, _spec(array), bits, pointwise=pointwise, linear=linear)
    costing = _costing(network, array, slots, table, linear=linear)
    slots = changeable_slots(
        slots,
        network,
        model,
        (_spec(array), costing.precise.array),
        kinds=chosen,
        layer_bits=layer_bits,
        count_rounding=count_rounding,
    )
    calibration = samples.calibration(images, seed)
    slots, bypasses = _among_others(slots, model, calibration)
    known = _calibrated(
        model,
        calibration,
        slots,
        _spec(array),
        bypasses,
        celled=costing.precise.array,
        seed=seed,
        progress=progress,
        outputs=taken_for,
    )
    slots = in_order(slots, model, known)
    choices = _choices(slots, model, known, costing, quantities, runner=runner, progress=progress)
    return PlanningProblem(
        network,
        model,
        _spec(array),
        choices,
        _accuracy(model, samples, measure, known, by, costing.precise.array),
        budgets=limits_of(budgets, choices) | ({} if max_loss is None else {LOSS: max_loss}),
        max_drop=max_drop,
        hardware=hardware,
        objective=goal,
        trades=traded,
        comparable=layer_bits is None and not count_rounding,
        data=digest_of(data),
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
    *,
    metric: Metric | Function | Updated | None,
    max_drop: float | None,
    outputs: OutputModel | None,
) -> Measure | None:
    """What plans are measured by; None: top-1 accuracy.

    Raises:
        InputError: a drop is limited, and there are no samples to measure it on.
    """
    by: Measure | None = None if metric is None else Metric.of(metric).named()
    if max_drop is not None:
        if by is None and not samples.is_labelled:
            by = agreement(model, samples, outputs, settings.seed)
        # Samples without classes are found out before any work, not after minutes of it.
        PlanAccuracy(model, samples, settings, metric=by).held_out  # noqa: B018
    return by


def _costing(
    network: Network,
    array: ArraySpec | Hardware,
    slots: tuple[LayerSlot, ...],
    table: ComponentTable | None,
    *,
    linear: bool,
) -> Costing:
    """What prices candidates: with the table given, that of the hardware, or the default one.

    Raises:
        InputError: a table does not go with the cells, whether a budget is of energy or not.
    """
    spec = _spec(array)
    hardware = array if isinstance(array, Hardware) else DEFAULT_HARDWARE.with_array(spec)
    dense = dense_network(network, spec, slots)
    return Costing.of(network, dense, table or hardware_table(hardware), linear=linear)


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
