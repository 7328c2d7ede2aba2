"""Plans for a described chip: least loss within what it may take there, or what it takes for a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rankfold.chip.best import FIGURES, OBJECTIVES, run_on_chip
from rankfold.chip.energy import chip_table
from rankfold.chip.run import ChipRun
from rankfold.errors import InputError
from rankfold.machine import ChipSpec
from rankfold.plan import Plan
from rankfold.plan.uniform import Bits
from rankfold.planning.best import Planning
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LOSS,
    WEIGHTS,
    Budget,
    Candidate,
    LayerChoices,
    Solution,
    total,
)
from rankfold.planning.exact.budget import limits_of
from rankfold.planning.exact.quantities import spoken
from rankfold.planning.mappings_alone import mapping_choices
from rankfold.planning.on_chip.costs import ChipCosts
from rankfold.planning.on_chip.search import Aim, ChipSearch
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.request import check_budgets
from rankfold.progress import Progress, Silent
from rankfold.workload import Network

# What tells candidates apart on a chip, beside their losses.
COUNTED = (ARRAYS, INTERVAL, ENERGY)
# What layers add up to, that may have a budget beside the chip's own figures: all else the chip is or says.
SUMS = (CYCLES, WEIGHTS)


@dataclass(frozen=True)
class ChipPlanning:
    """A plan for a chip, and how it runs there.

    Attributes:
        planning: the plan with its copies, and what it was chosen from; its solution has the proven bound.
        run: as `rankfold chip` finds it.
        dense: the network kept dense, as `run_on_chip` finds it with mappings chosen.
        limits: the most of the chip's own figures, by `chip.best.FIGURES`: us, us and pJ.
    """

    planning: Planning
    run: ChipRun
    dense: ChipRun
    limits: Mapping[str, float]


def check_for_chip(budgets: Sequence[Budget], goal: str | None) -> None:
    """Refuse what cannot be asked for on a chip.

    Raises:
        InputError: it is refused.
    """
    check_budgets(budgets)
    for budget in budgets:
        if budget.quantity not in (*FIGURES, *SUMS):
            raise InputError(
                f"{spoken(budget.quantity)} is no budget on a chip, which has its arrays; give any of "
                f"{', '.join((*FIGURES, *SUMS))}"
            )
    if goal is not None and goal not in (*OBJECTIVES, *SUMS, LOSS):
        raise InputError(
            f"{spoken(goal)} is no objective on a chip, which has its arrays; give any of "
            f"{', '.join((*OBJECTIVES, *SUMS, LOSS))}"
        )


def solve_on_chip(
    problem: PlanningProblem,
    chip: ChipSpec,
    *budgets: Budget,
    objective: str | None = None,
    progress: Progress | None = None,
) -> ChipPlanning:
    """The plan of least loss, or of least objective, within budgets that hold on a chip.

    Args:
        problem: the network with what its layers may become, for `chip.hardware`, with the table
            `chip.energy.chip_table` and `COUNTED` counted. Its own budgets, of cycles, weights and predicted
            loss, are kept, too.
        chip: the chip.
        budgets: the most of `chip.best.FIGURES`, cycles and weights; shares are of the dense network, of the
            former on this chip.
        objective: what shall be small, one of `chip.best.OBJECTIVES`, `SUMS` or `loss`; None: the objective
            of the problem.
        progress: hears of plans that are held against the model.

    Raises:
        InputError: the budgets cannot be kept, or no plan was found that does.
    """
    goal = objective or problem.objective
    check_for_chip(budgets, goal)
    if goal is None:
        # Without a limit of anything but the loss the chip's own pace is what is left to make small.
        goal = INTERVAL if LOSS in problem.budgets and not budgets else LOSS
    return _solved(
        problem.network,
        chip,
        problem.choices,
        plan_of=problem.plan,
        budgets=budgets,
        others=dict(problem.budgets),
        goal=goal,
        progress=progress,
    )


def mapping_plan_on_chip(
    network: Network,
    chip: ChipSpec,
    *budgets: Budget,
    objective: str = INTERVAL,
    bits: Bits = 4,
    progress: Progress | None = None,
) -> ChipPlanning:
    """The mappings and copies of a network's layers, which stay as they are, without data.

    Args:
        network: the network; of its weights nothing is asked.
        chip: the chip.
        budgets: the most of `chip.best.FIGURES`, cycles and weights; shares are of the network as
            `run_on_chip` finds it.
        objective: what shall be small: one of these, or `energy-delay`, energy times latency.
        bits: of weights and inputs, or (of weights, of inputs).
        progress: hears of plans that are held against the model.

    Raises:
        InputError: the budgets cannot be kept, or no plan was found that does.
    """
    check_for_chip(budgets, objective)
    choices = mapping_choices(network, chip.hardware, bits, chip_table(chip), (CYCLES, *COUNTED), progress)

    def plan_of(chosen: Sequence[Candidate]) -> Plan:
        return Plan.of(network, chip.hardware, [candidate.entry for candidate in chosen])

    return _solved(
        network,
        chip,
        choices,
        plan_of=plan_of,
        budgets=budgets,
        others={},
        goal=objective,
        progress=progress,
    )


def _solved(
    network: Network,
    chip: ChipSpec,
    choices: tuple[LayerChoices, ...],
    *,
    plan_of: Callable[[Sequence[Candidate]], Plan],
    budgets: Sequence[Budget],
    others: Mapping[str, float],
    goal: str,
    progress: Progress | None,
) -> ChipPlanning:
    layers = [layer.dense for layer in choices]
    dense_plan = Plan.of(network, chip.hardware, [layer.entry for layer in layers])
    dense = run_on_chip(network, dense_plan, chip, choose_mappings=True, progress=progress)
    own = [budget for budget in budgets if budget.quantity in FIGURES]
    limits = {budget.quantity: budget.limit(FIGURES[budget.quantity](dense)) for budget in own}
    sums = limits_of([budget for budget in budgets if budget not in own], choices)
    others = {name: min(part[name] for part in (others, sums) if name in part) for name in {**others, **sums}}
    costs = ChipCosts(network, chip, choices, dense_plan, dense.graph)
    aim = Aim(limits, others, goal)
    found = ChipSearch(network, costs, plan_of, aim, progress or Silent()).find(layers)
    value = found.bound
    if goal in OBJECTIVES:
        value = OBJECTIVES[goal](found.run)
    elif found.chosen:
        value = total(found.chosen, goal)
    solution = Solution(found.chosen, goal, value, min(found.bound, value))
    return ChipPlanning(Planning(found.plan, choices, solution, others), found.run, dense, limits)
