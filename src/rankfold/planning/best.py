"""`best_plan`: the best plan for a network under budgets, from data, before anything is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from torch import nn

from rankfold.arguments import takes
from rankfold.calibration.outputs import SCORES, OutputModel
from rankfold.cost.energy import ComponentTable
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.notebooks import Shown, in_brackets
from rankfold.plan import Plan
from rankfold.plan.prediction import NATS
from rankfold.plan.uniform import Bits
from rankfold.planning.drop import MEASUREMENTS, Drop, within_drop
from rankfold.planning.exact import (
    CYCLES,
    LOSS,
    Budget,
    Candidate,
    LayerChoices,
    Solution,
    cheapest,
    in_units,
    solve,
)
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.options import PlanningOptions
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.problem_on_data import PLANNING_ARGUMENTS, planning_problem
from rankfold.progress import Progress, Silent
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData
from rankfold.training.metric import Function, Metric, Updated
from rankfold.workload import Network


@dataclass(frozen=True)
class Planning(Shown):
    """A plan, and what it was chosen from.

    Attributes:
        plan: it.
        choices: what each layer may become.
        solution: the choice, its predicted loss, and the proof that none is better.
        budgets: the most of each quantity in its base unit, such as pJ, and of predicted loss.
        drop: accuracy as measured, if it was.
        unit: of the predicted losses: `nats`, or `relative squared error` of outputs that are no scores.
        outputs: what the network's outputs were taken for, such as `scores`.
    """

    plan: Plan
    choices: tuple[LayerChoices, ...]
    solution: Solution
    budgets: Mapping[str, float]
    drop: Drop | None = None
    _: KW_ONLY
    unit: str = NATS
    outputs: str = SCORES

    def __repr__(self) -> str:
        lost = f"predicted loss {self.solution.total(LOSS):.4g} {self.unit}"
        cost = in_units(CYCLES, self.solution.total(CYCLES))
        return in_brackets("Planning", f"of {self.plan.model} on {self.plan.array} arrays: {cost}, {lost}")

    @property
    def dense(self) -> tuple[Candidate, ...]:
        """Every layer kept, with its best mapping."""
        return tuple(layer.dense for layer in self.choices)


@takes(**PLANNING_ARGUMENTS)
def best_plan(
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
    pointwise: bool = False,
    linear: bool = False,
    kinds: Iterable[str] | None = None,
    images: int | None = None,
    seed: int = 0,
    table: ComponentTable | None = None,
    network: Network | None = None,
    progress: Progress | None = None,
) -> Planning:
    """Choose what every layer becomes so that the network is best under the budgets.

    The predicted loss is made small within the budgets; or the `objective` within what may be lost, cycles
    where nothing else is said: the least energy for a predicted loss of 0.05 nats is `objective="energy",
    max_loss=0.05`. With a budget of cycles and `max_drop`, the loss is made small and the drop is checked.

    Args:
        model: the dense network with its trained weights; it stays as it is.
        data: images, of which the training split is used; or an iterable of batches: tensors, pairs
            (inputs, target), or dictionaries of inputs. A few hundred samples do, without targets unless
            there is `max_drop`.
        array: R x C, or the hardware, whose component table energy is counted with.
        budgets: the most of any of `planning.exact.QUANTITIES` together, such as
            `*Budget.parse_all("cycles=40%,energy=600nJ")`.
        bits: of weights and inputs, or (of weights, of inputs); None for float.
        layer_bits: bits that each convolution may have instead, with what rounding is predicted to lose
            counted in all losses; None: all have `bits`.
        count_rounding: whether losses count what rounding convolutions to `bits` is predicted to lose, as
            with `layer_bits`; then no layer is trimmed, and the plan has no prediction. False: they are those
            of changed weights alone.
        objective: what shall be small: `loss`, or one of `QUANTITIES` within `max_loss` or `max_drop`; None:
            by the rule above.
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
        pointwise: whether 1x1 convolutions may become low-rank.
        linear: whether fully connected layers may, and count.
        kinds: what layers may become beside dense, some of `low-rank`, `support`, `window`,
            `window-low-rank`, `window-margins`, `grouped`, `skipped`, `trimmed` and kinds of your own; None:
            all. Pairs on supports count as low-rank.
        images: samples to calibrate on; None: 512, or 32 where images are larger than 64x64.
        seed: of the images that are drawn.
        table: the components that energy is counted with; None: those of the hardware, else the default
            ones.
        network: the model's trace; None: it is traced.
        progress: hears how far the work is.

    Raises:
        InputError: what was given is wrong, or the budgets cannot be kept; the message says what can be.
    """
    if not budgets and max_drop is None and max_loss is None:
        raise InputError("a plan needs a budget: cycles, arrays, energy, ..., or what may be lost")
    options = PlanningOptions(
        bits=bits,
        layer_bits=layer_bits,
        count_rounding=count_rounding,
        objective=objective,
        max_loss=max_loss,
        max_drop=max_drop,
        metric=metric,
        outputs=outputs,
        pointwise=pointwise,
        linear=linear,
        kinds=kinds,
        images=images,
        seed=seed,
        table=table,
    )
    problem = planning_problem(
        model, data, array, *budgets, options=options, network=network, progress=progress
    )
    return solve_problem(problem, progress)


def solve_problem(problem: PlanningProblem, progress: Progress | None = None) -> Planning:
    """The best plan of a problem; see `best_plan`.

    Args:
        problem: the network, with its budgets.
        progress: hears of each measurement of accuracy.

    Raises:
        InputError: the budgets cannot be kept.
    """
    if problem.max_drop is None:
        return _planning(problem, _chosen(problem))
    progress = progress or Silent()
    # At most so many; the bisection may end sooner.
    progress.begin("measuring accuracy", MEASUREMENTS, "plans")
    try:
        solution, drop = within_drop(problem, problem.max_drop, progress)
    finally:
        progress.end()
    return _planning(problem, solution, drop)


def _chosen(problem: PlanningProblem) -> Solution:
    """The best choice; of several that cost as little, that of least predicted loss."""
    if problem.goal == LOSS:
        return solve(problem.candidates, problem.budgets)
    return cheapest(problem.candidates, problem.budgets, problem.goal)


def _planning(problem: PlanningProblem, solution: Solution, drop: Drop | None = None) -> Planning:
    plan = problem.plan(solution.chosen)
    return Planning(
        plan,
        problem.choices,
        solution,
        problem.budgets,
        drop,
        unit=problem.unit,
        outputs=problem.outputs,
    )
