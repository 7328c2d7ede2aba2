"""What each kind of layer runs as, for workload files."""

from rankfold.export.kinds.kind import KindWorkload, executed, supports, unsaid

__all__ = ["KindWorkload", "executed", "supports", "unsaid"]
