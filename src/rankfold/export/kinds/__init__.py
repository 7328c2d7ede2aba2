"""What each kind of layer runs as, for workload files."""

from rankfold.export.kinds.kind import KindWorkload, executed, side_by_side, supports, unsaid

__all__ = ["KindWorkload", "executed", "side_by_side", "supports", "unsaid"]
