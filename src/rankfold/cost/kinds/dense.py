"""A layer that stays as it is."""

from __future__ import annotations

from rankfold.cost.kinds.kind import DenseCost

PART = DenseCost()
