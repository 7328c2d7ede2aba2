"""What each kind of layer costs."""

from rankfold.cost.kinds.kind import AnyMapping, KindCost, Mapped, cost_of

__all__ = ["AnyMapping", "KindCost", "Mapped", "cost_of"]
