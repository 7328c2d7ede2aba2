"""`PlanningProblem`: a network with everything that its layers may become, gathered on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from torch import nn

from rankfold.calibration.outputs import SCORES
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.prediction import NATS
from rankfold.planning.accuracy import PlanAccuracy
from rankfold.planning.exact import (
    CYCLES,
    LOSS,
    Candidate,
    Front,
    LayerChoices,
    Surface,
    front,
    surface,
    total,
)
from rankfold.planning.exact.quantities import spoken
from rankfold.planning.explain import explained
from rankfold.planning.request import usual_objective
from rankfold.progress import Progress
from rankfold.runs.baseline import weights_digest
from rankfold.workload import Network


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
