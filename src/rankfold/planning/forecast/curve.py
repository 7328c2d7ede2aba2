"""`Curve`: accuracy after training as a monotone function of the predicted loss, fitted to outcomes.

Accuracies do not fall in proportion to anything: near the dense network's they hardly move, and they end at
chance. Log-odds of errors do better. With the error rate e = 1 - accuracy after training, e_0 that of the
dense float network and

    y = logit e - logit e_0,    u = log(1 + loss / 0.3 nats),    v = log(epochs),

the curve is

    y = c_0 + c_1 v + c_2 t + a u + d u (1 - t),    t = 1 where the dense network taught, else 0,

fitted by least squares, of all plans alike (a plan that was trained three times counts once), with a and d at
least 0: a plan of more predicted loss is never expected to end better, nor labels alone to repair more. What
training does to a network that lost nothing (c) may have either sign.

Of richer ones (u^2, effects of epochs that grow with the loss) and of other scales than 0.3 nats none was
better on plans that were left out (docs/planning-accuracy.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from rankfold.planning.forecast.outcome import Outcome

SCALE = 0.3  # nats, below which losses hardly tell networks apart
FREE = 3  # coefficients that may have either sign, the first ones
RIDGE = 1e-6  # of the others, which few outcomes may not tell apart


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    Attributes:
        coefficients: c_0, c_1, c_2, a, d.
    """

    coefficients: tuple[float, ...]

    @classmethod
    def fitted(cls, outcomes: Sequence[Outcome]) -> Curve:
        """The curve nearest to some outcomes of one network on one data set."""
        times = Counter(one.plan for one in outcomes)
        weights = np.array([times[one.plan] ** -0.5 for one in outcomes])
        rows = np.array([_row(one.loss, one.epochs, one.taught) for one in outcomes])
        wanted = np.array([excess(one.accuracy, one.baseline) for one in outcomes])
        found = _partly_positive(rows * weights[:, None], wanted * weights)
        return cls(tuple(float(value) for value in found))

    def excess(self, loss: float, epochs: int, taught: bool) -> float:
        """y of a network whose plan has this predicted loss."""
        return float(_row(loss, epochs, taught) @ np.array(self.coefficients))


def is_identified(outcomes: Sequence[Outcome], loss: float, epochs: int, taught: bool) -> bool:
    """Whether outcomes say what y is there: where effects cannot be told apart, such as that of epochs in
    runs of equally many, many curves fit them equally well and differ elsewhere.
    """
    rows = np.array([_row(one.loss, one.epochs, one.taught) for one in outcomes])
    more = np.vstack([rows, _row(loss, epochs, taught)])
    return bool(np.linalg.matrix_rank(more) == np.linalg.matrix_rank(rows))


def excess(accuracy: float, baseline: float) -> float:
    """y: the log-odds of errors over those of the dense float network."""
    return log_odds(1 - accuracy) - log_odds(1 - baseline)


def accuracy_at(excess: float, baseline: float) -> float:
    """The accuracy of a network with this y."""
    return float(1 - 1 / (1 + np.exp(-(excess + log_odds(1 - baseline)))))


def log_odds(share: float) -> float:
    """log(p / (1 - p)), kept finite where all or nothing is right."""
    kept = min(max(share, 1e-6), 1 - 1e-6)
    return float(np.log(kept / (1 - kept)))


def _row(loss: float, epochs: int, taught: bool) -> np.ndarray:
    """What the coefficients multiply."""
    u, v, t = np.log1p(loss / SCALE), np.log(epochs), float(taught)
    return np.array([1.0, v, t, u, u * (1 - t)])


def _partly_positive(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The x of least ||rows x - wanted|| whose entries behind the first `FREE` are at least 0.

    Whatever the latter are, the best free ones solve a least-squares problem of their own: what its columns
    span is taken off everything else, which leaves a problem of non-negative entries alone.
    """
    free, others = rows[:, :FREE], rows[:, FREE:]
    projector = free @ np.linalg.pinv(free)
    left = np.vstack([others - projector @ others, RIDGE * np.eye(others.shape[1])])
    goal = np.concatenate([wanted - projector @ wanted, np.zeros(others.shape[1])])
    positive, _ = nnls(left, goal)
    return np.concatenate([np.linalg.pinv(free) @ (wanted - others @ positive), positive])
