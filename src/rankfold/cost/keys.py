"""`CostKey`: what a cost is of, a family of layers under one mapping."""

from __future__ import annotations

from dataclasses import dataclass

# The family of layers that stay as they are; its costs go by the mapping's name alone in JSON and tables.
DENSE_FAMILY = "dense"
# Families are told apart by these words at the beginning of a text.
FAMILIES = ("low-rank", "pruned", "ideal", "channel")


@dataclass(frozen=True, order=True)
class CostKey:
    """Under which mapping of which family of layers something was counted.

    Attributes:
        family: `dense`; or the family of a kind that is compared in ways of its own, such as `low-rank`.
        mapping: one of `rankfold.mapping.METHODS`, or another word of the family, such as `shared`.
    """

    family: str
    mapping: str

    @classmethod
    def dense(cls, mapping: str) -> CostKey:
        """The key of a dense layer."""
        return cls(DENSE_FAMILY, mapping)

    @classmethod
    def parse(cls, text: str) -> CostKey:
        """Read what `str` wrote: `im2col` is of dense layers, `low-rank-sdk` of the family `low-rank`."""
        for family in FAMILIES:
            if text.startswith(f"{family}-"):
                return cls(family, text.removeprefix(f"{family}-"))
        return cls(DENSE_FAMILY, text)

    def __str__(self) -> str:
        if self.family == DENSE_FAMILY:
            return self.mapping
        return f"{self.family}-{self.mapping}"


IM2COL = CostKey.dense("im2col")
