"""Layers whose outputs all keep the same kernel positions, chosen for the layer's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.kinds.pattern import IDEAL, PatternLayer
from rankfold.plan.support import (
    PATTERN,
    check_support,
    check_support_words,
    is_within,
    support_mark,
    text_to_support,
)
from rankfold.workload import ConvShape

SUPPORT = "support"


@dataclass(frozen=True)
class SupportLayer(PatternLayer):
    """Kernel positions that all outputs share, one choice for each input channel.

    Attributes:
        support: the positions (see `plan.support`); None: to be chosen on data.
    """

    variant: ClassVar[str | None] = SUPPORT
    made_for_data: ClassVar[bool] = True
    windows: ClassVar[int] = 1
    schema: ClassVar[Mapping[str, Any]] = {
        **PatternLayer.schema,
        "support": {"type": "string", "pattern": PATTERN},
    }

    support: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.support is not None:
            check_support_words(self.support)

    @property
    def shares_support(self) -> bool:
        """Always."""
        return True

    @property
    def known_support(self) -> str | None:
        """The positions."""
        return self.support

    def with_support(self, support: str) -> SupportLayer:
        """The layer with these positions."""
        return replace(self, support=support)

    def can_lie(self, mapping: str) -> bool:
        """With ideal steering only by its mappings: what steers has windows of its own."""
        return mapping in self.mappings or (self.steering != IDEAL and super().can_lie(mapping))

    def short(self) -> str:
        """`e4`; a star says that all input channels keep the same positions."""
        return f"e{self.entries}{support_mark(self.support)}"

    def check(self, shape: ConvShape) -> None:
        """Refuse positions that the layer's kernel does not have, and to keep all."""
        if self.support is None or shape.is_linear:
            super().check(shape)
            return
        # Of known positions single channels may keep all, as long as others do not.
        if text_to_support(self.support, shape).all():
            super().check(shape)
        check_support(shape, self.entries, self.support)

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` keeps no position that this one drops."""
        # Also of a pair: L R_ is zero wherever R_ is, so its weight fits in as well.
        return is_within(other.known_support, self.support)
