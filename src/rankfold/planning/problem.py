"""`PlanningProblem`: a network with everything that its layers may become, gathered on data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from rankfold.arguments import NUMBER, SWITCH, TEXT, Wanted, takes
from rankfold.calibration.branches import Branches, branches
from rankfold.calibration.outputs import OUTPUTS, SCORES, OutputModel
from rankfold.calibration.samples import Inputs
from rankfold.cost.energy import ComponentTable, hardware_table
from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL, device_of
from rankfold.plan import Plan
from rankfold.plan.prediction import NATS
from rankfold.plan.uniform import Bits
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy, agreement
from rankfold.planning.changeable import open_slots, windows_of, with_widths
from rankfold.planning.channels import in_order, with_channels
from rankfold.planning.choices import layer_choices
from rankfold.planning.data import default_images, digest_of, planning_data
from rankfold.planning.exact import (
    CYCLES,
    LOSS,
    Budget,
    Candidate,
    Front,
    LayerChoices,
    Surface,
    front,
    surface,
    total,
)
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.linked import with_dependents
from rankfold.planning.exact.quantities import spoken
from rankfold.planning.exact.slots import LayerSlot, dense_network, layer_slots
from rankfold.planning.exact.widths import CHOICES, BitChoices
from rankfold.planning.explain import explained
from rankfold.planning.kinds import chosen_labels, patches_read, uses_bypasses
from rankfold.planning.layer_runners import LayerRunner
from rankfold.planning.memory import give_back_memory
from rankfold.planning.request import (
    MEASURED_IMAGES,
    check_request,
    chosen_objective,
    chosen_trades,
    counted_quantities,
    usual_objective,
)
from rankfold.planning.statistics import LayerStatistics, layer_statistics
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.runs.baseline import weights_digest
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData
from rankfold.training.metric import METRIC, Function, Measure, Metric, Updated
from rankfold.workload import Network
from rankfold.workload.network import NETWORK


@dataclass(frozen=True)
class PlanningProblem:
    """A network with everything that its layers may become, for plans, fronts and searches.

    Attributes:
        network: its layers.
        model: the dense network.
        array: the array.
        choices: of each layer.
        accuracy: measures plans.
        budgets: the most of each quantity in its base unit, such as pJ, and of predicted loss.
        max_drop: the most accuracy that a plan may lose, 0.01 for a point, or the most of the metric; None:
            no such limit.
        objective: what shall be small: the loss, or one of `QUANTITIES`; None: as usual.
        trades: what fronts trade for predicted loss, one or two of `QUANTITIES`.
        hardware: what else plans are for, beside their array; None: nothing else was said.
        comparable: whether losses are those of plans of other problems: of changed weights, and not of
            rounding.
        data: digest of the data set; None: of batches that nothing names.
        unit: of the predicted losses: `nats`, or `relative squared error` of outputs that are no scores.
        outputs: what the network's outputs were taken for, such as `scores`.
    """

    network: Network
    model: nn.Module
    array: ArraySpec
    choices: tuple[LayerChoices, ...]
    accuracy: PlanAccuracy
    _: KW_ONLY
    budgets: Mapping[str, float]
    max_drop: float | None = None
    hardware: Hardware | None = None
    objective: str | None = None
    trades: tuple[str, ...] = (CYCLES,)
    comparable: bool = True
    data: str | None = None
    unit: str = NATS
    outputs: str = SCORES

    @property
    def goal(self) -> str:
        """What shall be small."""
        return self.objective or usual_objective(self.budgets, self.max_drop)

    @property
    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """What each layer may become."""
        return tuple(layer.candidates for layer in self.choices)

    @property
    def dense(self) -> tuple[Candidate, ...]:
        """Every layer kept, with its best mapping."""
        return tuple(layer.dense for layer in self.choices)

    @property
    def limited(self) -> tuple[str, ...]:
        """What saving counts for: quantities that have a budget or shall be small, else those of fronts."""
        limited = [name for name in (*self.budgets, self.goal) if name != LOSS]
        return tuple(dict.fromkeys(limited)) or self.trades

    def front(self, progress: Progress | None = None) -> Front:
        """All best trades of a cost for predicted loss; see `exact.front` for when it is not exact.

        Args:
            progress: hears how many layers are merged, and where points are.

        Raises:
            InputError: fronts of this problem trade two costs.
        """
        if len(self.trades) > 1:
            raise InputError(
                f"fronts of this problem trade {' and '.join(map(spoken, self.trades))}; ask for its surface"
            )
        return front(self.candidates, self.trades[0], progress=progress)

    def surface(self, progress: Progress | None = None) -> Surface:
        """All best trades of two costs for predicted loss; see `exact.surface` for when it is not exact.

        Args:
            progress: hears how many layers are merged, and where points are.

        Raises:
            InputError: fronts of this problem trade one cost.
        """
        if len(self.trades) == 1:
            raise InputError(
                f"fronts of this problem trade {spoken(self.trades[0])} alone; ask for its front"
            )
        return surface(self.candidates, self.trades, progress=progress)

    def plan(self, chosen: Sequence[Candidate]) -> Plan:
        """The plan file of a choice, with the reason for every layer in words, and what it is predicted to
        lose where that can be compared with other plans.
        """
        layers = []
        for layer, candidate in zip(self.choices, chosen, strict=True):
            layers.append(explained(layer, candidate, self.limited, self.unit))
        plan = Plan.of(self.network, self.hardware or self.array, layers)
        if not self.comparable:
            return plan
        return plan.predicting(total(chosen, LOSS), self._weights, self.data, self.unit)

    @cached_property
    def _weights(self) -> str:
        return weights_digest(self.model)


@takes(
    model=MODEL,
    array=HARDWARE,
    budgets=Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    objective=TEXT.or_none,
    max_loss=NUMBER.or_none,
    max_drop=NUMBER.or_none,
    metric=METRIC.or_none,
    outputs=OUTPUTS,
    trades=Wanted("a list of quantities, such as ['cycles']", list, tuple),
    pointwise=SWITCH,
    layer_bits=CHOICES.or_none,
    network=NETWORK.or_none,
    progress=PROGRESS,
    table=Wanted("a ComponentTable (load_table)", ComponentTable, optional=True),
)
def planning_problem(
    model: nn.Module,
    data: ImageData | LoaderData | Iterable[Any],
    array: ArraySpec | Hardware,
    *budgets: Budget,
    bits: Bits = 4,
    layer_bits: BitChoices | None = None,
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
            counted in all losses; None: all have `bits`, and losses are those of changed weights alone.
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
    chosen_labels(kinds)  # before any work
    progress = progress or Silent()
    hardware = None
    if isinstance(array, Hardware):
        hardware, array = array, array.array
    samples = planning_data(data, device_of(model), with_targets=metric is not None)
    if network is None:
        network = samples.network(model)
    images = images or default_images(samples)
    measure = MeasureSettings(measured_images, seed=seed, calibrated=images)
    # Samples without classes are found out before any work, not after minutes of it.
    by: Measure | None = None if metric is None else Metric.of(metric).named()
    taken_for = None if outputs is None else OutputModel.parse(outputs)
    if max_drop is not None:
        if by is None and not samples.is_labelled:
            by = agreement(model, samples, taken_for, seed)
        PlanAccuracy(model, samples, measure, metric=by).held_out  # noqa: B018
    all_slots = layer_slots(network, array, bits, pointwise=pointwise, linear=linear)
    slots = open_slots(all_slots, network, model, array, chosen_labels(kinds))
    # A table that does not go with the cells is refused, whether a budget is of energy or not.
    priced_with = table or hardware_table(hardware or DEFAULT_HARDWARE.with_array(array))
    costing = Costing.of(network, dense_network(network, array, slots), priced_with, linear=linear)
    slots = with_widths(slots, model, layer_bits, (array, costing.precise.array))
    calibration = samples.calibration(images, seed)
    slots, bypasses = _among_others(slots, model, calibration)
    known = _calibrated(
        model, calibration, slots, array, bypasses, seed=seed, progress=progress, outputs=taken_for
    )
    slots = in_order(slots, model, known)
    choices = _choices(slots, model, known, costing, quantities, runner=runner, progress=progress)
    unstudied = [name for name in known.skipping if name not in known.sensitivities]
    accuracy = PlanAccuracy(
        model, samples, measure, known.moments, known.window_moments, skippable=unstudied, metric=by
    )
    return PlanningProblem(
        network,
        model,
        array,
        choices,
        accuracy,
        budgets=limits_of(budgets, choices) | ({} if max_loss is None else {LOSS: max_loss}),
        max_drop=max_drop,
        hardware=hardware,
        objective=goal,
        trades=traded,
        comparable=layer_bits is None,
        data=digest_of(data),
        unit=known.unit,
        outputs=known.outputs,
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


def limits_of(budgets: Sequence[Budget], choices: Sequence[LayerChoices]) -> dict[str, float]:
    """The budgets in the base units of their quantities."""
    dense = [layer.dense for layer in choices]  # shares are of the dense network under its best mapping
    return {budget.quantity: budget.limit(total(dense, budget.quantity)) for budget in budgets}
