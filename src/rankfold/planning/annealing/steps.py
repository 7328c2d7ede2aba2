"""The steps of a run that plans again after training: plan, change the network, train it, and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import Plan
from rankfold.plan.uniform import Bits
from rankfold.planning.annealing.choice import step_solution
from rankfold.planning.annealing.mark import save_mark, take_up_
from rankfold.planning.annealing.schedule import step_limits, step_recipe
from rankfold.planning.data import PlanningData
from rankfold.planning.exact import LOSS, Budget, in_units, total
from rankfold.planning.problem import PlanningProblem, planning_problem
from rankfold.runs import steps as run_steps
from rankfold.runs.result import PlannedStep
from rankfold.runs.state import RunState
from rankfold.surgery.again import changed_layers, compress_again_
from rankfold.surgery.compress import LayerReport, kept_parameters
from rankfold.surgery.supports import with_supports
from rankfold.training.accuracy import accuracy_on_tests


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


@dataclass(frozen=True)
class Annealing:
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
        self._tell(number, _changes(present, plan))
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
        problem = planning_problem(
            state.model,
            self.samples,
            planning.array,
            *planning.budgets,
            bits=planning.bits,
            kinds=planning.kinds,
            pointwise=planning.pointwise,
            images=planning.images,
            seed=state.recipe.seed,
            # What the result counts energy with, whether that is of the hardware or not.
            table=state.energy.for_array(state.plan.array),
            network=state.network,
            present=None if number == 1 else state.plan,
            progress=state.progress,
        )
        # The samples do not say which data set they are of.
        return replace(problem, data=state.data.digest)

    def _go_on(self, problem: PlanningProblem, plan: Plan) -> None:
        """Make of the trained network what a plan says, and of the run's records what became of it."""
        state = self.state
        signs = {layer.name: layer.input_signed for layer in state.plan.layers}
        plan = plan.with_signs({name: signed for name, signed in signs.items() if signed is not None})
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


def _changes(present: Plan, plan: Plan) -> str:
    """What becomes of the layers that change."""
    changes = []
    for layer in changed_layers(present, plan):
        changes.append(f"{layer.name} {present.layer(layer.name).kind.short()} -> {layer.kind.short()}")
    return ", ".join(changes) or "no layer changes"


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
            # What the layer had when it was dense stays on record. Errors of this step are of the trained
            # weight, beside which those of other layers, of the dense one, mean something else.
            report = replace(
                anew[report.name],
                error=None,
                plain_error=None,
                output_error=None,
                parameters_before=report.parameters_before,
            )
        merged.append(report)
    return tuple(merged)
