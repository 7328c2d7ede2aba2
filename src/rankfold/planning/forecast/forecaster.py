"""`Forecaster`: the accuracy that training will leave of a plan, with an interval, where that is learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.plan.prediction import NATS
from rankfold.planning.forecast.curve import Curve, accuracy_at, is_identified
from rankfold.planning.forecast.finished import Unused, learn
from rankfold.planning.forecast.held_out import FEWEST, left_out, margin
from rankfold.planning.forecast.outcome import Outcome, kinds_of
from rankfold.planning.forecast.situation import Situation
from rankfold.runs.recipes import FINE_TUNING
from rankfold.training.source import TrainingData

EPOCHS = FINE_TUNING.epochs  # those of `compress` where nothing is said
SEVERAL = 3  # plans that must have been trained for as few epochs as are asked for, and as many
PRECISE = 1e-4  # nats, to which a loss is found


_TRAINING = {True: "with a teacher", False: "by labels alone"}


class NotLearntError(InputError):
    """What training leaves there is not learnt; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The accuracy that training is expected to leave.

    Attributes:
        epochs: of fine-tuning.
        accuracy: expected on the test split, 0 to 1.
        low: in nine cases of ten it is at least this,
        high: and at most this.
        dense: expected of the dense network at the same bits, after the same training.
        plans: that it is learnt from, trained with a teacher or without as this one.
        as_long: those of them that were trained for at least as many epochs.
    """

    epochs: int
    accuracy: float
    low: float
    high: float
    dense: float
    plans: int
    as_long: int


class Forecaster:
    """What was learnt of one situation.

    The curve is fitted to all networks, taught by the dense one or not; how far it may be off, and where it
    holds, is learnt from those alone that were trained as those that are asked for.

    Args:
        situation: it.
        outcomes: of networks that were planned and trained; those of other situations are left aside.
        taught: whether the dense network teaches in the training that is asked for.

    Attributes:
        known: outcomes of the situation.
        outcomes: those of them that were taught, or not, as is asked for.
        unused: runs that were named to learn from and tell nothing here, with the reason.

    Raises:
        NotLearntError: too few tell of this situation and training; the message says what would help.
    """

    def __init__(self, situation: Situation, outcomes: Iterable[Outcome], taught: bool = True) -> None:
        self.situation, self.taught = situation, taught
        self.unused: tuple[Unused, ...] = ()
        self.known = tuple(one for one in outcomes if situation.is_of(one))
        self.outcomes = tuple(one for one in self.known if one.taught == taught)
        self.plans = frozenset(one.plan for one in self.outcomes)
        if len(self.plans) < FEWEST:
            others = len({one.plan for one in self.known if one.taught != taught})
            raise NotLearntError(
                f"what training {_TRAINING[taught]} leaves of {situation.network} with these weights, data "
                f"and bits ({situation.bits}) is not learnt: {len(self.plans)} plans trained so are known "
                f"({others} {_TRAINING[not taught]}), and at least {FEWEST} are needed; name finished runs "
                "of planned networks to learn from them"
            )

    @classmethod
    def of_plan(
        cls,
        plan: Plan,
        model: nn.Module,
        data: TrainingData,
        runs: Iterable[str | Path] = (),
        taught: bool = True,
    ) -> Forecaster:
        """For plans of a network, from the outcomes that come with the package and from finished runs.

        Args:
            plan: one of them, of which name and bits count.
            model: the dense network.
            data: what it is trained on.
            runs: folders of finished runs whose plans came with a predicted loss.
            taught: whether the dense network teaches.

        Raises:
            NotLearntError: too little is known.
            InputError: a folder holds no finished run.
        """
        situation, found = Situation.of(model, data, plan.model, plan.layers), learn(runs)
        unused = found.unused_for(situation)
        try:
            made = cls(situation, found.outcomes, taught)
        except NotLearntError as error:
            raise NotLearntError("; ".join([str(error), *map(str, unused)])) from None
        made.unused = unused
        return made

    def of(self, plan: Plan, epochs: int) -> Forecast:
        """The accuracy of a plan after training.

        Raises:
            NotLearntError: the plan has no predicted loss for these weights and data, or it, the epochs or
                what layers become lie beyond what was learnt.
        """
        loss = plan.predicted_loss
        if loss is None:
            raise NotLearntError(
                "the plan has no predicted loss that accuracies were learnt for: the planner predicts it "
                "where all layers keep the network's bits, and it holds for the layers as they were planned"
            )
        if plan.prediction is not None and plan.prediction.unit != NATS:
            raise NotLearntError(
                f"the plan's predicted loss is a {plan.prediction.unit} of outputs that are no scores, of "
                "which no accuracy is learnt"
            )
        if plan.predicted_loss_for(self.situation.weights, self.situation.data) is None:
            raise NotLearntError(
                "the plan's predicted loss is not said to be of these dense weights and data; plan anew for "
                "them"
            )
        unknown = set(kinds_of(plan.layers).split()) - self.kinds
        if unknown:
            raise NotLearntError(
                f"no network with {' or '.join(sorted(unknown))} layers was among those that accuracies "
                f"after training {_TRAINING[self.taught]} are learnt from"
            )
        return self.after(loss, epochs)

    def after(self, loss: float, epochs: int) -> Forecast:
        """The accuracy after training of a plan with this predicted loss.

        Args:
            loss: nats per image, before any training and without rounding.
            epochs: of fine-tuning.

        Raises:
            NotLearntError: the loss or the epochs lie beyond what was learnt.
        """
        self._check(loss, epochs)
        expected = self.curve.excess(loss, epochs, self.taught)
        return Forecast(
            epochs=epochs,
            accuracy=self._accuracy(expected),
            low=self._accuracy(expected + self.margin),
            high=self._accuracy(expected - self.margin),
            dense=self._accuracy(self.curve.excess(0.0, epochs, self.taught)),
            plans=len(self.plans),
            as_long=len({one.plan for one in self.outcomes if one.epochs >= epochs}),
        )

    def most_loss(self, drop: float, epochs: int) -> float:
        """The largest predicted loss whose expected accuracy after training is within a drop of the dense
        network's at the same bits after the same training; at most the largest that was learnt from.

        Args:
            drop: 0.01 for a point.
            epochs: as in `after`.

        Raises:
            NotLearntError: the epochs lie beyond what was learnt.
        """
        low, high = 0.0, self.largest_loss
        # What lies between is as well known.
        self._check(high, epochs)
        if self._lost(high, epochs) <= drop:
            return high
        # Expected accuracies do not rise with the loss.
        while high - low > PRECISE:
            middle = (low + high) / 2
            if self._lost(middle, epochs) <= drop:
                low = middle
            else:
                high = middle
        return low

    @cached_property
    def curve(self) -> Curve:
        """The curve of all outcomes of the situation."""
        return Curve.fitted(self.known)

    @cached_property
    def margin(self) -> float:
        """What y of nine new plans in ten is within of the curve."""
        return margin(left_out(self.known), self.taught)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """What layers became in what was learnt from."""
        return frozenset(kind for one in self.outcomes for kind in one.kinds.split())

    @cached_property
    def largest_loss(self) -> float:
        """The most that a plan was predicted to lose which was learnt from, in nats."""
        return max(one.loss for one in self.outcomes)

    @cached_property
    def epochs(self) -> tuple[int, int]:
        """The fewest and the most epochs that are learnt: `SEVERAL` plans had as few, and as many."""
        fewest: dict[str, int] = {}
        most: dict[str, int] = {}
        for one in self.outcomes:
            fewest[one.plan] = min(fewest.get(one.plan, one.epochs), one.epochs)
            most[one.plan] = max(most.get(one.plan, 0), one.epochs)
        return sorted(fewest.values())[SEVERAL - 1], sorted(most.values())[-SEVERAL]

    @property
    def usual_epochs(self) -> int:
        """Those of `compress` where nothing is said, or the nearest that are learnt."""
        fewest, most = self.epochs
        return min(max(EPOCHS, fewest), most)

    def _check(self, loss: float, epochs: int) -> None:
        fewest, most = self.epochs
        if not fewest <= epochs <= most:
            raise NotLearntError(
                f"accuracies after training {_TRAINING[self.taught]} are learnt for {_span(fewest, most)}, "
                f"not for {epochs} (at least {SEVERAL} plans must have been trained for as few, and as many)"
            )
        if loss > self.largest_loss:
            raise NotLearntError(
                f"a predicted loss of {loss:.3g} nats is more than that of any network that was trained "
                f"{_TRAINING[self.taught]} ({self.largest_loss:.3g}); what training leaves is not learnt "
                "there"
            )
        # The dense network, too, which plans are held against.
        for one in (loss, 0.0):
            if not is_identified(self.known, one, epochs, self.taught):
                raise NotLearntError(
                    f"what {epochs} epochs leave of a plan of {one:.3g} nats cannot be told from the runs "
                    "that are known: losses and epochs vary too little in them, or together"
                )

    def _lost(self, loss: float, epochs: int) -> float:
        dense, planned = (self.curve.excess(one, epochs, self.taught) for one in (0.0, loss))
        return self._accuracy(dense) - self._accuracy(planned)

    def _accuracy(self, excess: float) -> float:
        # The dense network is one and the same; runs measured it on several devices.
        baseline = sum(one.baseline for one in self.known) / len(self.known)
        return accuracy_at(excess, baseline)


def _span(fewest: int, most: int) -> str:
    if fewest < most:
        return f"{fewest} to {most} epochs"
    return f"{most} epoch" + "s" * (most > 1)
