"""`plan_network`: the best plan for a network under budgets, from data, before anything is fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from rankfold.calibration.correction import following_norms, free_of_constants
from rankfold.calibration.sensitivity import sensitivities
from rankfold.cost.energy import find_table
from rankfold.errors import InputError
from rankfold.mapping import DEFAULT_ARRAY, ArraySpec
from rankfold.models.load import apply_weights, brings_weights, check_classes, load_model, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.plan import DENSE, LayerPlan, Plan
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    LOSS,
    Candidate,
    Front,
    LayerChoices,
    Solution,
    front,
    in_units,
    solve,
    structure_in_words,
    total,
)
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.entries import LayerSlot, dense_network, layer_slots
from rankfold.planning.losses import layer_choices
from rankfold.runs.compress import MOMENT_IMAGES, calibration_batches
from rankfold.runs.simulation import NoProgress, Progress
from rankfold.surgery.compress import LARGEST_MOMENTS, called_as_functions
from rankfold.training.data import ImageData, load_images
from rankfold.training.loop import choose_device
from rankfold.workload import Network, trace

MEASUREMENTS = 8  # of accuracy, at most, to find the loss that a drop allows
SMALL_IMAGE = 64 * 64  # pixels; larger images have so many patches that fewer of them will do
LARGE_IMAGES = 32


@dataclass(frozen=True)
class PlanSettings:
    """What is to be planned.

    Attributes:
        model: as in `CompressSettings`.
        data: as there; training images alone are used.
        array: R x C; None: the default.
        budgets: the most of cycles, arrays or energy, any of them together.
        max_drop: the most accuracy, 0.01 for a point, that the plan may lose against the dense network at the same bits, measured
            before fine-tuning on training images that nothing was calibrated on. None: no such limit.
        bits: of weights and inputs; None for float.
        pointwise: whether 1x1 convolutions may become low-rank.
        checkpoint: weights of the dense network; None: shipped ones, or those in an exported file (.pt2).
        images: training images to calibrate on; None: 512, or 32 where images are larger than 64x64.
        measured_images: training images to measure accuracy on.
        seed: of the images that are drawn.
        image_size: (H, W) to resize images to.
        device: `auto`, `cpu`, `cuda`, ...
        technology: component table for energy, as in `CompressSettings`.
        adc: an ADC of that table.
        adc_bits: its resolution.
    """

    model: str
    data: str
    array: ArraySpec | None = None
    budgets: tuple[Budget, ...] = ()
    max_drop: float | None = None
    bits: int | None = 4
    pointwise: bool = False
    checkpoint: str | Path | None = None
    images: int | None = None
    measured_images: int = 2000
    seed: int = 0
    image_size: tuple[int, int] | None = None
    device: str = "auto"
    technology: str | None = None
    adc: str | None = None
    adc_bits: int | None = None

    def __post_init__(self) -> None:
        if self.model.lower().endswith(".onnx"):
            raise InputError(
                f"a plan needs gradients, which {self.model} does not give; export the network with torch.export (.pt2), or give "
                "package.module:factory and --checkpoint"
            )
        named = [budget.quantity for budget in self.budgets]
        if len(set(named)) < len(named):
            raise InputError(f"there are two budgets of {max(named, key=named.count)}; give one")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise InputError(f"max drop (={100 * self.max_drop:g} points) must be at least 0 and below 100")
        for name in ("images", "measured_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', ' ')} (={value}) must be 1 or more")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed (={self.seed}) must be between 0 and 2147483647")


@dataclass(frozen=True)
class Drop:
    """Accuracy on held-out training images before fine-tuning, 0 to 1: of the dense network at the same bits, and as planned."""

    dense: float
    planned: float

    @property
    def amount(self) -> float:
        """What is lost."""
        return self.dense - self.planned


@dataclass(frozen=True)
class Planning:
    """A plan, and what it was chosen from.

    Attributes:
        plan: it.
        choices: what each layer may become.
        solution: the choice, its predicted loss, and the proof that none is better.
        budgets: the most of each quantity, in cycles, arrays or pJ.
        drop: accuracy as measured, if it was.
    """

    plan: Plan
    choices: tuple[LayerChoices, ...]
    solution: Solution
    budgets: dict[str, float]
    drop: Drop | None = None

    @property
    def dense(self) -> tuple[Candidate, ...]:
        """Every layer kept, with its best mapping."""
        return tuple(layer.dense for layer in self.choices)


@dataclass(frozen=True)
class PlanningProblem:
    """A network with everything that its layers may become, for plans, fronts and searches.

    Attributes:
        network: its layers.
        model: the dense network.
        data: its images.
        device: where it is.
        array: the array.
        choices: of each layer.
        accuracy: measures plans.
        budgets: in cycles, arrays or pJ.
        max_drop: as in `PlanSettings`.
    """

    network: Network
    model: nn.Module
    data: ImageData
    device: torch.device
    array: ArraySpec
    choices: tuple[LayerChoices, ...]
    accuracy: PlanAccuracy
    budgets: dict[str, float]
    max_drop: float | None = None

    @property
    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """What each layer may become."""
        return tuple(layer.candidates for layer in self.choices)

    def front(self) -> Front:
        """All best trades of cycles for predicted loss."""
        return front(self.candidates, CYCLES)

    def plan(self, chosen: Sequence[Candidate]) -> Plan:
        """The plan file of a choice, with the reason for every layer in words."""
        layers = (_explained(layer, one) for layer, one in zip(self.choices, chosen, strict=True))
        return Plan(self.network.name, self.network.input, self.array, tuple(layers))


def plan_network(settings: PlanSettings, progress: Progress | None = None) -> Planning:
    """Choose what every layer becomes so that the network is best under the budgets.

    Without `max_drop` the predicted loss is made small; with it and no budget of cycles, the cycles; with both, the loss, and
    the drop is checked.

    Raises:
        InputError: what the user gave is wrong, or the budgets cannot be kept; the message says what can be.
    """
    if not settings.budgets and settings.max_drop is None:
        raise InputError("a plan needs a budget: cycles, arrays, energy, or the accuracy that may be lost")
    return best_plan(planning_problem(settings, progress), progress)


def planning_problem(settings: PlanSettings, progress: Progress | None = None) -> PlanningProblem:
    """Calibrate on data, and find everything that layers may become, with costs and predicted losses.

    Raises:
        InputError: what the user gave is wrong.
    """
    progress = progress or NoProgress()
    array = settings.array or DEFAULT_ARRAY
    device = choose_device(settings.device)
    data = load_images(settings.data, settings.image_size)
    model = _dense_model(settings, data, device)
    network = trace(model, data.input_size, settings.model)
    slots = _slots(network, model, array, settings)
    dense = dense_network(network, array, slots)
    costing = Costing.of(network, dense, find_table(settings.technology, array, settings.adc, settings.adc_bits))
    names = [slot.entry.name for slot in slots if not slot.why_dense]

    progress.begin("calibration", len(names) or 1)
    batches = _batches(settings, data, device)
    known = sensitivities(model, batches(), names, settings.seed) if names else {}
    moments = {name: layer.moments for name, layer in known.items()}
    fitted = {**moments, **free_of_constants(model, moments, following_norms(model, batches(), names))}
    progress.advance(len(names))
    progress.begin("candidates", len(slots))
    budgeted = list(dict.fromkeys([CYCLES, *(budget.quantity for budget in settings.budgets)]))
    threads = torch.get_num_threads()
    choices = layer_choices(slots, model, known, fitted, costing, budgeted, lambda _: progress.advance(1), threads)
    progress.end()
    all_dense = [layer.dense for layer in choices]
    limits = {budget.quantity: budget.limit(total(all_dense, budget.quantity)) for budget in settings.budgets}
    measure = MeasureSettings(images=settings.measured_images, seed=settings.seed, calibrated=_images(settings, data))
    accuracy = PlanAccuracy(model, data, device, measure, moments)
    return PlanningProblem(network, model, data, device, array, choices, accuracy, limits, settings.max_drop)


def best_plan(problem: PlanningProblem, progress: Progress | None = None) -> Planning:
    """The best plan of a problem; see `plan_network`.

    Raises:
        InputError: the budgets cannot be kept.
    """
    if problem.max_drop is None:
        solution = solve(problem.candidates, problem.budgets)
        return Planning(problem.plan(solution.chosen), problem.choices, solution, problem.budgets)
    progress = progress or NoProgress()
    progress.begin("measuring accuracy", MEASUREMENTS)
    try:
        solution, drop = _within_drop(problem, problem.max_drop, progress)
    finally:
        progress.end()
    return Planning(problem.plan(solution.chosen), problem.choices, solution, problem.budgets, drop)


def _within_drop(problem: PlanningProblem, most: float, progress: Progress) -> tuple[Solution, Drop]:
    """The plan of fewest cycles, or of least loss under a budget of them, that is measured to lose no more than `most`."""

    def measured(chosen: Sequence[Candidate]) -> float:
        found = problem.accuracy(problem.plan(chosen))
        progress.advance(1)
        return found

    dense = measured([layer.dense for layer in problem.choices])
    least = solve(problem.candidates, problem.budgets)
    lowest = Drop(dense, measured(least.chosen))
    if lowest.amount > most:
        raise InputError(
            f"no plan within the budgets was found to lose at most {100 * most:g} points: the one of least predicted loss loses "
            f"{100 * lowest.amount:.2f} before fine-tuning; allow more of either"
        )
    best = least, lowest
    if CYCLES in problem.budgets:
        return best
    cheapest = _cheapest(problem, problem.budgets)
    low, high = max(least.total(LOSS), 1e-4), cheapest.total(LOSS)
    trial = cheapest
    for _ in range(MEASUREMENTS - 2):
        drop = Drop(dense, measured(trial.chosen))
        if drop.amount <= most:
            if trial.total(CYCLES) <= best[0].total(CYCLES):
                best = trial, drop
            if trial is cheapest:
                break
            low = trial.total(LOSS)
        else:
            high = trial.total(LOSS)
        if high <= low * 1.02:
            break
        trial = _cheapest(problem, {**problem.budgets, LOSS: (low * high) ** 0.5})
    return best


def _cheapest(problem: PlanningProblem, limits: Mapping[str, float]) -> Solution:
    """The plan of fewest cycles within the limits; of several, that of least predicted loss."""
    fewest = solve(problem.candidates, limits, CYCLES)
    best = solve(problem.candidates, {**limits, CYCLES: fewest.value})
    return replace(fewest, chosen=best.chosen)


def _dense_model(settings: PlanSettings, data: ImageData, device: torch.device) -> nn.Module:
    """The network with its trained weights."""
    model = load_model(settings.model, len(data.classes), data.input_size[0], settings.seed)
    check_classes(model, settings.model, data.input_size, len(data.classes))
    source = settings.checkpoint
    if source is None and not brings_weights(settings.model):
        found = shipped_baseline(settings.model, data.classes, data.input_size)
        if found is None:
            raise InputError(
                f"a plan needs the trained weights of {settings.model} for {data.name}, and none are shipped; train it "
                "(rankfold train), then give --checkpoint DIR/model.safetensors"
            )
        source = found.weights
    if source is not None:
        apply_weights(model, read_weights(source), str(source))
    return model.to(device)


def _slots(network: Network, model: nn.Module, array: ArraySpec, settings: PlanSettings) -> tuple[LayerSlot, ...]:
    """The layers, without those that calibration cannot reach."""
    slots = layer_slots(network, settings.bits, settings.pointwise)
    functions = called_as_functions(model, dense_network(network, array, slots))

    def why(slot: LayerSlot) -> str:
        if slot.why_dense:
            return slot.why_dense
        if slot.entry.name in functions:
            return "called as a function"
        return f"more than {LARGEST_MOMENTS:,} inputs" if slot.shape.n > LARGEST_MOMENTS else ""

    return tuple(replace(slot, why_dense=why(slot)) for slot in slots)


def _batches(settings: PlanSettings, data: ImageData, device: torch.device) -> Callable[[], Iterator[Tensor]]:
    """The calibration images, from the beginning at each call."""
    return lambda: calibration_batches(data, device, settings.seed, _images(settings, data))


def _images(settings: PlanSettings, data: ImageData) -> int:
    """How many there are."""
    _, height, width = data.input_size
    return settings.images or (MOMENT_IMAGES if height * width <= SMALL_IMAGE else LARGE_IMAGES)


def _explained(layer: LayerChoices, chosen: Candidate) -> LayerPlan:
    """The entry of a choice, with the reason in words."""
    entry, dense = chosen.entry, layer.dense
    if layer.why_dense:
        return replace(entry, reason=layer.why_dense)
    if entry.kind == DENSE and all(one.cycles >= chosen.cycles for one in layer.candidates):
        return replace(entry, reason="dense: nothing that it may become has fewer cycles")
    if entry.kind == DENSE:
        return replace(entry, reason="dense: what it could save costs more loss here than elsewhere")
    saved = []
    for quantity in (CYCLES, ARRAYS, ENERGY):
        before, after = getattr(dense, quantity), getattr(chosen, quantity)
        if before is not None and after is not None and before != after:
            saved.append(f"{in_units(quantity, abs(before - after))} {'fewer' if after < before else 'more'}")
    what = structure_in_words(entry)
    return replace(
        entry, reason=f"{what}: {', '.join(saved) or 'costs as much as dense'}; predicted loss +{chosen.loss:.2g} nats"
    )
