"""A layer of which arrays hold nothing."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.mapping import Mapping


@dataclass(frozen=True)
class NothingMapped:
    """A layer without stored matrices.

    Attributes:
        method: the mapping that its plan names, which makes no difference.
        array: the array that it does not need.
    """

    method: str
    array: ArraySpec

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """None."""
        return ()

    @property
    def cycles(self) -> int:
        """None."""
        return 0

    @property
    def conversions(self) -> int:
        """None."""
        return 0
