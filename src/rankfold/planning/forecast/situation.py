"""`Situation`: what accuracies after training are learnt for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from rankfold.plan import LayerPlan
from rankfold.planning.forecast.outcome import Outcome, bits_of
from rankfold.runs.baseline import weights_digest
from rankfold.training.source import TrainingData


@dataclass(frozen=True)
class Situation:
    """What accuracies after training are learnt for: they say nothing of any other.

    Attributes:
        network: its name.
        data: digest of the data set.
        weights: digest of the dense network's weights.
        bits: of its layers (see `outcome.bits_of`).
    """

    network: str
    data: str
    weights: str
    bits: str

    @classmethod
    def of(cls, model: nn.Module, data: TrainingData, network: str, layers: Sequence[LayerPlan]) -> Situation:
        """That of a network.

        Args:
            model: the dense network.
            data: what it is trained on.
            network: its name.
            layers: entries of a plan for it, of which the bits count.
        """
        return cls(network, data.digest, weights_digest(model), bits_of(layers))

    def is_of(self, outcome: Outcome) -> bool:
        """Whether an outcome tells of it."""
        return not self.differs(outcome)

    def differs(self, outcome: Outcome) -> str:
        """In what an outcome is of another situation; empty: in nothing."""
        if outcome.network != self.network:
            return f"another network ({outcome.network})"
        if outcome.data != self.data:
            return "other data"
        if outcome.weights != self.weights:
            return "other dense weights"
        if outcome.bits != self.bits:
            return f"other bits ({outcome.bits})"
        return ""
