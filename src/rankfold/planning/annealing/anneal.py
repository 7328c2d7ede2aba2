"""`anneal`: a whole run in steps, each planned around the network as the step before has trained it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from rankfold.arguments import PATH, SWITCH, TEXT, Wanted, takes
from rankfold.cost.energy import hardware_table
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.models.device import MODEL
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import Plan, coverage
from rankfold.plan.uniform import Bits
from rankfold.planning.annealing.choice import step_solution
from rankfold.planning.annealing.mark import save_mark, take_up_
from rankfold.planning.annealing.schedule import step_epochs, step_limits, step_recipe
from rankfold.planning.data import PlanningData, planning_data
from rankfold.planning.exact import LOSS, Budget, in_units, total
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.planning.kinds import chosen_labels
from rankfold.planning.problem import PlanningProblem, planning_problem
from rankfold.planning.request import check_request
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.runs import steps as run_steps
from rankfold.runs.baseline import DenseWeights
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.recipes import DISTILLATION, FINE_TUNING
from rankfold.runs.result import PlannedStep, Result
from rankfold.runs.run import claim, finished, identity, recorded
from rankfold.runs.state import RunNotes, RunState, prepare, traced
from rankfold.surgery.again import changed_layers, compress_again_
from rankfold.surgery.compress import LayerReport, kept_parameters
from rankfold.surgery.supports import with_supports
from rankfold.training.accuracy import accuracy_on_tests
from rankfold.training.data import ImageData
from rankfold.training.distillation import Distillation
from rankfold.training.loaders import LoaderData
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData


@dataclass(frozen=True, kw_only=True)
class StepPlanning:
    """What the plans of all steps are made for.

    Attributes:
        array: R x C, or the hardware.
        budgets: of the last one.
        epochs: of each step.
        bits: of weights and inputs, see `best_plan`.
        kinds: what layers may become beside dense; None: all.
        pointwise: whether 1x1 convolutions may become low-rank.
        images: samples to calibrate on; None: as many as `best_plan` takes.
    """

    array: ArraySpec | Hardware
    budgets: tuple[Budget, ...]
    epochs: tuple[int, ...]
    bits: Bits = 4
    kinds: tuple[str, ...] | None = None
    pointwise: bool = False
    images: int | None = None

    def identity(self) -> dict[str, Any]:
        """What the result depends on, as JSON; the array and bits are in the plan of the dense network."""
        return {
            "budgets": [asdict(budget) for budget in self.budgets],
            "epochs": list(self.epochs),
            "kinds": None if self.kinds is None else sorted(self.kinds),
            "pointwise": self.pointwise,
            "images": self.images,
        }


@takes(
    model=MODEL,
    data=Wanted("a data set: load_images(...), or LoaderData(train, test) of your own batches", TrainingData),
    array=HARDWARE,
    budgets=Wanted("a Budget, such as Budget.parse('cycles', '60%')", Budget),
    recipe=Wanted("a Recipe, such as Recipe(epochs=10)", Recipe),
    out=PATH,
    pointwise=SWITCH,
    name=TEXT.or_none,
    baseline=Wanted("DenseWeights", DenseWeights, optional=True),
    distillation=Wanted("a Distillation", Distillation, optional=True),
    energy=Wanted("EnergyOptions(...)", EnergyOptions, optional=True),
    hardware=Wanted("Hardware(...)", Hardware, optional=True),
    notes=Wanted("RunNotes(...)", RunNotes, optional=True),
    device=TEXT,
    resume=SWITCH,
    progress=PROGRESS,
    captured=SWITCH,
)
def anneal(
    model: nn.Module,
    data: TrainingData,
    array: ArraySpec | Hardware,
    *budgets: Budget,
    out: str | Path,
    steps: int | Sequence[int] = 4,
    recipe: Recipe = FINE_TUNING,
    bits: Bits = 4,
    kinds: Iterable[str] | None = None,
    pointwise: bool = False,
    images: int | None = None,
    name: str | None = None,
    baseline: DenseWeights | None = None,
    distillation: Distillation | None = DISTILLATION,
    energy: EnergyOptions | None = None,
    hardware: Hardware | None = None,
    notes: RunNotes | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
    captured: bool = False,
) -> Result:
    """Compress a network step by step under budgets that shrink, and write everything to the folder `out`.

    Each step plans around the network as it is, changes it as the plan says, and trains it a little. What it
    is predicted to lose comes from the curvature of the trained network, and weights are made from those that
    training has found. A layer that a plan leaves what it is keeps its weights to the last bit. With one step
    this is `best_plan` and then `run`. A run that was stopped goes on with `resume`, and ends with the same
    numbers.

    Args:
        model: the dense network; it stays as it is.
        data: images for training and test (`load_images`), or batches of one's own (`LoaderData`).
        array: R x C, or the hardware that plans are for.
        budgets: the most of any of `planning.exact.QUANTITIES` that the last plan may need; those of the
            steps before fall towards them (`schedule.step_limits`).
        out: the folder, new or of this very run.
        steps: how many, of one epoch each and all that is left in the last; or the epochs of each.
        recipe: of the training of all steps together; each has a cycle of the learning rate of its own.
        bits: of weights and inputs, see `best_plan`.
        kinds: what layers may become beside dense, see `best_plan`.
        pointwise: whether 1x1 convolutions may become low-rank.
        images: samples to calibrate plans on; None: 512, or 32 where images are larger than 64x64.
        name: of the network, see `run`.
        baseline: where the weights of the dense network come from; None: the network has them.
        distillation: how the dense network teaches in every step; None: it does not.
        energy: the components that energy is counted with; None: those of the hardware.
        hardware: what energy is counted for, on the plan's array; None: that of `array`.
        notes: what the result says beside what the run finds.
        device: `auto`, `cpu`, `cuda`, ...
        resume: go on with what is in `out`.
        progress: hears how far the run is.
        captured: train by static steps, on a GPU one CUDA graph each.

    Raises:
        InputError: what was given is wrong, or the budgets cannot be kept.
    """
    if not budgets:
        raise InputError("annealing needs budgets that the last plan keeps: cycles, arrays, energy, ...")
    check_request(budgets, images=images, seed=recipe.seed)
    if not isinstance(data, (ImageData, LoaderData)):
        raise InputError("plans are made on decoded images; decode all before (stream=False)")
    chosen = chosen_labels(kinds)
    planning = StepPlanning(
        array=array,
        budgets=budgets,
        epochs=step_epochs(steps, recipe.epochs),
        bits=bits,
        kinds=None if chosen is None else tuple(sorted(chosen)),
        pointwise=pointwise,
        images=images,
    )
    state = prepare(
        model,
        data,
        _dense_plan(model, data, planning, name),
        recipe,
        name=name,
        baseline=baseline,
        distillation=distillation,
        energy=energy,
        hardware=hardware,
        notes=notes,
        device=device,
        captured=captured,
    )
    # Only now: what it says of the dense plan is of no interest.
    state.progress = progress or Silent()
    number = claim(state, Path(out), {**identity(state), "annealing": planning.identity()}, resume)
    known = finished(state)
    if known is not None:
        return known
    run_steps.start(state)
    _Annealing(state, planning, planning_data(data, state.device)).run()
    run_steps.evaluate(state)
    return recorded(state, number)


def _dense_plan(model: nn.Module, data: TrainingData, planning: StepPlanning, name: str | None) -> Plan:
    """The plan that changes no layer, for what can be refused before any work."""
    network = traced(model, data, name or type(model).__name__)
    array = planning.array.array if isinstance(planning.array, Hardware) else planning.array
    slots = layer_slots(network, array, planning.bits, pointwise=planning.pointwise)
    return dense_network(network, array, slots).on(planning.array)


@dataclass(frozen=True)
class _Annealing:
    """The steps of a run that has its dense network.

    Attributes:
        state: the run.
        planning: what plans are made for.
        samples: that they are made on.
    """

    state: RunState
    planning: StepPlanning
    samples: PlanningData

    def run(self) -> None:
        """All steps, from the one that has begun last."""
        begun = take_up_(self.state)
        if begun:
            self._train(begun)
        for number in range(begun + 1, len(self.planning.epochs) + 1):
            self._begin(number)
            self._train(number)

    def _begin(self, number: int) -> None:
        """Plan a step, and make the network what the plan says."""
        state = self.state
        problem = self._problem(number)
        dense = {quantity: total(problem.dense, quantity) for quantity in problem.budgets}
        limits = step_limits(dense, problem.budgets, number, len(self.planning.epochs))
        solution = step_solution(problem, limits)
        present = state.plan
        plan = problem.plan(solution.chosen)
        self._tell(number, coverage(state.network, plan).summary())
        if number == 1:
            state.plan = plan
            run_steps.decompose(state)
            run_steps.quantise(state)
            before = state.accuracies[run_steps.DECOMPOSED]
        else:
            self._go_on(problem, plan)
            before = accuracy_on_tests(state.model, state.data, state.device)
        step = PlannedStep(
            budgets=limits,
            planned={quantity: solution.total(quantity) for quantity in limits},
            predicted_loss=solution.total(LOSS),
            changed=len(changed_layers(present, plan)),
            before=before,
            epochs=self.planning.epochs[number - 1],
        )
        state.planned_steps = (*state.planned_steps, step)
        self._tell(number, _in_words(step))
        save_mark(state, number)

    def _problem(self, number: int) -> PlanningProblem:
        """All that layers may become in a step."""
        state, planning = self.state, self.planning
        # Sensitivities are gathered where the network is.
        state.model.to(state.device)
        return planning_problem(
            state.model,
            self.samples,
            planning.array,
            *planning.budgets,
            bits=planning.bits,
            kinds=planning.kinds,
            pointwise=planning.pointwise,
            images=planning.images,
            seed=state.recipe.seed,
            table=None if state.hardware is None else hardware_table(state.hardware),
            network=state.network,
            present=None if number == 1 else state.plan,
            progress=state.progress,
        )

    def _go_on(self, problem: PlanningProblem, plan: Plan) -> None:
        """Make of the trained network what a plan says, and of the run's records what became of it."""
        state = self.state
        signs = {layer.name: layer.input_signed for layer in state.plan.layers}
        plan = plan.with_signs({name: signed for name, signed in signs.items() if signed is not None})
        # What a plan is predicted to lose is that of the dense network, and this one has been trained since.
        plan = replace(plan, prediction=None)
        moments = problem.accuracy.known(plan)
        reports = compress_again_(state.model, state.plan, plan, moments, state.calibration())
        state.plan = with_supports(plan, state.model)
        state.reports = _merged(state.reports, reports)
        # Step sizes of quantisers are parameters too.
        sizes = sum(part.step.numel() for part in state.model.modules() if isinstance(part, Quantiser))
        state.parameters = state.parameters[0], kept_parameters(state.model) - sizes

    def _train(self, number: int) -> None:
        """Train a step that has begun; go on from a checkpoint."""
        state = self.state
        epochs = self.planning.epochs[number - 1]
        step = replace(
            state,
            recipe=step_recipe(state.recipe, number, epochs),
            stage=f"step {number}/{len(self.planning.epochs)}, fine-tuning",
            history=(),
        )
        run_steps.fine_tune(step)
        state.plan = step.plan
        done = len(state.history)
        own = tuple(replace(record, epoch=done + record.epoch) for record in step.history)
        state.history = (*state.history, *own)
        *others, last = state.planned_steps
        after = last.before
        if own and own[-1].test_accuracy is not None:
            after = own[-1].test_accuracy
        state.planned_steps = (*others, replace(last, after=after))

    def _tell(self, number: int, words: str) -> None:
        self.state.progress.note(f"step {number} of {len(self.planning.epochs)}: {words}")


def _in_words(step: PlannedStep) -> str:
    costs = []
    for quantity, planned in step.planned.items():
        costs.append(f"{in_units(quantity, planned)} of at most {in_units(quantity, step.budgets[quantity])}")
    return (
        f"{', '.join(costs)}, {step.changed} layers change, predicted loss +{step.predicted_loss:.4f} nats, "
        f"{step.before:.2%} before training"
    )


def _merged(before: Sequence[LayerReport], after: Sequence[LayerReport]) -> tuple[LayerReport, ...]:
    """The reports of all layers, those that became something else as they are now."""
    anew: Mapping[str, LayerReport] = {report.name: report for report in after}
    merged = []
    for report in before:
        if report.name in anew:
            # What the layer had when it was dense stays on record.
            report = replace(anew[report.name], parameters_before=report.parameters_before)
        merged.append(report)
    return tuple(merged)
