"""A plane in parts on arrays, each computed by a matrix of its own."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.mapping import Mapping
from rankfold.notebooks import Shown, in_brackets


@dataclass(frozen=True)
class PartsMapping(Shown):
    """A plane in parts, each computed by a stored matrix of its own.

    Attributes:
        stages: those of the parts. None of them waits for another, but each is counted by itself.
    """

    stages: tuple[Mapping, ...]

    def __repr__(self) -> str:
        words = f"of {self.stages[0].shape.name}: {len(self.stages)} parts on {self.array}"
        return in_brackets("PartsMapping", f"{words}, {self.cycles:,} cycles")

    @property
    def method(self) -> str:
        """How all of them are mapped."""
        return self.stages[0].method

    @property
    def array(self) -> ArraySpec:
        """The array that all of them are mapped on."""
        return self.stages[0].array

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image of all parts."""
        return sum(stage.cycles for stage in self.stages)

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs per image of all parts."""
        return sum(stage.conversions for stage in self.stages)
