"""`Forecaster`: the accuracy that training will leave of a plan, with an interval, where that is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from rankfold.errors import InputError
from rankfold.plan import LayerPlan, Plan
from rankfold.planning.forecast.curve import Curve, accuracy_at
from rankfold.planning.forecast.held_out import left_out, margins
from rankfold.planning.forecast.outcome import Outcome, bits_of, kinds_of, known_outcomes
from rankfold.runs.baseline import weights_digest
from rankfold.runs.recipes import FINE_TUNING
from rankfold.training.source import TrainingData

EPOCHS = FINE_TUNING.epochs  # those of `compress` where nothing is said
LEAST = 12  # plans that a curve is fitted to, at least
PRECISE = 1e-4  # nats, to which a loss is found


class NotLearntError(InputError):
    """What training leaves there is not learnt; the message says why."""


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
        own = (outcome.network, outcome.data, outcome.weights, outcome.bits)
        return own == (self.network, self.data, self.weights, self.bits)


@dataclass(frozen=True)
class Forecast:
    """The accuracy that training is expected to leave.

    Attributes:
        epochs: of fine-tuning.
        accuracy: expected on the test split, 0 to 1.
        low: in nine cases of ten it is at least this,
        high: and at most this.
        dense: expected of the dense network at the same bits, after the same training.
    """

    epochs: int
    accuracy: float
    low: float
    high: float
    dense: float


class Forecaster:
    """What was learnt of one situation.

    Args:
        situation: it.
        outcomes: of networks that were planned and trained; those of other situations are left aside.

    Raises:
        NotLearntError: too few tell of this situation; the message says what would help.
    """

    def __init__(self, situation: Situation, outcomes: Iterable[Outcome]) -> None:
        self.situation = situation
        self.outcomes = tuple(one for one in outcomes if situation.is_of(one))
        plans = {one.plan for one in self.outcomes}
        if len(plans) < LEAST:
            raise NotLearntError(
                f"what training leaves of {situation.network} with these weights, data and bits "
                f"({situation.bits}) is not learnt: {len(plans)} trained plans are known, and at least "
                f"{LEAST} are needed; name finished runs of planned networks to learn from them"
            )

    @classmethod
    def of_plan(
        cls, plan: Plan, model: nn.Module, data: TrainingData, runs: Iterable[str | Path] = ()
    ) -> Forecaster:
        """For plans of a network, from the outcomes that come with the package and from finished runs.

        Args:
            plan: one of them, of which name and bits count.
            model: the dense network.
            data: what it is trained on.
            runs: folders of finished runs whose plans came with a predicted loss.

        Raises:
            NotLearntError: too little is known.
            InputError: a folder holds no finished run.
        """
        return cls(Situation.of(model, data, plan.model, plan.layers), known_outcomes(runs))

    def of(self, plan: Plan, epochs: int, taught: bool = True) -> Forecast:
        """The accuracy of a plan after training.

        Raises:
            NotLearntError: the plan has no predicted loss, or it, the epochs or what layers become lie beyond
                what was learnt.
        """
        loss = plan.predicted_loss
        if loss is None:
            raise NotLearntError(
                "the plan has no predicted loss that accuracies were learnt for: the planner predicts it "
                "where all layers keep the network's bits, and it holds for the layers as they were planned"
            )
        unknown = set(kinds_of(plan.layers).split()) - self.kinds
        if unknown:
            raise NotLearntError(
                f"no network with {' or '.join(sorted(unknown))} layers was among those that accuracies "
                "after training are learnt from"
            )
        return self.after(loss, epochs, taught)

    def after(self, loss: float, epochs: int, taught: bool = True) -> Forecast:
        """The accuracy after training of a plan with this predicted loss.

        Args:
            loss: nats per image, before any training and without rounding.
            epochs: of fine-tuning.
            taught: whether the dense network teaches.

        Raises:
            NotLearntError: the loss or the epochs lie beyond what was learnt.
        """
        most = self._most_epochs(taught)
        if not 1 <= epochs <= most:
            raise NotLearntError(
                f"accuracies after training are learnt for 1 to {most} epochs, not for {epochs}"
            )
        if loss > self.largest_loss:
            raise NotLearntError(
                f"a predicted loss of {loss:.3g} nats is more than that of any network that was trained "
                f"({self.largest_loss:.3g}); what training leaves is not learnt there"
            )
        expected, reach = self.curve.excess(loss, epochs, taught), self.margins[taught]
        return Forecast(
            epochs,
            self._accuracy(expected),
            self._accuracy(expected + reach),
            self._accuracy(expected - reach),
            self._accuracy(self.curve.excess(0.0, epochs, taught)),
        )

    def most_loss(self, drop: float, epochs: int, taught: bool = True) -> float:
        """The largest predicted loss whose expected accuracy after training is within a drop of the dense
        network's at the same bits after the same training; at most the largest that was learnt from.

        Args:
            drop: 0.01 for a point.
            epochs: as in `after`.
            taught: likewise.

        Raises:
            NotLearntError: the epochs lie beyond what was learnt.
        """
        low, high = 0.0, self.largest_loss
        if self._lost(high, epochs, taught) <= drop:
            return high
        # Expected accuracies do not rise with the loss.
        while high - low > PRECISE:
            middle = (low + high) / 2
            if self._lost(middle, epochs, taught) <= drop:
                low = middle
            else:
                high = middle
        return low

    @cached_property
    def curve(self) -> Curve:
        """The curve of all outcomes."""
        return Curve.fitted(self.outcomes)

    @cached_property
    def margins(self) -> dict[bool, float]:
        """What y of nine new plans in ten is within of the curve, where networks are taught and where not."""
        return margins(left_out(self.outcomes))

    @cached_property
    def kinds(self) -> frozenset[str]:
        """What layers became in what was learnt from."""
        return frozenset(kind for one in self.outcomes for kind in one.kinds.split())

    @cached_property
    def largest_loss(self) -> float:
        """The most that a plan was predicted to lose which was learnt from, in nats."""
        return max(one.loss for one in self.outcomes)

    def _most_epochs(self, taught: bool) -> int:
        return max((one.epochs for one in self.outcomes if one.taught == taught), default=0)

    def _lost(self, loss: float, epochs: int, taught: bool) -> float:
        found = self.after(loss, epochs, taught)
        return found.dense - found.accuracy

    def _accuracy(self, excess: float) -> float:
        # The dense network is one and the same; runs measured it on several devices.
        baseline = sum(one.baseline for one in self.outcomes) / len(self.outcomes)
        return accuracy_at(excess, baseline)
