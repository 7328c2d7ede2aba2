"""`KindWorkload`: the convolutions that run in the place of a layer, for files of nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rankfold.cost.kinds import cost_of
from rankfold.plan.kinds import LayerKind, has_part, part_of
from rankfold.workload import ConvShape


class KindWorkload(ABC):
    """How layers of one kind are written as convolutions.

    Attributes:
        side_by_side: whether all of `executed` read what the layer reads; else each reads the one before.
    """

    side_by_side: bool = False

    @abstractmethod
    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """The convolutions that run in the place of a layer, one after the other.

        Args:
            shape: the layer as it was.
            kind: what it became.
        """

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """What shapes of convolutions cannot say of a layer.

        Returns:
            What it is or does, to follow "layer x", and how a run that can be written differs, to follow
            "run"; empty texts where the shapes say all.
        """
        return "", ""

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """The kernel positions that each of `executed` keeps, as plans have them; empty texts: all.

        Returns:
            None where shapes with positions do not say what the layer is, or the positions are not known.
        """
        words, _ = self.unsaid(kind)
        if words:
            return None
        return ("",) * len(self.executed(shape, kind))


def executed(shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
    """The convolutions that run in the place of a layer.

    A layer of a kind that shapes cannot describe runs as one of its whole size.
    """
    workload = _workload_of(kind)
    if workload is None:
        return (cost_of(kind).shape(shape, kind),)
    return workload.executed(shape, kind)


def side_by_side(kind: LayerKind) -> bool:
    """Whether all of `executed` read what the layer reads, see `KindWorkload`."""
    workload = _workload_of(kind)
    return workload is not None and workload.side_by_side


def unsaid(kind: LayerKind) -> tuple[str, str]:
    """What shapes of convolutions cannot say of a layer of this kind, see `KindWorkload.unsaid`."""
    workload = _workload_of(kind)
    if workload is None:
        return f"is {kind.name}", ""
    return workload.unsaid(kind)


def supports(shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
    """The positions that each of `executed` keeps, see `KindWorkload.supports`."""
    workload = _workload_of(kind)
    if workload is None:
        return None
    return workload.supports(shape, kind)


def _workload_of(kind: LayerKind) -> KindWorkload | None:
    """How a kind is written; None: shapes cannot describe it."""
    if not has_part(kind, "workload"):
        return None
    return part_of(kind, "workload", KindWorkload)  # type: ignore[type-abstract]
