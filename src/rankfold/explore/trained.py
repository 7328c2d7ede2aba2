"""`TrainedNetworks`: what weights and data tell of plans: losses, plans under budgets, accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from rankfold.cost.energy import completed
from rankfold.errors import InputError
from rankfold.explore.plans import PlanChoice
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.best import solve_problem
from rankfold.planning.data import data_digest
from rankfold.planning.exact.budget import Budget, limits_of
from rankfold.planning.options import PlanningOptions
from rankfold.planning.plan_loss import PlanLosses
from rankfold.planning.problem import PlanningProblem
from rankfold.planning.problem_on_data import planning_problem
from rankfold.progress import Progress
from rankfold.runs.baseline import weights_digest
from rankfold.training.data import ImageData
from rankfold.training.loaders import LoaderData
from rankfold.workload import Network


class TrainedNetworks:
    """Networks with their weights, and data to look at them with.

    Args:
        models: the trained dense networks; they stay as they are.
        networks: their traces, in the same order.
        data: as for `best_plan`; targets are needed only where accuracy is measured.
        images: samples to calibrate on; None: as `best_plan` takes.
        seed: of what is drawn.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        networks: Sequence[Network],
        data: ImageData | LoaderData | Iterable[Any],
        *,
        images: int | None = None,
        seed: int = 0,
    ) -> None:
        if len(models) != len(networks):
            raise InputError(f"there are {len(networks)} networks, and {len(models)} models of them")
        self._models, self._networks, self._data = tuple(models), tuple(networks), data
        self._images, self._seed = images, seed
        self._plans: dict[int, tuple[Plan, ...]] = {}
        self._losses: dict[int, PlanLosses] = {}
        self._problems: dict[tuple[Any, ...], PlanningProblem] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What it says of plans depends on this."""
        return {
            "weights": [weights_digest(model) for model in self._models],
            "data": data_digest(self._data),
            "images": self._images,
            "seed": self._seed,
        }

    def prepare(self, network: int, plans: Sequence[Plan]) -> None:
        """Say which plans of a network there are: one calibration gathers what all of their layers need."""
        # Plans of an earlier exploration need other windows than those of this one.
        if self._plans.get(network) != tuple(plans):
            self._losses.pop(network, None)
        self._plans[network] = tuple(plans)

    def loss(self, network: int, plan: Plan) -> float:
        """The predicted loss of one of the plans that `prepare` was told of, nats per image.

        Raises:
            InputError: see `PlanLosses`.
        """
        return self._known(network).of(plan)

    def planned(
        self, network: int, choices: Sequence[PlanChoice], array: ArraySpec, progress: Progress
    ) -> list[Plan | str]:
        """The plans of a network under the budgets of some choices on one size of arrays; or why there is
        none.
        """
        found: list[Plan | str] = []
        for choice in choices:
            alike = [other for other in choices if (other.bits, other.kinds) == (choice.bits, choice.kinds)]
            problem = self._problem(network, alike, array, progress)
            limited = replace(problem, budgets=limits_of(choice.budgets, problem.choices))
            try:
                found.append(solve_problem(limited).plan)
            except InputError as error:
                found.append(f"no plan within {choice.name} on {array}: {error}")
        return found

    def accuracy(self, network: int, plan: Plan, hardware: Hardware, images: int) -> float:
        """The accuracy that a plan has on arrays before any training, measured on samples that nothing was
        calibrated on.

        The arrays are those that are paid for: where the hardware leaves cells, DACs or ADCs open, those of
        its component table.

        Args:
            network: index of the network.
            plan: one of those that `prepare` was told of, under any mappings.
            hardware: the arrays.
            images: how many samples.

        Raises:
            InputError: there are no such samples, or the arrays cannot be simulated.
        """
        whole = completed(hardware)
        settings = MeasureSettings(images, noise=whole.non_idealities, seed=self._seed)
        return self._known(network).measuring(settings)(plan.on(whole))

    def _known(self, network: int) -> PlanLosses:
        """What one calibration found for the layers of all plans."""
        if network not in self._losses:
            self._losses[network] = PlanLosses.on(
                self._models[network],
                self._data,
                self._plans[network],
                images=self._images,
                seed=self._seed,
            )
        return self._losses[network]

    def _problem(
        self, network: int, choices: Sequence[PlanChoice], array: ArraySpec, progress: Progress
    ) -> PlanningProblem:
        """What the layers of a network may become; for all budgets of choices at once."""
        first = choices[0]
        quantities: Mapping[str, Budget] = {
            budget.quantity: budget for choice in choices for budget in choice.budgets
        }
        key = network, array, first.bits, first.kinds, frozenset(quantities)
        if key not in self._problems:
            # The last one is enough: choices come array by array, and each has all candidates in memory.
            self._problems.clear()
            options = PlanningOptions(
                bits=first.bits, kinds=first.kinds, images=self._images, seed=self._seed
            )
            self._problems[key] = planning_problem(
                self._models[network],
                self._data,
                array,
                *quantities.values(),
                options=options,
                network=self._networks[network],
                progress=progress,
            )
        return self._problems[key]
