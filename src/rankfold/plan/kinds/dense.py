"""A layer that stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.plan.kinds.kind import LayerKind


@dataclass(frozen=True)
class DenseLayer(LayerKind):
    """A layer that keeps its weight."""

    name: ClassVar[str] = "dense"
    changes_weight: ClassVar[bool] = False
    windows: ClassVar[int] = 1

    def holds(self, other: LayerKind) -> bool:
        """A dense layer holds any weight of its shape."""
        # L R_ and a weight with zeros are weights of this shape too.
        return other.one_kernel
