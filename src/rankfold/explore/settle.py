"""What every choice of plans makes of every network, for all arrays of a space, before any point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError, NarrowArrayError
from rankfold.explore.evaluate import PlannedFor, Plans
from rankfold.explore.fields import array_with
from rankfold.explore.space import Space
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.progress import Progress
from rankfold.workload import Network

if TYPE_CHECKING:
    from rankfold.explore.trained import TrainedNetworks

Key = tuple[int, int, ArraySpec]
EARLY = 1  # axes up to this turn decide about arrays, see `fields.Field`


def arrays_of(space: Space) -> tuple[ArraySpec, ...]:
    """The different arrays of a space; those that contradict themselves are left out."""
    axes = [axis for axis in space.axes if axis.early <= EARLY]
    found: dict[ArraySpec, None] = {}
    for chip in space.chips:
        for choices in product(*(axis.choices for axis in axes)):
            changes: dict[str, Any] = {}
            for choice in choices:
                changes |= dict(choice.changes)
            try:
                found[array_with(chip, changes)] = None
            except InputError:
                continue  # each point that has it says so
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Makes the plans of a space.

    Attributes:
        networks: the networks.
        space: the space.
        trained: the networks with weights and data; None: nothing is predicted, or planned under budgets.
        folder: where plans under budgets are kept, and found again; None: nowhere.
        losses: whether every plan needs a predicted loss.
        progress: hears of planning.
    """

    networks: Sequence[Network]
    space: Space
    trained: TrainedNetworks | None
    folder: Path | None
    losses: bool
    progress: Progress

    def plans(self) -> Plans:
        """The plans of all networks, choices and arrays, with their predicted losses.

        Raises:
            InputError: a file is no plan of its network; or weights and data are needed, and not given.
        """
        known: dict[Key, PlannedFor] = {}
        for index in range(len(self.networks)):
            own: dict[Key, Plan] = {}
            for array in arrays_of(self.space):
                for number, plan in self._on(index, array):
                    if isinstance(plan, Plan):
                        own[index, number, array] = plan
                    else:
                        known[index, number, array] = PlannedFor(None, why=plan)
            known |= self._with_losses(index, own)
        if all(planned.plan is None for planned in known.values()):
            why = next((planned.why for planned in known.values()), "no arrays fit")
            raise InputError(f"there is no plan for any point: {why}")
        return known

    def _on(self, index: int, array: ArraySpec) -> Iterator[tuple[int, Plan | str]]:
        """The number and plan of each choice for one network on one sort of arrays, or why there is none."""
        network = self.networks[index]
        under_budgets = []
        for number, choice in enumerate(self.space.plans):
            if not choice.is_for(network):
                yield number, f"plan {choice.name} is for {choice.network} alone"
            elif choice.budgets:
                under_budgets.append(number)
            else:
                try:
                    yield number, choice.plan(network, array)
                except NarrowArrayError as error:
                    yield number, f"hardware/array (={array}): {error}"
                except InputError as error:
                    # A setting may not fit some arrays; a file that is no plan of the network is a slip.
                    if choice.file is not None:
                        raise InputError(f"plan {choice.name}: {error}") from None
                    yield number, str(error)
        for number, plan in self._under_budgets(index, under_budgets, array):
            yield number, plan.on(array) if isinstance(plan, Plan) else plan

    def _under_budgets(
        self, index: int, numbers: Sequence[int], array: ArraySpec
    ) -> Iterator[tuple[int, Plan | str]]:
        """Those of choices with budgets, which are counted on arrays of this size as `rankfold plan` does."""
        size = ArraySpec(array.rows, array.columns)
        missing = []
        for number in numbers:
            file = self._file(index, number, size)
            if file is not None and file.exists():
                yield number, Plan.load(file)
            else:
                missing.append(number)
        if not missing:
            return
        choices = [self.space.plans[number] for number in missing]
        if self.trained is None:
            raise InputError(
                f"plan {choices[0].name} is made under a budget, which needs trained weights and data; give "
                "data"
            )
        found = self.trained.planned(index, choices, size, self.progress)
        for number, plan in zip(missing, found, strict=True):
            file = self._file(index, number, size)
            if file is not None and isinstance(plan, Plan):
                plan.save(file)
            yield number, plan

    def _file(self, index: int, number: int, size: ArraySpec) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{index}-{number}-{size}.json"

    def _with_losses(self, index: int, plans: Mapping[Key, Plan]) -> dict[Key, PlannedFor]:
        """The plans of one network with their predicted losses."""
        different = {_decisions(plan): plan for plan in plans.values()}
        unknown = {key: plan for key, plan in different.items() if _known_loss(plan) is None}
        predicted: dict[Any, float] = {}
        if self.trained is not None:
            self.trained.prepare(index, list(different.values()))
            found = [self.trained.loss(index, plan) for plan in unknown.values()]
            predicted = dict(zip(unknown, found, strict=True))
        known = {}
        for key, plan in plans.items():
            loss = _known_loss(plan)
            if loss is None:
                loss = predicted.get(_decisions(plan))
            if loss is None and self.losses:
                raise InputError(
                    f"plan {self.space.plans[key[1]].name} of {self.networks[index].name} has no predicted "
                    "loss; give data to predict it from, or take loss out of the front"
                )
            known[key] = PlannedFor(plan, loss)
        return known


def _known_loss(plan: Plan) -> float | None:
    """What is known without data: a dense network loses nothing, and plans of the planner say it."""
    if not plan.changed:
        return 0.0
    return plan.predicted_loss


def _decisions(plan: Plan) -> Any:
    """What a predicted loss depends on."""
    return tuple((layer.name, layer.kind) for layer in plan.layers)
