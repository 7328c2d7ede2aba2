"""Bits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.arguments import SWITCH, check_fields
from rankfold.plan.kinds import DenseLayer, LayerKind
from rankfold.plan.methods.method import Method
from rankfold.workload import ConvShape


@dataclass(frozen=True, kw_only=True)
class Quantise(Method):
    """Bits alone: every layer stays dense.

    Attributes:
        pointwise: whether 1x1 convolutions are among the layers that a method could change.
        linear: whether fully connected layers are.
    """

    name: ClassVar[str] = "quantise"
    title: ClassVar[str] = "dense"
    help: ClassVar[str] = "bits alone, the default without --rank"
    flags: ClassVar[tuple[str, ...]] = ("pointwise",)

    pointwise: bool = False
    linear: bool = False

    def __post_init__(self) -> None:
        check_fields(self, pointwise=SWITCH, linear=SWITCH)

    @property
    def takes_pointwise(self) -> bool:
        """`pointwise`."""
        return self.pointwise

    @property
    def takes_linear(self) -> bool:
        """`linear`."""
        return self.linear

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Dense."""
        return DenseLayer(), "no rank given"
