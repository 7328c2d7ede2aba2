"""`TrimmedStudy`: the matrices of one layer of fewer channels, and what is lost by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rankfold.lowrank import FittedSupport
from rankfold.lowrank.regression import RIDGE
from rankfold.plan.channels import text_to_channels
from rankfold.plan.kinds.trimmed import TrimmedLayer
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity
    from rankfold.planning.kinds.study import LayerStudy
    from rankfold.surgery.trimmed_weight import TrimmedProblem


class TrimmedStudy:
    """The channels of one layer without groups; what several trimmed layers need is made once.

    Args:
        study: the layer.
    """

    def __init__(self, study: LayerStudy) -> None:
        self._study = study
        # Of the last channels and window: their numbers of rows follow each other.
        self._last: TrimmedLayer | None = None
        self._problem: TrimmedProblem | None = None
        self._levels: dict[int, FittedSupport] = {}

    def fitted(self, kind: TrimmedLayer) -> FittedSupport:
        """The matrix of the channels that are left, on the inputs that it drives."""
        problem = self._problem_of(kind)
        if kind.rows is None:
            return problem.fitted(None)
        if not self._levels:
            # One elimination passes through all numbers of row tiles.
            step = self._study.slot.array.rows
            self._levels = problem.levels(range(step, problem.matrix[0].size, step))
        return self._levels[kind.rows]

    def channels(self, kind: TrimmedLayer) -> tuple[np.ndarray, np.ndarray]:
        """(C_in,) and (m*a*b,) booleans: the channels that are read, and the outputs of a window."""
        outputs, inputs = self._study.weight.shape[:2]
        pixels = 1 if kind.window is None else kind.window[0] * kind.window[1]
        gives = text_to_channels(kind.gives, outputs)
        return text_to_channels(kind.reads, inputs), np.tile(gives, pixels)

    def loss(self, kind: TrimmedLayer) -> float:
        """The predicted increase of the network's loss, in nats per image, where nobody reads what the layer
        does not give.
        """
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.calibration.sensitivity import predicted_loss

        if kind.reads is None and kind.rows is None:
            return 0.0  # what it gives, it gives as before
        copies, sensitivity = self._starts_from(kind.window)
        reads, own = self.channels(kind)
        made = np.array(copies, np.float64)
        made[own] = 0.0
        made[np.ix_(own, reads)] = self.fitted(kind).weight
        return predicted_loss(copies, made, sensitivity)

    def _problem_of(self, kind: TrimmedLayer) -> TrimmedProblem:
        """The best matrix of the channels that are left, on all their inputs."""
        whole = TrimmedLayer(kind.reads, kind.gives, kind.window)
        if self._problem is None or whole != self._last:
            self._last, self._levels = whole, {}
            self._problem = self._new_problem(whole)
        return self._problem

    def _new_problem(self, whole: TrimmedLayer) -> TrimmedProblem:
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.trimmed_weight import TrimmedProblem

        copies, sensitivity = self._starts_from(whole.window)
        gives = text_to_channels(whole.gives, len(self._study.weight))
        reads, _ = self.channels(whole)
        # Without means, as surgery makes the weights: a constant error is left to the biases.
        moments = sensitivity.weighed_moments.centred()
        return TrimmedProblem.of(copies, moments, reads, gives, ridge=RIDGE)

    def _starts_from(self, window: Pair | None) -> tuple[np.ndarray, LayerSensitivity]:
        """The matrix of all channels, and how sensitive the loss is to it."""
        if window is None:
            # The kernel as it is, not its box with the gaps of a dilated one.
            return self._study.weight, self._study.as_biased
        of_window = self._study.window(window)
        return of_window.copies, of_window.sensitivity
