"""What errors of outputs cost together, and the change of outputs that makes it a plain squared error.

With the importance P (m, m) of a group's outputs (see `rows`) and A = P^1/2, symmetric, the cost of a weight
M in the place of W is tr(P D S D^T) = tr((A D) S (A D)^T), D = W - M: the plain error of A M in the place of
A W. Where A can be inverted, A M has the rank of M, so that the best factors for this cost are A^-1 L and R
of the best factors L R of A W for plain errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError


@dataclass(frozen=True)
class OutputMetric:
    """What errors of a layer's outputs cost, group by group.

    Attributes:
        root: (G, m/G, m/G) A.
        inverse: (G, m/G, m/G) A^-1.
    """

    root: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, importance: np.ndarray) -> OutputMetric:
        """For P (G, m/G, m/G).

        Raises:
            InputError: it is not positive definite.
        """
        values, vectors = np.linalg.eigh(importance)
        if not np.all(values[:, 0] > 0):
            raise InputError("importance must be positive definite for the outputs of each group")
        # Costs are compared with each other only: A as large as one, so that A W is as large as W.
        roots = np.sqrt(values / values.mean(axis=1, keepdims=True))[:, None]
        turned = vectors.swapaxes(1, 2)
        return cls((vectors * roots) @ turned, (vectors / roots) @ turned)

    def counted(self, weight: np.ndarray) -> np.ndarray:
        """A W, of the shape of W (m, ...) or (G, m/G, ...)."""
        return self._times(self.root, weight)

    def plain(self, weight: np.ndarray) -> np.ndarray:
        """A^-1 M, of the shape of M (m, ...) or (G, m/G, ...)."""
        return self._times(self.inverse, weight)

    def _times(self, factor: np.ndarray, weight: np.ndarray) -> np.ndarray:
        by_group = weight.reshape(*factor.shape[:2], -1)
        return (factor @ by_group).reshape(weight.shape)


def counted(weight: np.ndarray, metric: OutputMetric | None) -> np.ndarray:
    """A W; without a metric all outputs count alike, and it is W."""
    if metric is None:
        return weight
    return metric.counted(weight)


def plain(weight: np.ndarray, metric: OutputMetric | None) -> np.ndarray:
    """A^-1 M; without a metric it is M."""
    if metric is None:
        return weight
    return metric.plain(weight)
